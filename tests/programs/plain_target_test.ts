/** An agent that speaks plain HTTP with a target that speaks TLS. */
import { equal } from "node:assert/strict";
import { createServer } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import { loopbackCertificate } from "../support/certificates.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { CLUSTER, secrets } from "../isolation/tunnel.ts";

/** A TLS server that resets whoever speaks anything else, as Go's and OpenSSL's do. */
async function startResettingTarget() {
  const { cert, key } = await loopbackCertificate();
  const sockets = new Set<Socket>();
  const tls = createTlsServer({ cert, key }, (socket) => socket.on("error", () => {}));
  tls.on("tlsClientError", () => {});
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("readable", () => {
      const bytes: Uint8Array | null = socket.read();
      if (bytes?.[0] !== 0x16) return void socket.resetAndDestroy();
      socket.unshift(bytes);
      tls.emit("connection", socket);
    });
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

Deno.test("an agent with --plain-target says that its target speaks TLS, even if that only resets", async () => {
  await using target = await startResettingTarget();
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
  });
  await using agent = await startAgent({
    ...{ relayUrl: relay.connectUrl, token: secrets.token, target: target.address },
  });
  const ask = async () => {
    const response = await fetch(`${relay.tunnelUrl(CLUSTER)}/`);
    await response.body?.cancel();
    equal(response.status, 502);
  };
  await ask();
  const says = "The target speaks TLS; leave out --plain-target";
  const line = await agent.waitForLog(({ message }) => message === says);
  equal(line.target, target.address);
  await ask();
  const log = await agent.completeLog();
  equal(log.filter(({ message }) => message === says).length, 1);
});
