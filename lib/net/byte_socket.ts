/** A connection as the rooms above the runtime see it; `node:net` and `node:tls` sockets fit as they are. */

/** Events of a {@link ByteSocket} and what comes with them. */
export interface ByteSocketEvents {
  /** The bytes are the listener's: nobody else uses their memory any more. */
  data: (bytes: Uint8Array) => void;
  /** The peer sends no more; we still may. */
  end: () => void;
  /** What `write` took has gone out. */
  drain: () => void;
  /** The connection is over, both ways. Nothing comes after it. */
  close: () => void;
  /** Always followed by `close`. */
  error: (error: Error) => void;
}

/** A two-way byte connection with half-close and backpressure. */
export interface ByteSocket {
  on<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): unknown;
  off<E extends keyof ByteSocketEvents>(event: E, listener: ByteSocketEvents[E]): unknown;
  /**
   * Queues bytes, which must not change any more; false when enough are queued (see `drain`).
   *
   * @param sent Called, in a later turn, once the bytes have gone out and their memory is of no use;
   *   with an error, or never, where they haven't.
   */
  write(bytes: Uint8Array, sent?: (error?: Error | null) => void): boolean;
  /** Half-close, behind what is queued. */
  end(): unknown;
  /** Ends both ways at once; what is queued is lost. */
  destroy(): unknown;
  /** Half-close behind what is queued, then the end of both ways. */
  destroySoon(): unknown;
  /** As `destroy`, with a reset, so that the peer can't take it for an orderly end. */
  resetAndDestroy(): unknown;
  /** Stops reading, and with it, in time, the peer's writing. */
  pause(): unknown;
  resume(): unknown;
  readonly destroyed: boolean;
  /** Whether a connection that was cut ends like one that was closed: its end says nothing then. */
  readonly hidesCuts?: boolean;
  /** Bytes that `write` took and that have not gone out. */
  readonly writableLength: number;
}

/** A callback for `write` that calls `free` if the bytes were sent; else their memory may still be in use. */
export function whenSent(free: () => void): (error?: Error | null) => void {
  return (error) => {
    if (!error) free();
  };
}
