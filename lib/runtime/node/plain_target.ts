/**
 * Finds out that a target which is spoken to in plain HTTP speaks TLS.
 *
 * Some servers say so with an alert, which the agent recognises in the answer. Others only reset the
 * connection: then one handshake shows what the target is.
 */
import type { Socket } from "node:net";
import { connect } from "node:tls";
import type { ByteSocket } from "../../net/byte_socket.ts";
import { openConnection } from "./open_connection.ts";
import { readSafely } from "./verified_tls.ts";

/** What is asked, and who is told. */
export interface PlainTargetOptions {
  readonly hostname: string;
  readonly port: number;
  /** The target speaks TLS. */
  readonly found: () => void;
  /** Monotonic; tests have another one. */
  readonly nowMs?: () => number;
}

/** A target that keeps breaking off is not asked again before this time, in milliseconds. */
const pauseMs = 60_000;
const handshakeTimeoutMs = 5_000;

/** Watches the connections to one target. */
export class PlainTarget {
  readonly #options: PlainTargetOptions;
  readonly #nowMs: () => number;
  #askedMs = -Infinity;

  constructor(options: PlainTargetOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  /** Asks the target when a connection ends on which it never answered. */
  watch(connection: ByteSocket): ByteSocket {
    const socket = connection as unknown as Socket;
    socket.once("close", () => {
      if (socket.bytesWritten > 0 && socket.bytesRead === 0) void this.#ask();
    });
    return connection;
  }

  async #ask(): Promise<void> {
    const now = this.#nowMs();
    if (now - this.#askedMs < pauseMs) return;
    this.#askedMs = now;
    const { hostname, port, found } = this.#options;
    if (await speaksTls(hostname, port)) found();
  }
}

/** Whether a server completes a TLS handshake, whoever it is; nothing else is sent. */
async function speaksTls(hostname: string, port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), handshakeTimeoutMs);
  try {
    const below = await openConnection(hostname, port, AbortSignal.timeout(handshakeTimeoutMs));
    const socket = connect({ socket: below, rejectUnauthorized: false });
    readSafely(socket);
    socket.once("secureConnect", () => resolve(true));
    // An alert is TLS as well: the server may demand a certificate.
    socket.on("error", ({ message }) => resolve(message.includes("received fatal alert")));
    socket.on("close", () => resolve(false));
    const isTls = await promise;
    socket.destroy();
    below.destroy();
    return isTls;
  } catch {
    return false; // It is not there any more: nothing can be said about it.
  } finally {
    clearTimeout(timer);
  }
}
