/** Why a TLS handshake with a listener failed, for the log and the metrics. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { iso } from "../../tls_advice.ts";

/** A closed list, as it is a metric's label. */
export type HandshakeFailureReason =
  /** The listener demands a client certificate, and none came. */
  | "no_certificate"
  /** One came that does not lead to the client CA, or is not valid. */
  | "bad_certificate"
  /** What came is not TLS. */
  | "not_tls"
  /** The client asks for a name that no certificate is for. */
  | "unknown_name"
  /** No version, cipher or kind of key in common. */
  | "incompatible"
  /** The peer ended it with an alert: mostly, it does not trust the listener's certificate. */
  | "peer_alert"
  /** Bytes came, but not the whole handshake in time. */
  | "timeout"
  /** A connection without a byte, as port checks make. */
  | "silent"
  | "other";

/** One failed handshake. */
export interface HandshakeFailure {
  readonly reason: HandshakeFailureReason;
  /** The runtime's words. */
  readonly detail: string;
  /** The peer's address. */
  readonly peer: string;
}

/** Makes sense of what a TLS server's `tlsClientError` brings. */
export function handshakeFailure(
  error: Error & { code?: string },
  socket: TLSSocket,
): HandshakeFailure {
  const below = socketBelow(socket);
  const peer = (below.remoteAddress ?? socket.remoteAddress ?? "").replace(/^::ffff:/, "");
  // With a certificate that is not trusted, Node tells why here, and "socket hang up" as the error.
  const { authorizationError } = socket;
  if (authorizationError) {
    const detail = `${authorizationError}: the certificate does not lead to a CA that this ` +
      `listener accepts, is not for clients (extendedKeyUsage), is X.509 version 1, or is not valid at ${
        iso(Date.now())
      }, as this machine's ` +
      "clock says";
    return { reason: "bad_certificate", detail, peer };
  }
  const reason = reasonOf(error, below !== socket && below.bytesRead === 0);
  return { reason, detail: error.message, peer };
}

/** Node has no public way from a TLS socket to the TCP socket below it, which still knows its peer. */
export function socketBelow(socket: Socket): Socket {
  return (socket as unknown as { _parent?: Socket | null })._parent ?? socket;
}

function reasonOf(
  { code = "", message }: Error & { code?: string },
  isSilent: boolean,
): HandshakeFailureReason {
  if (code === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE") return "no_certificate";
  if (isSilent) return "silent";
  if (message.includes("handshake timeout")) return "timeout";
  if (code === "ERR_SSL_WRONG_VERSION_NUMBER" || code === "ERR_SSL_HTTP_REQUEST") return "not_tls";
  if (message.includes("received fatal alert")) return "peer_alert";
  if (/invalid peer certificate|CERT/i.test(`${code} ${message}`)) return "bad_certificate";
  if (message.includes("incompatible") || code.includes("HANDSHAKE_FAILURE")) return "incompatible";
  return "other";
}
