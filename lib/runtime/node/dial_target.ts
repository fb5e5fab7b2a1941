/** Connections from the agent to its target: plain, and TLS that verifies nothing. */
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ByteSocket } from "../../net/byte_socket.ts";
import { StreamError, type StreamErrorCode } from "../../protocol/errors.ts";
import { dialForStream } from "../dial.ts";
import { guardSocket } from "./guarded_socket.ts";
import { untilConnected } from "./open_connection.ts";
import { advised, targetTlsAdvice } from "../tls_advice.ts";

/** Where the target is and how it is reached. */
export interface TargetOptions {
  hostname: string;
  port: number;
  /** What a TLS target is asked for, where it is another name than `hostname`. */
  serverName?: string | undefined;
  /** How long connecting may take, TLS included, in milliseconds. */
  timeoutMs: number;
  /**
   * TLS without verification (`--insecure`), which Deno's own TLS can't do for one connection alone.
   * See `dial_tls_target.ts` for what `node:tls` gets wrong.
   */
  isTls: boolean;
  /** The agent's own certificate and key, PEM, for targets that ask for one. */
  cert?: string | undefined;
  key?: string | undefined;
  /** What is spoken inside TLS; HTTP/1.1 unless given. */
  alpn?: readonly string[] | undefined;
}

/**
 * Node reads on after `pause` until it holds as much as this: one more piece of 64 KiB for each
 * answer that nobody takes. `connect` hands it on to the stream, which its types don't say.
 */
const readsNothingAhead = { readableHighWaterMark: 0 } as const;

/**
 * Connects to the target, unless the signal comes first.
 *
 * @throws {StreamError} `refused`, `unreachable`, `timeout`, `tls` or, for the signal, `reset`.
 */
export async function dialTarget(
  options: TargetOptions,
  signal: AbortSignal,
): Promise<ByteSocket> {
  const { isTls, timeoutMs } = options;
  return await dialForStream({ timeoutMs, signal }, async (signal) => {
    const socket = guardSocket(beginConnection(options));
    await untilConnected(socket, isTls ? "secureConnect" : "connect", signal);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    return Object.assign(socket as unknown as ByteSocket, { hidesCuts: isTls });
  }, (error) => new StreamError(codeOf(error, isTls), advised(error.message, targetTlsAdvice)));
}

function beginConnection(
  { hostname: host, port, serverName = host, isTls, cert, key, alpn = ["http/1.1"] }: TargetOptions,
): Socket {
  const common = { host, port, allowHalfOpen: true, noDelay: true };
  if (!isTls) return connectPlain({ ...common, ...readsNothingAhead });
  return connectTls({
    ...common,
    // A name indication must not be an address (RFC 6066 section 3).
    ...(isIP(serverName) ? {} : { servername: serverName }),
    rejectUnauthorized: false,
    minVersion: "TLSv1.2",
    ...(cert !== undefined && key !== undefined && { cert, key }),
    ...(alpn.length > 0 && { ALPNProtocols: [...alpn] }),
  });
}

const systemCodes: Record<string, StreamErrorCode> = {
  ECONNREFUSED: "refused",
  ECONNRESET: "reset",
  ENOTFOUND: "unreachable",
  EAI_AGAIN: "unreachable",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  EADDRNOTAVAIL: "unreachable",
  ETIMEDOUT: "timeout",
};

function codeOf(error: Error & { code?: string }, isTls: boolean): StreamErrorCode {
  return systemCodes[error.code ?? ""] ?? (isTls ? "tls" : "unreachable");
}
