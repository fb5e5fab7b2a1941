/** Requests to a relay's admin API: through a proxy, with a client certificate. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { proxyOrNone } from "../../lib/config/proxy.ts";
import { relayProxyOf } from "../../lib/operator/relay/references.ts";
import type { RelayTls } from "../../lib/operator/relay/relay_api.ts";
import { relayFetch } from "../../lib/runtime/deno/relay_fetch.ts";
import { Authority, withFolder } from "../support/certificates.ts";
import { ConnectProxy } from "../support/connect_proxy.ts";

const password = "pä:ss/w@rd";
const authorization = `Basic ${new TextEncoder().encode(`user:${password}`).toBase64()}`;

function proxyAt(address: string, secret: string): RelayTls["proxy"] {
  const text = `http://user:${encodeURIComponent(secret)}@${address}`;
  const proxy = proxyOrNone.schema.parse(text);
  return proxy === "none" ? undefined : relayProxyOf(proxy);
}

async function get(url: string, tls: RelayTls): Promise<string> {
  const signal = AbortSignal.timeout(60_000);
  const response = await relayFetch()(url, { method: "GET", headers: {}, signal }, tls);
  return await response.text();
}

// Clients live as long as the program.
Deno.test("requests go through the proxy with its credentials, and show the client certificate", {
  sanitizeResources: false,
}, async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "relay");
    const [server, client] = [
      await authority.issue("relay", "DNS:relay.test"),
      await authority.issue("operator", "DNS:operator"),
    ];
    const caPem = await Deno.readTextFile(authority.caPath);
    const read = (path: string) => Deno.readTextFile(path);
    const listener = createServer({
      ...{ cert: await read(server.certPath), key: await read(server.keyPath), ca: caPem },
      ...{ requestCert: true, rejectUnauthorized: true },
    }, (_request, response) => response.end("the relay"));
    listener.listen({ host: "127.0.0.1", port: 0 });
    await once(listener, "listening");
    const { port } = listener.address() as AddressInfo;
    try {
      await using proxy = await ConnectProxy.start({
        upstream: `127.0.0.1:${port}`,
        authorization,
      });
      const pair = { cert: await read(client.certPath), key: await read(client.keyPath) };
      const url = "https://relay.test:8444/admin/v1/status";
      const through = { caPem, pair, proxy: proxyAt(proxy.address, password) };
      assert.equal(await get(url, through), "the relay");
      assert.match(proxy.heads[0]!, /^CONNECT relay\.test:8444 /);
      const bare = get(url, { ...through, pair: undefined });
      await assert.rejects(
        bare,
        /demands? a client certificate, and the operator has none for it$/,
      );
      const stranger = await (await Authority.create(folder, "strangers")).issue("x", "DNS:x");
      const strange = { cert: await read(stranger.certPath), key: await read(stranger.keyPath) };
      await assert.rejects(
        get(url, { ...through, pair: strange }),
        /--caller-ca must hold the CA of the operator's client certificate$/,
      );
      const untrusting = get(url, { ...through, caPem: await read(stranger.certPath) });
      await assert.rejects(untrusting, /ca\.crt must hold the CA of the relay's certificate$/);
      const wrong = { ...through, proxy: proxyAt(proxy.address, "wrong-password") };
      await assert.rejects(get(url, wrong), (error: Error) => {
        const text = Deno.inspect(error);
        return !text.includes("wrong-password") && !text.includes(btoa("user:wrong-password"));
      });
    } finally {
      listener.close();
      await once(listener, "close");
    }
  });
});

Deno.test(
  "however many CAs others use, a watch goes on, and a client in use keeps its connection",
  {
    sanitizeResources: false,
  },
  async () => {
    await withFolder(async (folder) => {
      const { caPath } = await Authority.create(folder, "relay");
      const pem = await Deno.readTextFile(caPath);
      const watch = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
      await using server = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen() {} },
        ({ url }, { remoteAddr }) =>
          url.endsWith("/watch")
            ? new Response(new ReadableStream({ start: watch.resolve }))
            : new Response(String((remoteAddr as Deno.NetAddr).port)),
      );
      const fetchIt = relayFetch();
      const ask = (path: string, caPem: string) =>
        fetchIt(`http://127.0.0.1:${server.addr.port}${path}`, {
          method: "GET",
          headers: {},
          signal: AbortSignal.timeout(60_000),
        }, { caPem });
      const port = async (caPem: string) => await (await ask("/port", caPem)).text();
      const watched = await ask("/watch", `# watched\n${pem}`);
      const ports = new Set<string>();
      for (let count = 0; count < 200; count++) {
        if (count % 30 === 0) ports.add(await port(`# in use\n${pem}`));
        await port(`# another's ${count}\n${pem}`);
      }
      assert.equal(ports.size, 1);
      const controller = await watch.promise;
      controller.enqueue(new TextEncoder().encode("a change"));
      controller.close();
      assert.equal(await watched.text(), "a change");
      assert.equal(ports.size, 1);
    });
  },
);
