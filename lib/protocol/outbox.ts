/** What waits to be sent on a session: control frames and new streams first, then streams in turn. */
import { noBytes } from "../bytes/bytes.ts";
import {
  batchLengthBytes,
  FrameType,
  headerBytes,
  maxSentMessageFrames,
  writeFrame,
  writeHeader,
  writeUint32,
} from "./frame.ts";
import { HighWater } from "./high_water.ts";
import { MessageBuffers } from "./message_buffers.ts";
import type { TunnelSocket } from "./socket.ts";
import { Stream } from "./stream.ts";

/** A message is closed once it has grown to this, so that the peer gets to work on it. */
const messageTargetBytes = 64 * 1024;
/**
 * Streams that may wait for the end of the turn; more, and those that wait go at once. Were a turn's
 * requests all to leave together, they would move through relay, agent and target as one convoy, and
 * each of these would idle while another one works.
 */
const maxWaitingStreams = 8;
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

/** Gathers what is ready in one turn of the event loop, and sends it as few messages. */
export class Outbox {
  readonly #socket: TunnelSocket;
  readonly #stats: { bytesOut: number };
  readonly #defer: (flush: () => void) => void;
  readonly #nowMs: () => number;
  /**
   * What goes first, in order: control frames, and streams whose Open is still to go. A small request
   * waits for no bulk transfer's turn, and a Pong says that all that was opened before has been sent.
   */
  #urgent: (PendingFrame | Stream)[] = [];
  /** The bytes of the waiting control frames. Opens are not counted: each stream has one at most. */
  #controlBytes = 0;
  #ready: Stream[] = [];
  #isScheduled = false;
  #isFlushing = false;
  #isStopped = false;
  #canBatch = false;
  readonly #buffers = new MessageBuffers();
  /** Low, so that a small request overtakes bulk here, where there are turns, and not in the socket. */
  readonly #highWater = new HighWater();
  /** Bytes in front of each message that the socket writes its own header into. */
  readonly #headroom: number;
  #maxFrameBytes = version1FrameBytes;
  /** Called when the peer leaves too many control frames unread. */
  overflowed: () => void = () => {};

  constructor(
    socket: TunnelSocket,
    stats: { bytesOut: number },
    defer: (flush: () => void) => void,
    nowMs: () => number,
  ) {
    this.#nowMs = nowMs;
    this.#socket = socket;
    this.#headroom = socket.headroom ?? 0;
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
    this.#urgent.push({ type, stream, payload });
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
    // In front of this stream, which may have more to say at once.
    if (this.#urgent.length + this.#ready.length >= maxWaitingStreams) this.flush();
    stream.isQueued = true;
    if (stream.isOpening) this.#urgent.push(stream);
    else this.#ready.push(stream);
    this.#schedule();
  }

  /** Forgets a stream that was given up before its Open was sent. */
  withdraw(stream: Stream): void {
    const index = this.#urgent.indexOf(stream);
    if (index !== -1) this.#urgent.splice(index, 1);
  }

  /** The socket has room again. */
  drained(): void {
    const { bufferedAmount } = this.#socket;
    this.#highWater.taken(this.#nowMs(), this.#stats.bytesOut - bufferedAmount, bufferedAmount);
    if (this.#urgent.length > 0 || this.#ready.length > 0) this.flush();
  }

  /** Sends what the socket has room for. */
  flush(): void {
    // What is gathered and not yet sent must not be overtaken by what a drained stream writes.
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    try {
      this.#sendAll();
    } finally {
      this.#isFlushing = false;
    }
  }

  #sendAll(): void {
    while (!this.#isStopped && !this.#isSocketFull) {
      const served: Stream[] = [];
      const frames = this.#gather(served);
      if (frames.length === 0) return;
      this.#send(frames);
      for (const stream of served) stream.copied();
    }
  }

  /** The session is over: nothing is sent any more. */
  stop(): void {
    this.#isStopped = true;
    this.#urgent = [];
    this.#ready = [];
  }

  get #isSocketFull(): boolean {
    return this.#socket.bufferedAmount >= this.#highWater.bytes;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#defer(this.#turnEnded);
  }

  readonly #turnEnded = (): void => {
    this.#isScheduled = false;
    this.flush();
  };

  /**
   * The frames of the next message: all that is urgent, then a slice of each stream in turn.
   *
   * @param served Gets the streams that had their turn.
   */
  #gather(served: Stream[]): PendingFrame[] {
    const frames: PendingFrame[] = [];
    const bytes = this.#takeUrgent(frames, served);
    this.#takeTurns(bytes, frames, served);
    for (const stream of served) stream.notifyDrained();
    return frames;
  }

  /** @returns the bytes of what was taken. */
  #takeUrgent(frames: PendingFrame[], served: Stream[]): number {
    let bytes = 0;
    let taken = 0;
    while (
      bytes < messageTargetBytes && taken < this.#urgent.length &&
      frames.length < maxSentMessageFrames
    ) {
      const next = this.#urgent[taken++]!;
      if (next instanceof Stream) {
        served.push(next);
        bytes += this.#takeSlice(next, frames);
      } else {
        frames.push(next);
        bytes += headerBytes + next.payload.length;
        this.#controlBytes -= headerBytes + next.payload.length;
      }
    }
    if (taken > 0) this.#urgent.splice(0, taken);
    return bytes;
  }

  /** @param before Bytes that the message holds already. */
  #takeTurns(before: number, frames: PendingFrame[], served: Stream[]): void {
    let bytes = before;
    let turns = 0;
    while (
      bytes < messageTargetBytes && turns < this.#ready.length &&
      frames.length < maxSentMessageFrames
    ) {
      bytes += this.#takeSlice(this.#ready[turns++]!, frames);
    }
    served.push(...this.#ready.splice(0, turns));
  }

  /** Gives a stream its turn. @returns the bytes that it adds to the message. */
  #takeSlice(stream: Stream, frames: PendingFrame[]): number {
    const slice = stream.nextSlice(this.#maxFrameBytes);
    if (stream.hasMore) this.#ready.push(stream);
    else stream.isQueued = false;
    if (!slice) return 0;
    frames.push({ type: slice.type, stream: stream.id, payload: slice.payload });
    return headerBytes + slice.payload.length;
  }

  #send(frames: PendingFrame[]): void {
    if (frames.length > 1 && this.#canBatch) return this.#sendBatch(frames);
    for (const { type, stream, payload } of frames) {
      const memory = this.#take(headerBytes + payload.length);
      writeFrame(memory, this.#headroom, type, stream, payload);
      this.#sendMessage(memory);
    }
  }

  #sendBatch(frames: PendingFrame[]): void {
    let length = headerBytes;
    for (const frame of frames) length += batchedBytes(frame);
    const memory = this.#take(length);
    let offset = writeHeader(memory, this.#headroom, FrameType.Batch, 0);
    for (const { type, stream, payload } of frames) {
      offset = writeUint32(memory, offset, headerBytes + payload.length);
      offset = writeFrame(memory, offset, type, stream, payload);
    }
    this.#sendMessage(memory);
  }

  /** Memory for a message of `length` bytes, behind the socket's headroom. */
  #take(length: number): Uint8Array {
    return this.#buffers.take(this.#headroom + length);
  }

  #sendMessage(memory: Uint8Array): void {
    const socket = this.#socket;
    this.#stats.bytesOut += memory.length - this.#headroom;
    const sent = this.#buffers.giveBack(memory);
    if (socket.sendWithHeadroom) socket.sendWithHeadroom(memory, sent);
    else socket.send(memory, sent);
  }
}
