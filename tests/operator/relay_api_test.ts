import assert from "node:assert/strict";
import { RelayApi, RelayUnreachable } from "../../lib/operator/relay/relay_api.ts";
import { endpoint } from "./harness.ts";

Deno.test("a proxy, CA or certificate that does not work holds up nobody else at the relay", async () => {
  const relays = new RelayApi({
    fetch: (_url, _init, tls) =>
      Object.keys(tls).length > 0
        ? Promise.reject(new TypeError("no way"))
        : Promise.resolve(Response.json({})),
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
  await assert.rejects(() => put(ways[0]!), /has not answered lately/);
});
