/** What comes from a session's socket: messages, whole or in parts, and the frames in them. */
import { freeCallback } from "../bytes/bytes.ts";
import { Shares } from "../bytes/shares.ts";
import { ProtocolError } from "./errors.ts";
import { frameName, FrameType, headerBytes, readUint32 } from "./frame.ts";
import { Inbox, isBatch } from "./inbox.ts";
import type { ProtocolVersion } from "./protocol_version.ts";

/** What a reader needs of its session. */
export interface MessageReaderHost {
  readonly version: ProtocolVersion;
  readonly isClosed: boolean;
  /** Bytes have come. @param isWhole whether a message is complete with them */
  heard(bytes: number, isWhole: boolean): void;
  /**
   * A frame has come, or a part of a Data frame.
   *
   * @param shares Who uses the payload's memory, if it can be freed. Whoever keeps bytes takes a share.
   */
  frame(type: number, id: number, payload: Uint8Array, shares: Shares | undefined): void;
  /** A message of a kind that the version does not have has come. @throws {ExcessError} */
  ignored(): void;
  /** A message can't be read, or something threw while it was. */
  failed(error: unknown): void;
  /** Messages wait, so no more should be read from the socket; or none waits any more. */
  waits(doesWait: boolean): void;
  /** More than can be kept, or read at once, has come. */
  tooLong(messageBytes: number): void;
  overflowed(): void;
}

/** Reads the messages of one session. */
export class MessageReader {
  readonly #host: MessageReaderHost;
  readonly #inbox: Inbox;
  /** The Data frame that comes in parts, and where its bytes begin in the next part. */
  #parts = { stream: 0, frameBytes: 0 };
  #partOffset = 0;
  /** Who uses the memory of the message that is being read, if it can be freed. */
  #shares: Shares | undefined;

  constructor(host: MessageReaderHost) {
    this.#host = host;
    this.#inbox = new Inbox({
      begin: (message, shares) => this.#begin(message, shares),
      visit: this.#visit,
      failed: (error) => host.failed(error),
      waits: (doesWait) => host.waits(doesWait),
      overflowed: () => host.overflowed(),
    });
  }

  receive(message: Uint8Array, free = freeCallback(message)): void {
    if (this.#host.isClosed) return;
    this.#host.heard(message.length, true);
    if (message.length > this.#host.version.maxMessageBytes) {
      return this.#host.tooLong(message.length);
    }
    this.#inbox.receive(message, free);
    // Or it would keep the message until the next one. What came while another message is read, as from
    // a socket that answers at once, must not take that one's away: its memory would be freed too early.
    if (this.#inbox.isIdle) this.#shares = undefined;
  }

  /**
   * Whether a message is handed on as it comes: one Data frame of bulk, which needs neither a copy nor
   * memory for the whole of it then. All others are read whole.
   */
  beginsInParts(first: Uint8Array, length: number): boolean {
    const { version, isClosed } = this.#host;
    const isData = first.length >= headerBytes && first[0] === FrameType.Data;
    if (!isData || !version.hasWindows || length > version.maxMessageBytes) return false;
    if (isClosed || !this.#inbox.isIdle) return false;
    this.#parts = { stream: readUint32(first, 1), frameBytes: length - headerBytes };
    this.#partOffset = headerBytes;
    return true;
  }

  /** Each part is like a Data frame of its own. */
  receivePart(bytes: Uint8Array, isLast: boolean, free?: () => void): void {
    if (this.#host.isClosed) return;
    this.#host.heard(bytes.length, isLast);
    const payload = bytes.subarray(this.#partOffset);
    this.#partOffset = 0;
    if (payload.length === 0) return free?.();
    const shares = this.#shares = free && new Shares(free);
    try {
      this.#visit(FrameType.Data, this.#parts.stream, payload, this.#parts.frameBytes);
    } catch (error) {
      this.#host.failed(error);
    }
    this.#shares = undefined;
    shares?.release();
  }

  /** Calls back once no message waits for another turn; at once if none does. */
  whenEmpty(run: () => void): void {
    this.#inbox.whenEmpty(run);
  }

  /** Reads nothing more. */
  stop(): void {
    this.#inbox.stop();
  }

  /** @returns whether the message is to be read. */
  #begin(message: Uint8Array, shares: Shares | undefined): boolean {
    if (isBatch(message) && this.#host.version.maxFrameType < FrameType.Batch) {
      this.#host.ignored();
      return false;
    }
    this.#shares = shares;
    return true;
  }

  /** @param frameBytes The size of the frame's whole payload, of which this may be a part. */
  readonly #visit = (
    type: number,
    id: number,
    payload: Uint8Array,
    frameBytes = payload.length,
  ): void => {
    if (this.#host.isClosed) return;
    try {
      this.#host.frame(type, id, payload, this.#shares);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      const frame = `${frameName(type)} frame on stream ${id} of ${frameBytes} bytes`;
      throw new ProtocolError(`${error.message} (${frame})`);
    }
  };
}
