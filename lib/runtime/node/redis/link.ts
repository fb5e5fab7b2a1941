/** What each form of `--directory` opens: connections to a Redis, made anew until it is destroyed. */

import { ClientClosedError, DisconnectsClientError } from "redis";

/** Connections to a Redis. Used once: after {@link destroy}, a new one takes its place. */
export interface RedisLink {
  /** Begins to connect. */
  connect(): void;
  /** @throws at once without a connection, and for an error reply */
  send(command: readonly string[]): Promise<unknown>;
  destroy(): void;
}

/** What a link tells. */
export interface LinkEvents {
  /** There is a connection, or a new one: the server behind it may be another one. */
  ready(): void;
  /** Nothing can be sent. */
  failed(error: unknown): void;
}

/** The longest wait between two attempts to connect, in milliseconds. */
const maxRetryMs = 2_000;

/** How long to wait before the next attempt to connect, in milliseconds. @param attempts before it */
export function retryMs(attempts: number): number {
  return Math.min(100 * 2 ** Math.min(attempts, 10), maxRetryMs) * (0.5 + Math.random() / 2);
}

/** There is no connection to the server that a command is for. */
export class NoConnectionError extends Error {
  override readonly name = "NoConnectionError";
}

/** What a command failed with, for a log: the client's words for a connection that it has ended say little. */
export function sendingError(error: unknown): unknown {
  // It stumbles over commands that were under way when it was ended.
  const hasEnded = error instanceof DisconnectsClientError || error instanceof ClientClosedError ||
    error instanceof TypeError;
  return hasEnded ? new NoConnectionError("The connection has ended", { cause: error }) : error;
}
