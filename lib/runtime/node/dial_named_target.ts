/**
 * Verified TLS with a client certificate to a target that is known by another name than its host's,
 * which Deno's own TLS can't do.
 */
import type { Socket } from "node:net";
import type { ByteSocket } from "../../net/byte_socket.ts";
import { StreamError } from "../../protocol/errors.ts";
import { dialForStream } from "../dial.ts";
import { namedTargetTlsAdvice } from "../tls_advice.ts";
import { dialTarget } from "./dial_target.ts";
import { secure } from "./verified_tls.ts";

/** Where the target is, and what is shown to it. */
export interface NamedTargetOptions {
  readonly hostname: string;
  readonly port: number;
  /** What the target's certificate must hold. */
  readonly serverName: string;
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly alpn: readonly string[];
  /** How long connecting may take, TLS included, in milliseconds. */
  readonly timeoutMs: number;
}

/**
 * Connects to the target, unless the signal comes first.
 *
 * @throws {StreamError} `refused`, `unreachable`, `timeout`, `tls` or, for the signal, `reset`.
 */
export async function dialNamedTarget(
  { serverName: name, ca, cert, key, alpn, ...address }: NamedTargetOptions,
  signal: AbortSignal,
): Promise<ByteSocket> {
  const { timeoutMs } = address;
  return await dialForStream({ timeoutMs, signal }, async (signal) => {
    const below = await dialTarget({ ...address, isTls: false }, signal);
    const client = { name, ca, cert, key, alpn, advice: namedTargetTlsAdvice };
    const socket = await secure(below as unknown as Socket, client, signal);
    // See `dial_tls_target.ts` for what `node:tls` gets wrong.
    return Object.assign(socket as unknown as ByteSocket, { hidesCuts: true });
  }, (error) => new StreamError("tls", error.message));
}
