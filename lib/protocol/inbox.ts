/** What has arrived and is being read: a bounded number of frames in each turn of the event loop. */
import { Shares } from "../bytes/shares.ts";
import { FrameType, type FrameVisitor, FrameWalk } from "./frame.ts";

/** Frames that one message may have read in one turn; the rest waits for the next turn. */
export const maxTurnFrames = 1_024;
/** Bytes of messages that may wait, where the socket can't stop reading. */
export const maxWaitingBytes = 16 * 1024 * 1024;

/** What an inbox needs of its session. */
export interface InboxHost {
  /**
   * A message is about to be read, or the next part of it.
   *
   * @param shares Of the message's memory, if it can be freed: for all that is kept of it.
   * @returns false when it is not wanted.
   */
  begin(message: Uint8Array, shares: Shares | undefined): boolean;
  readonly visit: FrameVisitor;
  /** A message can't be read, or something threw while it was. */
  failed(error: unknown): void;
  /** Messages wait, so no more should be read from the socket; or none waits any more. */
  waits(doesWait: boolean): void;
  /** More bytes wait than may. */
  overflowed(): void;
}

/** A message that has come. */
interface Message {
  readonly bytes: Uint8Array;
  readonly shares: Shares | undefined;
}

/** Reads messages in order, each at once unless a turn has no room for all of its frames. */
export class Inbox {
  readonly #host: InboxHost;
  #walk: FrameWalk | undefined;
  /** The message of the walk. */
  #message: Message | undefined;
  readonly #queue: Message[] = [];
  #queuedBytes = 0;
  #isReading = false;
  #isStopped = false;
  /** Set while messages wait for the next turn. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #whenEmpty: (() => void) | undefined;

  constructor(host: InboxHost) {
    this.#host = host;
  }

  /**
   * Reads a message, behind those that wait.
   *
   * @param free Called once neither the message is still to be read nor anything kept of it.
   */
  receive(bytes: Uint8Array, free?: () => void): void {
    if (this.#isStopped) return;
    this.#queue.push({ bytes, shares: free && new Shares(free) });
    this.#queuedBytes += bytes.length;
    const mustWait = this.#timer !== undefined || this.#isReading;
    if (!mustWait) this.#read();
    else if (this.#queuedBytes > maxWaitingBytes) this.#host.overflowed();
  }

  /** Whether nothing waits and nothing is being read: what comes now comes in order. */
  get isIdle(): boolean {
    return !this.#isStopped && !this.#isReading && this.#timer === undefined;
  }

  /** Calls back once no message waits for another turn; at once if none does. */
  whenEmpty(run: () => void): void {
    if (this.#timer === undefined) run();
    else this.#whenEmpty = run;
  }

  /** Reads nothing more, not even the rest of the message that is being read. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#walk?.stop();
    this.#walk = this.#message = undefined;
    this.#queue.length = 0;
    this.#whenEmpty = undefined;
  }

  /** Reads as many frames as a turn has room for. */
  #read(): void {
    const wasBehind = this.#timer !== undefined;
    this.#isReading = true;
    for (let left = maxTurnFrames; left > 0 && this.#hasMore;) left = this.#step(left);
    this.#isReading = false;
    if (this.#isStopped) return;
    const isBehind = this.#hasMore;
    // A timer, as what is run sooner would come before the sockets of all others.
    this.#timer = isBehind ? setTimeout(() => this.#read(), 0) : undefined;
    if (isBehind !== wasBehind) this.#host.waits(isBehind);
    if (!isBehind) this.#whenEmpty?.();
  }

  get #hasMore(): boolean {
    return this.#walk !== undefined || this.#queue.length > 0;
  }

  /** @returns how many frames of the turn are left. */
  #step(maxFrames: number): number {
    const walk = this.#walk ??= this.#next();
    let left = maxFrames;
    try {
      if (!this.#host.begin(this.#message!.bytes, this.#message!.shares)) walk.stop();
      left -= walk.step(this.#host.visit, maxFrames);
    } catch (error) {
      walk.stop();
      this.#host.failed(error);
    }
    if (walk.isOver) {
      this.#message?.shares?.release();
      this.#walk = this.#message = undefined;
    }
    // A message counts even when nothing of it was read.
    return Math.min(left, maxFrames - 1);
  }

  #next(): FrameWalk {
    const { bytes } = this.#message = this.#queue.shift()!;
    this.#queuedBytes -= bytes.length;
    return new FrameWalk(bytes);
  }
}

/** Whether a message may hold frames of several streams. */
export function isBatch(message: Uint8Array): boolean {
  return message[0] === FrameType.Batch;
}
