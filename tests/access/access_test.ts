/** The program `access` beside a relay that answers as each test wants. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { within } from "../support/deadline.ts";
import { Program, runProgram } from "../support/programs.ts";
import { openTcp, refusal, type StandInRelay, startStandIn } from "./stand_in_relay.ts";
import { freePort } from "../support/free_port.ts";

const TOKEN = "user-token-0123456789";
const env = { CULVERT_TOKEN: TOKEN, DENO_NO_UPDATE_CHECK: "1" };

/** A running `access tcp` or `access http`, and the address it listens on. */
interface RunningAccess extends AsyncDisposable {
  readonly program: Program;
  readonly port: number;
}

async function startAccess(
  args: readonly string[],
  variables: Record<string, string> = env,
): Promise<RunningAccess> {
  const program = Program.start("access.ts", args, variables);
  try {
    const line = await program.waitForLog(({ message }) => message.startsWith("Listening on "));
    const port = Number(/:(\d+) for /.exec(line.message)![1]);
    return { program, port, [Symbol.asyncDispose]: () => program[Symbol.asyncDispose]() };
  } catch (error) {
    await program.kill();
    throw error;
  }
}

function tcp({ port }: StandInRelay, ...more: string[]): Promise<RunningAccess> {
  return startAccess(["tcp", `http://pg.localhost:${port}`, "--listen", "127.0.0.1:0", ...more]);
}

/** Sends bytes, half-closes, and reads to the end. */
async function exchange(port: number, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const writing = (async () => {
    for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    await conn.closeWrite();
  })();
  const got = await within(new Response(readable(conn)).arrayBuffer(), "the echo", 60_000);
  await writing;
  return new Uint8Array(got);
}

function readable(conn: Deno.TcpConn): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      const piece = new Uint8Array(65_536);
      const length = await conn.read(piece);
      if (length === null) controller.close();
      else controller.enqueue(piece.subarray(0, length));
    },
  });
}

const hello = new TextEncoder().encode("hello");

Deno.test("access tcp asks who it is, listens, and carries connections with half-close", async () => {
  await using relay = await startStandIn({ answer: () => openTcp });
  await using access = await tcp(relay);
  const bytes = crypto.getRandomValues(new Uint8Array(65_536));
  const large = new Uint8Array(8 * 1024 * 1024).map((_, at) => bytes[at & 0xffff]!);
  const echoed = await exchange(access.port, large);
  equal(echoed.length, large.length);
  ok(echoed.every((byte, at) => byte === large[at]));
  const [whoami, upgrade] = relay.asked;
  deepEqual([whoami!.method, whoami!.path], ["GET", "/.culvert/whoami"]);
  deepEqual([upgrade!.method, upgrade!.path], ["GET", "/.culvert/tcp"]);
  equal(upgrade!.headers["sec-websocket-protocol"], "culvert.tcp.v1");
  for (const { headers } of relay.asked) {
    equal(headers["culvert-authorization"], `Bearer ${TOKEN}`);
    equal(headers.authorization, undefined, "which may be meant for the app");
    equal(headers.host, `pg.localhost:${relay.port}`);
  }
});

Deno.test("access tcp prints one line with the address, as JSON where that is asked for", async () => {
  await using relay = await startStandIn({ answer: () => openTcp });
  const args = ["tcp", `http://pg.localhost:${relay.port}`, "--listen", "127.0.0.1:0", "--json"];
  await using program = Program.start("access.ts", args, env);
  const { message } = await program.waitForLog(() => true);
  const { event, service, address } = JSON.parse(message);
  deepEqual([event, service], ["listening", `pg.localhost:${relay.port}`]);
  match(address, /^127\.0\.0\.1:\d+$/);
});

Deno.test("access tcp --stdio carries one connection and ends with it", async () => {
  await using relay = await startStandIn({ answer: () => openTcp });
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "access.ts", "tcp", `http://pg.localhost:${relay.port}`, "--stdio"],
    cwd: new URL("../../", import.meta.url),
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(hello);
  await writer.close();
  const { code, stdout, stderr } = await within(child.output(), "access to end");
  equal(new TextDecoder().decode(stdout), "hello", new TextDecoder().decode(stderr));
  equal(code, 0);
});

/** Runs `access` to its end, which comes before it listens. */
async function refused(relay: StandInRelay, ...args: string[]) {
  const url = `http://pg.localhost:${relay.port}`;
  const { code, stdout, stderr } = await runProgram(
    "access.ts",
    [args[0]!, url, ...args.slice(1)],
    env,
  );
  equal(stdout, "");
  equal(stderr.trimEnd().split("\n").length, 1, stderr);
  return { code, stderr };
}

const listen = ["--listen", "127.0.0.1:0"] as const;

Deno.test("access does not listen where the relay refuses, and says why in one sentence", async (t) => {
  const cases = [
    {
      answer: refusal(401, "the token is not known"),
      says: /token is not known; give a valid token/,
    },
    { answer: refusal(403, "the policy does not let you in"), says: /policy does not let you in/ },
    { answer: refusal(421, "no such service"), says: /no such service/ },
    {
      answer: { status: 302, headers: { Location: "https://elsewhere.example.com/" } },
      says: /redirect \(302\), which access does not follow/,
    },
    {
      answer: { status: 200, body: { ...(openTcp.body as object), kind: "http" } },
      says: /is a service of kind http, not tcp: use access http/,
    },
    {
      answer: {
        status: 200,
        body: { ...(openTcp.body as object), signInUrl: "https://login.example.com/start" },
      },
      says: /needs a sign-in: .* or sign in at https:\/\/login\.example\.com\/start/,
    },
    {
      answer: { status: 200, body: { hello: "world" } },
      says: /the server is not a culvert relay/,
    },
  ];
  for (const { answer, says } of cases) {
    await t.step(String(says), async () => {
      await using relay = await startStandIn({ answer: () => answer });
      const { code, stderr } = await refused(relay, "tcp", ...listen);
      equal(code, 1);
      match(stderr, says);
      equal(relay.asked.length, 1, "nothing else is asked, and nobody else");
    });
  }
});

Deno.test("access ends with 1 where nobody answers", async () => {
  const relay = await startStandIn();
  await relay[Symbol.asyncDispose]();
  const { code, stderr } = await refused(relay, "tcp", ...listen);
  equal(code, 1);
  match(stderr, /no connection to the relay at localhost:\d+/);
});

Deno.test("access tcp prints the true reason of each end that was not in order", async (t) => {
  const cases = [
    { close: 1001, reason: "", says: /ended early: the relay is shutting down/ },
    {
      close: 1008,
      reason: "the token was withdrawn",
      says: /ended early: the token was withdrawn/,
    },
    { close: 1011, reason: "", says: /ended early: the connection to the target broke/ },
    { close: 3011, reason: "the agent left", says: /ended early: the agent left/ },
    { close: 0, reason: "", says: /ended early: the connection to the relay broke/ },
    { close: 1000, reason: "", says: /ended early: .*before/ },
  ];
  for (const { close, reason, says } of cases) {
    await t.step(`${close} ${reason}`, async () => {
      await using relay = await startStandIn({
        answer: () => openTcp,
        serve: (socket) => close === 0 ? socket.terminate() : socket.close(close, reason),
      });
      await using access = await tcp(relay);
      using conn = await Deno.connect({ hostname: "127.0.0.1", port: access.port });
      const end = await within(conn.read(new Uint8Array(1)).catch((error) => error), "the end");
      ok(end instanceof Error, "a reset, and no end that looks orderly");
      await access.program.waitForLog(({ message }) => says.test(message));
    });
  }
});

Deno.test("access tcp says why one connection was refused, and goes on", async () => {
  let refuses = true;
  await using relay = await startStandIn({
    answer: () => openTcp,
    refuse: () => refuses ? refusal(502, "the agent can't reach the target") : undefined,
  });
  await using access = await tcp(relay);
  {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: access.port });
    await within(conn.read(new Uint8Array(1)).catch(() => null), "the end");
  }
  await access.program.waitForLog(({ message }) =>
    /the agent can't reach the target/.test(message)
  );
  refuses = false;
  deepEqual(await exchange(access.port, hello), hello);
});

Deno.test("a connection that comes while the relay is away waits for it", async () => {
  const port = freePort();
  const first = await startStandIn({ answer: () => openTcp, port });
  await using access = await tcp(first);
  await first[Symbol.asyncDispose]();
  const waiting = exchange(access.port, hello);
  // It has been refused at least once.
  await new Promise((resolve) => setTimeout(resolve, 300));
  await using _second = await startStandIn({ answer: () => openTcp, port });
  deepEqual(await waiting, hello);
});

Deno.test("access tcp opens several ports from a file, each with its own service", async () => {
  await using relay = await startStandIn({ answer: () => openTcp });
  const folder = await Deno.makeTempDir({ prefix: "culvert-access-" });
  try {
    const entries = ["pg", "cache"].map((name) =>
      `  - service: http://${name}.localhost:${relay.port}\n    listen: 127.0.0.1:0\n` +
      `    tokenFile: ${folder}/${name}.token\n`
    );
    await Deno.writeTextFile(`${folder}/services.yaml`, `services:\n${entries.join("")}`);
    for (const name of ["pg", "cache"]) {
      await Deno.writeTextFile(`${folder}/${name}.token`, `token-of-${name}\n`);
    }
    const program = Program.start("access.ts", ["tcp", "--file", `${folder}/services.yaml`], env);
    await using _program = program;
    for (const name of ["pg", "cache"]) {
      const ending = ` for ${name}.localhost:${relay.port}`;
      const line = await program.waitForLog(({ message }) => message.endsWith(ending));
      deepEqual(await exchange(Number(/:(\d+) for /.exec(line.message)![1]), hello), hello);
      const { headers } = relay.asked.at(-1)!;
      equal(headers.host, `${name}.localhost:${relay.port}`);
      equal(headers["culvert-authorization"], `Bearer token-of-${name}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the internal listener is asked at /tunnel-tcp/", async () => {
  await using relay = await startStandIn({
    answer: ({ path }) => path === "/tunnel-tcp/pg" ? { status: 426 } : undefined,
  });
  const url = `http://127.0.0.1:${relay.port}/tunnel-tcp/pg`;
  await using access = await startAccess(["tcp", url, "--listen", "127.0.0.1:0"]);
  deepEqual(await exchange(access.port, hello), hello);
  deepEqual(relay.asked.map(({ path }) => path), ["/tunnel-tcp/pg", "/tunnel-tcp/pg"]);
  for (const { headers } of relay.asked) {
    equal(headers["culvert-authorization"], `Bearer ${TOKEN}`);
  }
});

const openHttp = { status: 200, body: { ...(openTcp.body as object), kind: "http" } };

Deno.test("access http adds the token, and keeps redirects within the service on the local port", async () => {
  await using relay = await startStandIn({
    answer({ path, headers }) {
      if (path === "/.culvert/whoami") return openHttp;
      if (path === "/moved") {
        return { status: 302, headers: { Location: `http://${headers.host}/there?x=1` } };
      }
      return { status: 200, body: headers };
    },
  });
  const url = `http://dash.localhost:${relay.port}`;
  await using access = await startAccess(["http", url, "--listen", "127.0.0.1:0"]);
  const local = `http://127.0.0.1:${access.port}`;
  const headers = { Origin: local, Referer: `${local}/page`, "Culvert-Authorization": "Bearer x" };
  const seen = await (await fetch(`${local}/path`, { method: "POST", body: "hi", headers })).json();
  equal(seen["culvert-authorization"], `Bearer ${TOKEN}`);
  deepEqual([seen.host, seen.origin, seen.referer], [
    `dash.localhost:${relay.port}`,
    url,
    `${url}/page`,
  ]);
  const moved = await fetch(`${local}/moved`, { redirect: "manual" });
  await moved.body?.cancel();
  equal(moved.headers.get("location"), `${local}/there?x=1`);
});

Deno.test("access http takes no request that another site's page may have sent", async (t) => {
  await using relay = await startStandIn({
    answer: ({ path }) => path === "/.culvert/whoami" ? openHttp : { status: 200, body: {} },
  });
  const url = `http://dash.localhost:${relay.port}`;
  await using access = await startAccess(["http", url, "--listen", "127.0.0.1:0"]);
  const { port } = access;
  const own = `127.0.0.1:${port}`;
  const cases: readonly (readonly [status: number, ...fields: string[]])[] = [
    [200, `Host: ${own}`],
    [200, `Host: localhost:${port}`],
    [200, "Host: LocalHost"],
    [200, `Host: [::1]:${port}`],
    [421, "Host: evil.example.com"],
    [421, `Host: dash.localhost:${port}`],
    [421, "Host: 127.0.0.1.evil.example.com"],
    [421, "Host: 127.0.0.2"],
    [200, `Host: ${own}`, "Sec-Fetch-Site: same-origin"],
    [200, `Host: ${own}`, "Sec-Fetch-Site: none"],
    [403, `Host: ${own}`, "Sec-Fetch-Site: same-site"],
    [403, `Host: ${own}`, "Sec-Fetch-Site: cross-site"],
    [403, `Host: ${own}`, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"],
    [200, `Host: ${own}`, `Origin: http://${own}`],
    [403, `Host: ${own}`, `Origin: http://localhost:${port}`],
    [403, `Host: ${own}`, "Origin: null"],
    [403, `Host: ${own}`, "Origin: https://evil.example.com"],
    [403, `Host: ${own}`, `Origin: https://${own}`],
  ];
  for (const [status, ...fields] of cases) {
    await t.step(fields.join(", "), async () => {
      const before = relay.asked.length;
      equal(await rawStatus(port, `GET /x HTTP/1.1\r\n${fields.join("\r\n")}`), status);
      equal(relay.asked.length - before, status === 200 ? 1 : 0);
    });
  }
  await t.step("absolute form", async () => {
    const request = `GET http://dash.localhost/x HTTP/1.1\r\nHost: ${own}`;
    equal(await rawStatus(port, request), 400);
  });
});

async function rawStatus(port: number, head: string): Promise<number> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await conn.write(new TextEncoder().encode(`${head}\r\nConnection: close\r\n\r\n`));
  const text = await within(new Response(readable(conn)).text(), "the answer");
  return Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
}

Deno.test("access services lists what the token opens", async () => {
  const services = [
    { name: "pg", kind: "tcp", hostnames: ["pg.example.com"] },
    { name: "dashboard", kind: "http", hostnames: ["dash.example.com", "d.example.com"] },
  ];
  await using relay = await startStandIn({
    answer: ({ path }) =>
      path === "/.culvert/services" ? { status: 200, body: { services } } : undefined,
  });
  const url = `http://pg.localhost:${relay.port}`;
  const table = await runProgram("access.ts", ["services", url], env);
  equal(
    table.stdout,
    "NAME       KIND  HOSTNAMES\n" +
      "pg         tcp   pg.example.com\n" +
      "dashboard  http  dash.example.com, d.example.com\n",
  );
  const lines = await runProgram("access.ts", ["services", url, "--json"], env);
  deepEqual(lines.stdout.trimEnd().split("\n").map((line) => JSON.parse(line)), services);
});
