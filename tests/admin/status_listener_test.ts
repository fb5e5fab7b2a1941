/** The status page on the admin listener. */
import assert from "node:assert/strict";
import { browserSessionMs, BrowserSessions } from "../../lib/admin/browser_sessions.ts";
import { serveFetch } from "../../lib/net/fetch_server.ts";
import type { Registration } from "../../lib/relay/agents/registry.ts";
import { AdminWorld, agentToken, tokenOf } from "./world.ts";

const navigation = {
  Accept: "text/html",
  "Sec-Fetch-Mode": "navigate",
  "Sec-Fetch-Dest": "document",
};

interface Options {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
}

async function send(world: AdminWorld, path: string, options: Options = {}): Promise<Response> {
  const { form, headers = {}, method = form ? "POST" : "GET" } = options;
  const request = new Request(`https://127.0.0.1:9443${path}`, {
    method,
    headers: form ? headers : { ...navigation, ...headers },
    ...form && { body: new URLSearchParams(form) },
  });
  return await serveFetch(request, {
    app: (request, bindings) => world.admin.fetch!(request, bindings as never),
    peer: { address: "192.0.2.1", isTls: true },
    host: {
      upgrade: () => {
        throw new Error("No upgrade was asked for");
      },
      copiesOnSend: true,
    },
    fault: (error) => {
      throw error;
    },
  });
}

async function textOf(world: AdminWorld, path: string, options: Options = {}): Promise<string> {
  return await (await send(world, path, options)).text();
}

/** Gives a browser a token. @returns its cookie */
async function signIn(world: AdminWorld, name: string): Promise<string> {
  const answer = await send(world, "/status/sign-in", { form: { token: tokenOf(name) } });
  await answer.body?.cancel();
  assert.equal(answer.status, 303);
  assert.equal(answer.headers.get("location"), "/status");
  const [line = ""] = answer.headers.getSetCookie();
  assert.match(
    line,
    /^__Host-Http-culvert-admin=[\w-]{43}; Max-Age=28800; Path=\/; Secure; HttpOnly; SameSite=Strict$/,
  );
  return line.split(";")[0]!;
}

function cluster(id: string) {
  return { id, token: agentToken(id), targetAddr: "target.example:443" };
}

/** A relay with agents of two teams. */
async function startWorld(more: Readonly<Record<string, string>> = {}): Promise<AdminWorld> {
  const world = await AdminWorld.start({
    CLUSTERS: JSON.stringify([cluster("a-one"), cluster("b-two")]),
    ...more,
  });
  for (const id of ["a-one", "b-two"]) {
    const session = {
      stats: { bytesIn: 1, bytesOut: 2, windowStalls: 0 },
      ...{ takesStreams: true, isSuspect: false, isDraining: false, openStreams: 0 },
      ...{ roundTripMs: 1, version: 2, announceDrain() {}, drain: () => Promise.resolve() },
      close() {
        world.relay.registry.remove(registration);
      },
    } as unknown as Registration["session"];
    const registration: Registration = {
      session,
      cluster: { id } as Registration["cluster"],
      ...{ tokenName: "default", instance: `agent-of-${id}`, slot: 0, sinceMs: Date.now() },
      ...{ address: "203.0.113.9", number: world.relay.nextNumber() },
    };
    world.relay.registry.add(registration);
  }
  return world;
}

Deno.test("a browser without a token gets a form for one, and a program an error", async () => {
  await using world = await startWorld();
  for (const path of ["/status", "/status/clusters", "/status/end?what=agent&id=x"]) {
    const answer = await send(world, path);
    const text = await answer.text();
    assert.equal(answer.status, 401, path);
    assert.match(text, /<input id="token" name="token" type="password"/);
    assert.doesNotMatch(text, /a-one|b-two/);
    const policy = answer.headers.get("content-security-policy")!;
    assert.match(
      policy,
      /^default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; /,
    );
    assert.doesNotMatch(policy, /unsafe|script/);
  }
  const program = await send(world, "/status", { headers: { "Sec-Fetch-Mode": "cors" } });
  assert.equal(program.status, 401);
  assert.equal((await program.json()).error.code, "unauthorized");
  const root = await send(world, "/");
  assert.equal(root.headers.get("location"), "/status");
  for (const path of ["/.culvert/style.css", "/.culvert/icon.svg", "/.culvert/status.js"]) {
    const asset = await send(world, path);
    await asset.body?.cancel();
    assert.equal(asset.status, 200, path);
  }
});

Deno.test("a token gives a browser a session, and the page says whose it is", async () => {
  await using world = await startWorld();
  const Cookie = await signIn(world, "ops");
  const text = await textOf(world, "/status", { headers: { Cookie } });
  for (const shown of ["a-one", "b-two", "agent-of", "203.0.113.9", ">ops<", "Certificates"]) {
    assert.ok(text.includes(shown), shown);
  }
  const line = world.lines.find(({ message }) => message === "Signed in to the status page");
  assert.deepEqual(line?.fields, { by: "ops", peer: "192.0.2.1" });
  const out = await send(world, "/status/sign-out", { form: {}, headers: { Cookie } });
  await out.body?.cancel();
  assert.match(out.headers.getSetCookie()[0]!, /^__Host-Http-culvert-admin=; Max-Age=0;/);
  assert.match(await textOf(world, "/status", { headers: { Cookie } }), /name="token"/);
});

Deno.test("a wrong, expired or empty token begins no session, and the form says why", async () => {
  await using world = await startWorld();
  for (const token of ["wrong-token-0123456789", tokenOf("past"), "", "x".repeat(1_000)]) {
    const answer = await send(world, "/status/sign-in", { form: { token } });
    assert.ok([401, 429].includes(answer.status), token);
    assert.deepEqual(answer.headers.getSetCookie(), []);
    const text = await answer.text();
    assert.match(text, /role="alert"/);
    if (token !== "") assert.ok(!text.includes(token));
  }
});

Deno.test("a form of another site's page signs nobody in or out", async () => {
  await using world = await startWorld();
  const Cookie = await signIn(world, "ops");
  const foreign: Record<string, string>[] = [
    { "Sec-Fetch-Site": "cross-site" },
    { "Sec-Fetch-Site": "same-site" },
    { Origin: "https://evil.example" },
    { Origin: "null" },
  ];
  for (const headers of foreign) {
    const form = { token: tokenOf("ops") };
    const answer = await send(world, "/status/sign-in", { form, headers });
    await answer.body?.cancel();
    assert.equal(answer.status, 403, JSON.stringify(headers));
    assert.deepEqual(answer.headers.getSetCookie(), []);
    const out = await send(world, "/status/sign-out", {
      form: {},
      headers: { ...headers, Cookie },
    });
    await out.body?.cancel();
    assert.equal(out.status, 403);
  }
  assert.match(await textOf(world, "/status", { headers: { Cookie } }), /a-one/);
});

Deno.test("programs read the page with their token, and end things without a form's token", async () => {
  await using world = await startWorld();
  const headers = { Authorization: `Bearer ${tokenOf("ops")}` };
  const text = await textOf(world, "/status", { headers });
  const id = /what=agent&amp;id=([^"]+)"/.exec(text)![1]!;
  const ended = await send(world, "/status/end", { form: { what: "agent", id }, headers });
  await ended.body?.cancel();
  assert.equal(ended.status, 303);
  const wrong = { Authorization: "Bearer wrong-token-0123456789" };
  const refused = await send(world, "/status", { headers: wrong });
  await refused.body?.cancel();
  assert.equal(refused.status, 401);
});

Deno.test("a token sees its own clusters alone, and nothing that is all's", async () => {
  await using world = await startWorld();
  const Cookie = await signIn(world, "team-a");
  for (const path of ["/status", "/status/clusters", "/status/streams"]) {
    const text = await textOf(world, path, { headers: { Cookie } });
    assert.doesNotMatch(text, /b-two|People|Certificates|Limits hit/, path);
  }
  assert.match(await textOf(world, "/status", { headers: { Cookie } }), /a-one/);
  assert.match(
    await textOf(world, "/status/sessions", { headers: { Cookie } }),
    /^(?![\s\S]*ann@)[\s\S]*<h1>Status/,
  );
});

Deno.test("a browser ends an agent of its scope by a form of the page, and no other agent", async () => {
  await using world = await startWorld();
  const all = await textOf(world, "/status", { headers: { Cookie: await signIn(world, "ops") } });
  const idOf = (id: string) =>
    new RegExp(`what=agent&amp;id=([^"]+)" aria-label="[^"]*${id}"`).exec(all)![1]!;
  const Cookie = await signIn(world, "team-a");
  const question = await textOf(world, `/status/end?what=agent&id=${idOf("a-one")}`, {
    headers: { Cookie },
  });
  const token = /name="token" value="([^"]+)"/.exec(question)![1]!;
  const end = async (form: Record<string, string>) => {
    const answer = await send(world, "/status/end", { form, headers: { Cookie } });
    await answer.body?.cancel();
    return answer.status;
  };
  assert.equal(await end({ what: "agent", id: idOf("a-one") }), 403);
  assert.equal(await end({ what: "agent", id: idOf("b-two"), token }), 404);
  assert.equal(await end({ what: "session", id: "x", token }), 404);
  assert.equal(world.relay.registry.size, 2);
  assert.equal(await end({ what: "agent", id: idOf("a-one"), token }), 303);
  assert.deepEqual([...world.relay.registry.all()].map((it) => it.cluster.id), ["b-two"]);
  const records = world.records.filter(({ action }) => action === "disconnect");
  assert.deepEqual(records.map(({ event, by, result }) => [event, by, result]), [
    ["admin_start", "team-a", undefined],
    ["admin_end", "team-a", "not_there"],
    ["admin_start", "team-a", undefined],
    ["admin_end", "team-a", "done"],
  ]);
});

Deno.test("a page whose name was made to mean the relay's address reads nothing", async () => {
  await using world = await startWorld({ ADMIN_HOSTS: "relay.example.com" });
  const Cookie = await signIn(world, "ops");
  const ask = async (Host: string) => {
    const answer = await send(world, "/status", { headers: { Cookie, Host } });
    await answer.body?.cancel();
    return answer.status;
  };
  assert.equal(await ask("evil.example"), 421);
  assert.equal(await ask("relay.example.com:9443"), 200);
  assert.equal(await ask("localhost:9443"), 200);
});

Deno.test("a browser's session ends after eight hours, and the oldest makes room", () => {
  let nowMs = 0;
  const sessions = new BrowserSessions(() => nowMs);
  const first = sessions.begin(new Uint8Array([1]));
  assert.deepEqual(sessions.find(first), new Uint8Array([1]));
  nowMs = browserSessionMs;
  assert.equal(sessions.find(first), undefined);
  const old = sessions.begin(new Uint8Array([2]));
  for (let count = 0; count < 1_000; count++) sessions.begin(new Uint8Array([3]));
  assert.equal(sessions.find(old), undefined);
});
