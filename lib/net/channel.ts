/** What carries one request and its answer: a stream of the tunnel, or a connection to another relay. */
import type { StreamError } from "../protocol/errors.ts";
import type { StreamEvents } from "../protocol/stream_events.ts";

/** A two-way byte channel with half-close and backpressure; a `Stream` is one. */
export interface Channel {
  /** Says who deals with what arrives. */
  listen(events: StreamEvents): void;
  /**
   * Sends bytes, which must not change any more.
   *
   * @param free Called, if ever, once there is no use for the bytes' memory any more.
   * @returns false: wait for `drained`.
   */
  write(bytes: Uint8Array, free?: () => void): boolean;
  /** Half-close, where there is a way to say it: nothing more comes from this side. */
  end(): void;
  /** Whether the other side has a word for half-close. */
  readonly canHalfClose: boolean;
  /**
   * Says that everything is written and nothing more is wanted.
   *
   * @param isReusable Whether what carried the answer ended exactly with it and may carry another;
   * a stream carries one only.
   */
  finish(isReusable?: boolean): void;
  /** Gives the channel up, both ways, with nothing to report. */
  close(): void;
  /** Ends the channel with a reason, both ways. */
  fail(error: StreamError): void;
  /** Says that the consumer has dealt with `bytes` of what arrived, so that as many may follow. */
  consumed(bytes: number): void;
}
