/** Connections from one relay to another. */
import { addressOfUrl } from "../../config/options/address.ts";
import type { ByteSocket } from "../../net/byte_socket.ts";
import { dialTarget } from "../node/dial_target.ts";
import { relayTlsAdvice } from "../tls_advice.ts";
import { dialTlsTarget } from "./dial_tls_target.ts";

/** How long connecting may take, TLS included, in milliseconds. A relay that is gone must not cost more. */
const timeoutMs = 1_500;

/** How a relay shows who it is and knows the others; PEM. */
export interface PeerTls {
  /** A CA that is trusted besides Deno's own list. */
  ca?: string | undefined;
  /** Shown to relays that demand a client certificate: this relay's own. */
  cert?: string | undefined;
  key?: string | undefined;
}

/**
 * Connects to another relay's internal listener, unless the signal comes first.
 *
 * @param url Its origin, `http://HOST:PORT` or `https://HOST:PORT`.
 * @throws {StreamError} that says why it can't.
 */
export function dialPeer(url: string, tls: PeerTls, signal: AbortSignal): Promise<ByteSocket> {
  const isTls = url.startsWith("https:");
  const address = addressOfUrl(new URL(url));
  if (!isTls) return dialTarget({ ...address, timeoutMs, isTls }, signal);
  // Deno's own TLS alone reports a cut connection as one.
  return dialTlsTarget({ ...address, ...tls, timeoutMs, advice: relayTlsAdvice }, signal);
}
