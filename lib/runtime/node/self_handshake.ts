/** A TLS handshake of a server with a client, both in this process and without a socket. */
import { Duplex } from "node:stream";
import { connect, createServer, type SecureContextOptions } from "node:tls";

/** It takes some milliseconds; this is for the case that an end neither speaks nor fails. */
const timeoutMs = 5_000;

/**
 * Has a server with this certificate and key shake hands with a client that trusts anybody.
 *
 * Only a handshake shows that the runtime's TLS can use them: it takes a key of an unsupported kind
 * without a word, and fails each connection later.
 *
 * @throws {Error} with the runtime's words when it can't
 */
export async function selfHandshake(
  { cert, key }: Pick<SecureContextOptions, "cert" | "key">,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // It throws for what it can't even load.
  const server = createServer({ cert, key, minVersion: "TLSv1.2" });
  server.on("tlsClientError", reject);
  const [near, far] = pair();
  server.emit("connection", far);
  // Whether others trust the certificate is not asked: they may have CAs that this process has not.
  const client = connect({ socket: near, rejectUnauthorized: false, minVersion: "TLSv1.2" });
  client.on("error", reject);
  client.on("close", () => reject(new Error("the handshake was broken off")));
  client.once("secureConnect", resolve);
  const timer = setTimeout(() => reject(new Error("the handshake does not end")), timeoutMs);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    for (const end of [client, near, far]) end.destroy();
  }
}

/** Two ends of a connection in memory. */
function pair(): [Duplex, Duplex] {
  const end = (other: () => Duplex): Duplex =>
    new Duplex({
      read() {},
      write(chunk, _encoding, done) {
        other().push(chunk);
        done();
      },
      final(done) {
        other().push(null);
        done();
      },
    });
  const near: Duplex = end(() => far);
  const far: Duplex = end(() => near);
  return [near, far];
}
