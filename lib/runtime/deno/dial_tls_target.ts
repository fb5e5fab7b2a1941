/**
 * Verified TLS connections from the agent to its target, by Deno's own TLS.
 *
 * `node:tls` under Deno 2.9.6 reports a connection that was cut, by a reset or an end without TLS's
 * closing alert, as an orderly end: a cut answer would look whole. It can also lose the last events
 * of a connection whose peer has closed. Deno's own TLS does neither, and costs half the CPU.
 */
import type { ByteSocket } from "../../net/byte_socket.ts";
import { StreamError, type StreamErrorCode } from "../../protocol/errors.ts";
import { dialForStream, unlessAborted } from "../dial.ts";
import { advised, targetTlsAdvice, type TlsAdvice } from "../tls_advice.ts";
import { ConnSocket } from "./conn_socket.ts";

/** Where the target is. */
export interface TlsTargetOptions {
  hostname: string;
  port: number;
  /** What the target's certificate must hold, where it is another name than `hostname`. */
  serverName?: string | undefined;
  /** PEM of a CA that is trusted besides Deno's own list. */
  ca?: string | undefined;
  /** The agent's own certificate and key, PEM, for targets that ask for one. */
  cert?: string | undefined;
  key?: string | undefined;
  /** What is spoken inside; HTTP/1.1 unless given. */
  alpn?: readonly string[] | undefined;
  /** What mends what TLS finds wrong; the options of `--target` unless given. */
  advice?: TlsAdvice | undefined;
  /** How long connecting may take, TLS included, in milliseconds. */
  timeoutMs: number;
}

/**
 * Connects to the target, unless the signal comes first.
 *
 * @throws {StreamError} `refused`, `unreachable`, `timeout`, `tls` or, for the signal, `reset`.
 */
export async function dialTlsTarget(
  options: TlsTargetOptions,
  signal: AbortSignal,
): Promise<ByteSocket> {
  const { timeoutMs, advice = targetTlsAdvice } = options;
  return await dialForStream({ timeoutMs, signal }, async (signal) => {
    const tls = options.cert === undefined
      ? await startTls(options, signal)
      : await connectTls(options, signal);
    return new ConnSocket(await shakeHands(tls, signal));
  }, (error) => new StreamError(codeOf(error), advised(error.message, advice)));
}

/** What both ways to begin TLS have in common. */
function tlsOptions({ ca, alpn = ["http/1.1"] }: TlsTargetOptions) {
  return { caCerts: ca ? [ca] : [], ...(alpn.length > 0 && { alpnProtocols: [...alpn] }) };
}

async function startTls(options: TlsTargetOptions, signal: AbortSignal): Promise<Deno.TlsConn> {
  const { hostname, port, serverName = hostname } = options;
  const conn = await Deno.connect({ hostname, port, signal });
  conn.setKeepAlive(true);
  return await Deno.startTls(conn, { hostname: serverName, ...tlsOptions(options) });
}

/** `Deno.startTls` shows no certificate; this can't be aborted, and asks for the host's own name. */
async function connectTls(options: TlsTargetOptions, signal: AbortSignal): Promise<Deno.TlsConn> {
  const { hostname, port, cert = "", key = "" } = options;
  const connecting = Deno.connectTls({ hostname, port, cert, key, ...tlsOptions(options) });
  return await unlessAborted(connecting, signal, (tls) => tls.close());
}

async function shakeHands(tls: Deno.TlsConn, signal: AbortSignal): Promise<Deno.TlsConn> {
  let isClosed = false;
  const abort = (): void => {
    isClosed = true;
    tls.close();
  };
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    await tls.handshake();
    signal.throwIfAborted();
    return tls;
  } catch (error) {
    if (!isClosed) tls.close();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** What a failed connection of Deno's means to a stream. */
function codeOf(error: unknown): StreamErrorCode {
  if (error instanceof Deno.errors.ConnectionRefused) return "refused";
  if (error instanceof Deno.errors.ConnectionReset) return "reset";
  if (error instanceof Deno.errors.TimedOut) return "timeout";
  if (error instanceof Deno.errors.InvalidData) return "tls";
  if (error instanceof Deno.errors.UnexpectedEof) return "tls";
  return "unreachable";
}
