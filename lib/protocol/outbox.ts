/** What waits to be sent on a session: control frames first, new streams, then the others in turn. */
import { noBytes } from "../bytes/bytes.ts";
import { batchLengthBytes, FrameType, headerBytes, writeHeader, writeUint32 } from "./frame.ts";
import { MessageBuffers } from "./message_buffers.ts";
import type { TunnelSocket } from "./socket.ts";
import type { Stream } from "./stream.ts";

/**
 * What the socket may hold before streams wait. It is low so that a small request overtakes bulk
 * transfers here, where there are turns, and not in a buffer, where there are none.
 */
const socketHighWaterBytes = 512 * 1024;
/** A message is closed once it has grown to this, so that the peer gets to work on it. */
const messageTargetBytes = 64 * 1024;
/** Control frames that a peer may leave unread; more only pile up with one that reads nothing. */
const maxControlBytes = 1024 * 1024;
/** Payload bytes of a frame towards a version 1 peer, which takes 16 MiB but has no turns. */
const version1FrameBytes = 32 * 1024;
/** Bytes of a version 2 frame at the most; the peer may ask for less. */
const version2FrameBytes = 64 * 1024;

interface PendingFrame {
  type: number;
  stream: number;
  payload: Uint8Array;
}

/** Bytes that a frame takes in a Batch. */
function batchedBytes(frame: PendingFrame): number {
  return batchLengthBytes + headerBytes + frame.payload.length;
}

/** Gathers frames and sends those that are ready in one turn of the event loop as one message. */
export class Outbox {
  readonly #socket: TunnelSocket;
  readonly #stats: { bytesOut: number };
  readonly #defer: (flush: () => void) => void;
  #control: PendingFrame[] = [];
  #controlBytes = 0;
  /** Streams whose Open is still to go: a small request waits for no bulk transfer's turn. */
  #opening: Stream[] = [];
  #ready: Stream[] = [];
  #isScheduled = false;
  #isStopped = false;
  #canBatch = false;
  readonly #buffers = new MessageBuffers();
  #maxFrameBytes = version1FrameBytes;
  /** Called when the peer leaves too many control frames unread. */
  overflowed: () => void = () => {};

  constructor(
    socket: TunnelSocket,
    stats: { bytesOut: number },
    defer: (flush: () => void) => void,
  ) {
    this.#socket = socket;
    this.#stats = stats;
    this.#defer = defer;
  }

  /** The largest payload that a frame gets. */
  get maxFrameBytes(): number {
    return this.#maxFrameBytes;
  }

  /** From now on frames are batched, and payloads are as large as the peer takes. */
  useVersion2(peerMaxFrameBytes: number): void {
    // What was gathered before must not land in a Batch: the peer's first frame is its Settings.
    this.flush();
    this.#canBatch = true;
    this.#maxFrameBytes = Math.min(version2FrameBytes, peerMaxFrameBytes);
  }

  /** Queues a frame that goes ahead of all streams' bytes. */
  control(type: number, stream: number, payload: Uint8Array = noBytes): void {
    if (this.#isStopped) return;
    this.#control.push({ type, stream, payload });
    this.#controlBytes += headerBytes + payload.length;
    if (this.#controlBytes > maxControlBytes) {
      // One message can ask for a million answers, before any turn of the event loop ends.
      this.flush();
      if (this.#controlBytes > maxControlBytes) return this.overflowed();
    }
    this.#schedule();
  }

  /** Gives a stream its turn. */
  wake(stream: Stream): void {
    if (stream.isQueued || this.#isStopped) return;
    stream.isQueued = true;
    (stream.isOpening ? this.#opening : this.#ready).push(stream);
    this.#schedule();
  }

  /** The socket has room again. */
  drained(): void {
    const waiting = this.#control.length + this.#opening.length + this.#ready.length;
    if (waiting > 0) this.flush();
  }

  /** Sends what the socket has room for. */
  flush(): void {
    this.#isScheduled = false;
    while (!this.#isStopped && !this.#isSocketFull) {
      const frames = this.#gather();
      if (frames.length === 0) return;
      this.#send(frames);
    }
  }

  /** The session is over: nothing is sent any more. */
  stop(): void {
    this.#isStopped = true;
    this.#control = [];
    this.#opening = [];
    this.#ready = [];
  }

  get #isSocketFull(): boolean {
    return this.#socket.bufferedAmount >= socketHighWaterBytes;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#defer(() => this.flush());
  }

  /** The frames of the next message: all that is urgent, then a slice of each stream in turn. */
  #gather(): PendingFrame[] {
    const frames = this.#control;
    const bytes = this.#controlBytes;
    this.#control = [];
    this.#controlBytes = 0;
    this.#takeTurns(this.#ready, frames, this.#takeTurns(this.#opening, frames, bytes));
    return frames;
  }

  /** Gives each stream its turn until the message is full. @returns the message's bytes by then. */
  #takeTurns(waiting: Stream[], frames: PendingFrame[], before: number): number {
    let bytes = before;
    let turns = 0;
    while (bytes < messageTargetBytes && turns < waiting.length) {
      const stream = waiting[turns++]!;
      const slice = stream.nextSlice(this.#maxFrameBytes);
      if (slice) {
        frames.push({ type: slice.type, stream: stream.id, payload: slice.payload });
        bytes += headerBytes + slice.payload.length;
      }
      if (stream.hasMore) this.#ready.push(stream);
      else stream.isQueued = false;
    }
    const served = waiting.splice(0, turns);
    for (const stream of served) stream.notifyDrained();
    return bytes;
  }

  #send(frames: PendingFrame[]): void {
    if (frames.length > 1 && this.#canBatch) return this.#sendBatch(frames);
    for (const { type, stream, payload } of frames) {
      const message = this.#buffers.take(headerBytes + payload.length);
      writeHeader(message, 0, type, stream);
      message.set(payload, headerBytes);
      this.#sendMessage(message);
    }
  }

  #sendBatch(frames: PendingFrame[]): void {
    let length = headerBytes;
    for (const frame of frames) length += batchedBytes(frame);
    const message = this.#buffers.take(length);
    let offset = writeHeader(message, 0, FrameType.Batch, 0);
    for (const { type, stream, payload } of frames) {
      offset = writeUint32(message, offset, headerBytes + payload.length);
      offset = writeHeader(message, offset, type, stream);
      message.set(payload, offset);
      offset += payload.length;
    }
    this.#sendMessage(message);
  }

  #sendMessage(message: Uint8Array): void {
    this.#stats.bytesOut += message.length;
    this.#socket.send(message, this.#buffers.giveBack(message));
  }
}
