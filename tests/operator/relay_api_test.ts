import assert from "node:assert/strict";
import { delay } from "../../lib/kube/delay.ts";
import { RelayApi, RelayUnreachable } from "../../lib/operator/relay/relay_api.ts";
import { relayFetch } from "../../lib/runtime/deno/relay_fetch.ts";
import { endpoint } from "./harness.ts";

Deno.test("a proxy, CA or certificate that does not work holds up nobody else at the relay", async () => {
  let sent = 0;
  const relays = new RelayApi({
    fetch: (_url, _init, tls) => {
      sent++;
      return Object.keys(tls).length > 0
        ? Promise.reject(new TypeError("no way"))
        : Promise.resolve(Response.json({}));
    },
    ...{ firstBackoffMs: 3_600_000, maxBackoffMs: 3_600_000 },
  });
  const access = { endpoint, token: "token" };
  const put = async (tls: object) =>
    await relays.put({ ...access, ...tls }, "clusters", "home", {});
  const ways = [
    { proxy: { url: "http://nowhere.test:3128" } },
    { caPem: "another CA" },
    { pair: { cert: "cert", key: "key" } },
  ];
  for (const tls of ways) await assert.rejects(() => put(tls), RelayUnreachable);
  assert.equal(await put({}), "accepted");
  const before = sent;
  await assert.rejects(() => put(ways[0]!), /can't be reached: no way$/);
  assert.equal(sent, before, "nothing is sent while the relay is left alone");
});

Deno.test("a relay that did not answer is tried with one request, and the others do not wait with it", async () => {
  let asked = 0;
  let answer = Promise.withResolvers<Response>();
  const relays = new RelayApi({
    fetch: () => {
      asked++;
      return answer.promise;
    },
    ...{ firstBackoffMs: 1, maxBackoffMs: 1 },
  });
  const access = { endpoint, token: "token" };
  const put = () => relays.put(access, "clusters", "home", {});
  const first = put();
  answer.reject(new TypeError("no answer"));
  await assert.rejects(first, RelayUnreachable);
  await delay(2);
  answer = Promise.withResolvers();
  const trial = put();
  await assert.rejects(put, /no answer$/);
  assert.equal(asked, 2);
  answer.resolve(Response.json({}));
  assert.equal(await trial, "accepted");
  assert.equal(await put(), "accepted");
});

Deno.test("a wrong token that the relay does not want to hear of holds up no other token", async () => {
  const relays = new RelayApi({
    fetch: (_url, { headers }) =>
      Promise.resolve(
        headers["authorization"] === "Bearer right"
          ? Response.json({})
          : Response.json({ error: { code: "too_many_failures" } }, { status: 429 }),
      ),
  });
  const put = (token: string) => relays.put({ endpoint, token }, "clusters", "home", {});
  await assert.rejects(() => put("wrong"), RelayUnreachable);
  assert.equal(await put("right"), "accepted");
});

Deno.test("a relay that answers again is asked again, though its first answer refuses a wrong token", async () => {
  const answers = [
    () => Promise.reject(new TypeError("no answer")),
    () => Promise.resolve(Response.json({ error: { code: "too_many_failures" } }, { status: 429 })),
    () => Promise.resolve(Response.json({})),
  ];
  const relays = new RelayApi({
    fetch: () => answers.shift()!(),
    ...{ firstBackoffMs: 1, maxBackoffMs: 1 },
  });
  const put = (token: string) => relays.put({ endpoint, token }, "clusters", "home", {});
  await assert.rejects(() => put("right"), RelayUnreachable);
  await delay(2);
  await assert.rejects(() => put("wrong"), RelayUnreachable);
  assert.equal(await put("right"), "accepted");
});

Deno.test("why a relay can't do what it is asked is said in its words", async () => {
  const error = { code: "no_store", message: "the relay has nowhere to keep entries" };
  const relays = new RelayApi({
    fetch: () => Promise.resolve(Response.json({ error }, { status: 503 })),
  });
  const put = () => relays.put({ endpoint, token: "token" }, "clusters", "home", {});
  await assert.rejects(put, /the relay has nowhere to keep entries$/);
});

/** A relay that answers with one text, or with the texts in turn, whatever it is asked. */
function answering(...texts: string[]): { relays: RelayApi; asked: string[] } {
  const asked: string[] = [];
  const relays = new RelayApi({
    fetch(url) {
      asked.push(url.slice(endpoint.length));
      return Promise.resolve(new Response(texts.length > 1 ? texts.shift()! : texts[0]!));
    },
    firstBackoffMs: 0,
  });
  return { relays, asked };
}

const anyone = { endpoint, token: "token" };
const session = (id: string) => ({ id, instance: "pod", tokenName: "default", software: "x" });

Deno.test("sessions and streams are read page by page", async () => {
  const pages = [["a", "b"], ["c"]].map((ids, index) => ({
    items: ids.map(session),
    ...index === 0 && { continue: "b/?" },
  }));
  const { relays, asked } = answering(...pages.map((page) => JSON.stringify(page)));
  const sessions = await relays.sessions(anyone, "home");
  assert.deepEqual(sessions.map(({ id }) => id), ["a", "b", "c"]);
  const path = "/admin/v1/clusters/home/sessions?limit=200";
  assert.deepEqual(asked, [path, `${path}&continue=b%2F%3F`]);
  const streams = [{ items: [{ service: "x" }, { service: "y" }], continue: "y" }, {
    items: [{ service: "x" }],
  }];
  const { relays: others } = answering(...streams.map((page) => JSON.stringify(page)));
  assert.equal(await others.openRequests(anyone, "home", "x"), 2);
});

Deno.test("what a tunnel's relay lists without end does not fill the memory", async (t) => {
  const endless = JSON.stringify({ items: [session("a")], continue: "a" });
  for (
    const [what, text, reason] of [
      [
        "a long answer",
        `{"items":[${"{},".repeat(400_000)}{}]}`,
        /the answer has more than 1048576 bytes$/,
      ],
      ["many items", `{"items":[${"{},".repeat(20_000)}{}]}`, /more than 10000 items$/],
      ["pages without end", endless, /more than 10000 items$/],
    ] as const
  ) {
    await t.step(what, async () => {
      const { relays, asked } = answering(text);
      await assert.rejects(() => relays.sessions(anyone, "home"), reason);
      await assert.rejects(() => relays.openRequests(anyone, "home", "x"), reason);
      assert.ok(asked.length <= 2 * 50, `${asked.length} requests`);
    });
  }
  await t.step("sessions with long ids", async () => {
    const items = Array.from({ length: 200 }, () => session("a".repeat(500)));
    const { relays, asked } = answering(JSON.stringify({ items, continue: "a" }));
    const reason = /ids, instances and tokens of sessions have more than 1048576 characters$/;
    await assert.rejects(() => relays.sessions(anyone, "home"), reason);
    assert.ok(asked.length <= 11, `${asked.length} requests`);
  });
  for (const item of [{}, { id: 1, tokenName: "x" }, session("a".repeat(513))]) {
    await t.step(`no session: ${JSON.stringify(item).slice(0, 40)}`, async () => {
      const { relays } = answering(JSON.stringify({ items: [item] }));
      await assert.rejects(
        () => relays.sessions(anyone, "home"),
        /the answer is not a list of sessions$/,
      );
    });
  }
});

Deno.test("a list of what is no object is none", async () => {
  for (const items of ["[null]", "[1]", '{"length":1}']) {
    const { relays } = answering(`{"items":${items}}`);
    await assert.rejects(() => relays.openRequests(anyone, "home", "x"), /is not a list$/);
    await assert.rejects(() => relays.list(anyone, "clusters"), /is not a list$/);
  }
});

Deno.test("an answer counts by its text, not by what is left of it when it is compressed", async () => {
  const zeros = new Blob([new Uint8Array(8 * 1024 * 1024)]).stream();
  const body = await new Response(zeros.pipeThrough(new CompressionStream("gzip"))).bytes();
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
    const headers = { "content-encoding": "gzip", "content-length": String(body.length) };
    return new Response(body, { headers });
  });
  const relays = new RelayApi({ fetch: relayFetch() });
  const access = { endpoint: `http://127.0.0.1:${server.addr.port}`, token: "token" };
  await assert.rejects(
    () => relays.put(access, "clusters", "home", {}),
    /the answer has more than 1048576 bytes$/,
  );
});
