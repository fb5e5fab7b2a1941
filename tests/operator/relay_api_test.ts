import assert from "node:assert/strict";
import { delay } from "../../lib/kube/delay.ts";
import { RelayApi, RelayUnreachable } from "../../lib/operator/relay/relay_api.ts";
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
