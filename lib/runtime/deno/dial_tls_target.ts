/**
 * Verified TLS connections from the agent to its target, by Deno's own TLS.
 *
 * `node:tls` under Deno 2.9.6 reports a connection that was cut, by a reset or an end without TLS's
 * closing alert, as an orderly end: a cut answer would look whole. It can also lose the last events
 * of a connection whose peer has closed. Deno's own TLS does neither, and costs half the CPU.
 */
import type { ByteSocket } from "../../net/byte_socket.ts";
import { StreamError, type StreamErrorCode } from "../../protocol/errors.ts";
import { advised, targetTlsAdvice } from "../tls_advice.ts";
import { ConnSocket } from "./conn_socket.ts";

/** Where the target is. */
export interface TlsTargetOptions {
  hostname: string;
  port: number;
  /** What the target's certificate must hold, where it is another name than `hostname`. */
  serverName?: string | undefined;
  /** PEM of a CA that is trusted besides Deno's own list. */
  ca?: string | undefined;
  /** For the connection to be made, TLS included, in milliseconds. */
  timeoutMs: number;
}

/**
 * Connects to the target, unless the signal comes first.
 *
 * @throws {StreamError} `refused`, `unreachable`, `timeout`, `tls` or, for the signal, `reset`.
 */
export async function dialTlsTarget(
  { hostname, port, serverName = hostname, ca, timeoutMs }: TlsTargetOptions,
  signal: AbortSignal,
): Promise<ByteSocket> {
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), timeoutMs);
  const either = AbortSignal.any([signal, timeout.signal]);
  try {
    const conn = await Deno.connect({ hostname, port, signal: either });
    conn.setKeepAlive(true);
    return new ConnSocket(await shakeHands(conn, serverName, ca, either));
  } catch (error) {
    if (signal.aborted) throw new StreamError("reset", "The request was given up");
    if (timeout.signal.aborted) {
      throw new StreamError("timeout", `No connection within ${timeoutMs} ms`);
    }
    const message = error instanceof Error ? error.message : String(error);
    throw new StreamError(codeOf(error), advised(message, targetTlsAdvice));
  } finally {
    clearTimeout(timer);
  }
}

async function shakeHands(
  conn: Deno.TcpConn,
  hostname: string,
  ca: string | undefined,
  signal: AbortSignal,
): Promise<Deno.TlsConn> {
  const caCerts = ca ? [ca] : [];
  const tls = await Deno.startTls(conn, { hostname, caCerts, alpnProtocols: ["http/1.1"] });
  const abort = (): void => tls.close();
  signal.addEventListener("abort", abort);
  try {
    await tls.handshake();
    signal.throwIfAborted();
    return tls;
  } catch (error) {
    if (!signal.aborted) tls.close();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** What a failed connection of Deno's means to a stream. */
export function codeOf(error: unknown): StreamErrorCode {
  if (error instanceof Deno.errors.ConnectionRefused) return "refused";
  if (error instanceof Deno.errors.ConnectionReset) return "reset";
  if (error instanceof Deno.errors.TimedOut) return "timeout";
  if (error instanceof Deno.errors.InvalidData) return "tls";
  if (error instanceof Deno.errors.UnexpectedEof) return "tls";
  return "unreachable";
}
