/** A TLS server that takes down what comes after the handshake: nothing may, if it is an impostor. */
import { createServer } from "node:tls";
import type { AddressInfo } from "node:net";
import { once } from "node:events";

/** A running one. */
export interface TlsListener extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Connections that came, with their handshakes done or not. */
  readonly connections: number;
  /** Bytes that were sent under TLS, as text. */
  readonly received: string;
  /** Resolves when some have come. */
  readonly spokenTo: Promise<void>;
}

/** Starts one on the loopback interface. @param cert PEM, the leaf first. */
export async function startTlsListener(cert: string, key: string): Promise<TlsListener> {
  const sockets = new Set<{ destroy(): void }>();
  const spokenTo = Promise.withResolvers<void>();
  const seen = { connections: 0, received: "" };
  const server = createServer({ cert, key }, (socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      seen.received += bytes.toString("latin1");
      spokenTo.resolve();
    });
  });
  server.on("tlsClientError", () => {});
  server.on("connection", (socket) => {
    seen.connections++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen({ host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    address: `127.0.0.1:${port}`,
    get connections() {
      return seen.connections;
    },
    get received() {
      return seen.received;
    },
    spokenTo: spokenTo.promise,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
