/** What happens on a stream, for whoever owns it. */
import type { StreamError } from "./errors.ts";

/**
 * What a stream's owner does with what arrives; called while a message is read, so they must be
 * quick. One that throws ends its stream with `internal`, and is told so by `failed`.
 */
export interface StreamEvents {
  /**
   * Bytes from the peer. Once they are dealt with, `Stream.consumed` must be told.
   *
   * @param free Frees the bytes' memory, where that can be done; to be called or not, but not
   * within this call.
   */
  data(bytes: Uint8Array, free?: () => void): void;
  /** The peer sends no more bytes; ours may still go out. */
  end(): void;
  /**
   * The peer wants no more of ours. After `end` that harms nothing that has arrived; without it
   * the stream was given up half way.
   */
  closed(): void;
  /** The stream, or its whole session, ended with an error. */
  failed(error: StreamError): void;
  /** Called when there is room again, after `write` has returned false. */
  drained(): void;
  /** Relays only, on a stream of a kind that is confirmed: the agent has connected to the target. */
  connected?(): void;
}

/** Does nothing with any of it. */
export const silent: StreamEvents = {
  data() {},
  end() {},
  closed() {},
  failed() {},
  drained() {},
};
