/** Which certificate a peer shows, and whether it is valid by this machine's clock. */
import { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { iso } from "../../tls_advice.ts";

/** What is told of a certificate. */
export interface PeerCertificate {
  readonly subject: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Completes a handshake over a connection, and ends it. @throws what TLS says. */
export async function readPeerCertificate(
  connection: Socket,
  options: ConnectionOptions,
  signal: AbortSignal,
): Promise<PeerCertificate> {
  const socket = connect({ ...options, socket: connection });
  try {
    await secured(socket, connection, signal);
    return shownBy(socket);
  } finally {
    socket.destroy();
    connection.destroy();
  }
}

/** The certificate of a handshake that is over. */
export function shownBy(socket: TLSSocket): PeerCertificate {
  return factsOfCertificate(new X509Certificate(socket.getPeerCertificate().raw));
}

/** What is told of a certificate at hand. */
export function factsOfCertificate(
  { subject, subjectAltName, validFrom, validTo }: X509Certificate,
): PeerCertificate {
  return {
    subject: subject?.replaceAll("\n", ", ") || subjectAltName || "a holder without a name",
    notBeforeMs: Date.parse(validFrom),
    notAfterMs: Date.parse(validTo),
  };
}

function secured(socket: TLSSocket, connection: Socket, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort);
  socket.on("error", reject);
  connection.on("error", reject);
  socket.on("close", () => reject(new Error("the peer ended the connection within the handshake")));
  socket.once("secureConnect", () => resolve());
  return promise.finally(() => signal.removeEventListener("abort", abort));
}

/** One line for a certificate that was accepted. */
export function describe({ subject, notAfterMs }: PeerCertificate): string {
  return `certificate of ${subject}, valid until ${iso(notAfterMs)}`;
}
