/** Connections from one relay to another. */
import { addressOfUrl } from "../../config/options/address.ts";
import type { ByteSocket } from "../../net/byte_socket.ts";
import { StreamError } from "../../protocol/errors.ts";
import { dialTarget } from "../node/dial_target.ts";
import { advised, relayTlsAdvice } from "../tls_advice.ts";
import { ConnSocket } from "./conn_socket.ts";
import { codeOf } from "./dial_tls_target.ts";

/** For a connection to be made, TLS included, in milliseconds: a relay that is gone must not cost more. */
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
  return dialTls(address, tls, signal);
}

/** By Deno's own TLS, which alone reports a cut connection as one (see `dial_tls_target.ts`). */
async function dialTls(
  address: { hostname: string; port: number },
  { ca, cert, key }: PeerTls,
  signal: AbortSignal,
): Promise<ByteSocket> {
  const connecting = connect({
    ...address,
    ...(ca === undefined ? {} : { caCerts: [ca] }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    alpnProtocols: ["http/1.1"],
  });
  const given = Promise.withResolvers<never>();
  const giveUp = (): void => given.reject(new StreamError("reset", "The request was given up"));
  const timer = setTimeout(
    () => given.reject(new StreamError("timeout", `No connection within ${timeoutMs} ms`)),
    timeoutMs,
  );
  signal.addEventListener("abort", giveUp);
  try {
    return new ConnSocket(await Promise.race([connecting, given.promise]));
  } catch (error) {
    // Should it still come about, nobody is left to use it.
    connecting.then((conn) => conn.close(), () => {});
    if (error instanceof StreamError) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new StreamError(codeOf(error), advised(message, relayTlsAdvice));
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", giveUp);
  }
}

async function connect(
  options: Deno.ConnectTlsOptions | (Deno.ConnectTlsOptions & Deno.TlsCertifiedKeyPem),
): Promise<Deno.TlsConn> {
  const conn = await Deno.connectTls(options);
  try {
    await conn.handshake();
    return conn;
  } catch (error) {
    conn.close();
    throw error;
  }
}
