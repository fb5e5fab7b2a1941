/** Writes log lines without ever having the program wait for whoever reads them. */
import type { WriteSome } from "../deno/standard_streams.ts";

/** Limits of a {@link LineWriter}; tests choose others. */
export interface LineWriterLimits {
  /** Bytes of lines that wait to be written; a line beyond them is lost. */
  maxQueuedBytes: number;
  /** How long a line may wait for others to be written with, in milliseconds. */
  gatherMs: number;
}

const defaultLimits: LineWriterLimits = { maxQueuedBytes: 1024 * 1024, gatherMs: 20 };

/** What becomes known of lines that nobody will read. */
export interface LineWriterEvents {
  /** Lines were lost. */
  lost(lines: number): void;
  /** Lines can be written again. @param lost How many were lost meanwhile. */
  resumed(lost: number): void;
}

/** Bytes that one write takes. */
const blockBytes = 64 * 1024;
/** Empty blocks that are kept for the next lines. */
const maxSpareBlocks = 2;

/** Lines, encoded. Byte 0 is a line end, for the case that the line before them was cut off. */
class Block {
  readonly bytes: Uint8Array;
  length = 1;
  lines = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.bytes[0] = lineEnd;
  }

  /** Adds a line. @returns false when it does not fit. */
  add(line: string): boolean {
    const room = this.bytes.subarray(this.length, -1);
    const { read, written } = encoder.encodeInto(line, room);
    if (read < line.length) return false;
    this.length += written;
    this.bytes[this.length++] = lineEnd;
    this.lines++;
    return true;
  }

  clear(): void {
    this.length = 1;
    this.lines = 0;
  }
}

const lineEnd = 0x0a;
const encoder = new TextEncoder();

/**
 * Queues lines and writes them from there. Each line is encoded at once into a block that is used
 * again and again, so a line leaves no object behind.
 *
 * Lines are lost when the queue is full, because nobody reads, and when they can't be written, as on
 * a full disk: no request may wait or fail, and no program may end, because of its log.
 */
export class LineWriter {
  readonly #write: WriteSome;
  readonly #events: LineWriterEvents;
  readonly #limits: LineWriterLimits;
  #filling: Block | undefined;
  readonly #full: Block[] = [];
  readonly #spare: Block[] = [];
  #queuedBytes = 0;
  /** Lines that were lost since one could be written last. */
  #lostLines = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The timer runs out in the next turn. */
  #isDue = false;
  #isWriting = false;
  /** The last line that was written is cut off: the next one must not continue it. */
  #isTorn = false;
  readonly #whenWritten = new Set<() => void>();

  constructor(write: WriteSome, events: LineWriterEvents, limits: Partial<LineWriterLimits> = {}) {
    this.#write = write;
    this.#events = events;
    this.#limits = { ...defaultLimits, ...limits };
  }

  /**
   * Queues a line, given without its end.
   *
   * @param isUrgent Whether it is written at once instead of with those that come soon after it.
   */
  write(line: string, isUrgent = false): void {
    // No character takes more than three bytes; only a line that may not fit is measured.
    const room = this.#limits.maxQueuedBytes - this.#queuedBytes;
    if (line.length * 3 >= room && encoder.encode(line).length >= room) return this.#lose(1);
    this.#add(line);
    if (this.#isWriting) return;
    if (isUrgent || this.#full.length > 0) this.#writeSoon();
    else this.#timer ??= setTimeout(this.#run, this.#limits.gatherMs);
  }

  /**
   * Writes what is queued.
   *
   * @returns once all of it is written or lost, or after `ms`, whichever is first.
   */
  async flush(ms: number): Promise<void> {
    if (this.#queuedBytes === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#whenWritten.add(resolve);
    this.#run();
    await promise;
    this.#whenWritten.delete(resolve);
    clearTimeout(timer);
  }

  /** Writes in the next turn of the event loop, so that the lines of this turn leave together. */
  #writeSoon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#run, 0);
  }

  #add(line: string): void {
    this.#filling ??= this.#spare.pop() ?? new Block(blockBytes);
    const before = this.#filling.length;
    if (this.#filling.add(line)) {
      this.#queuedBytes += this.#filling.length - before;
      return;
    }
    if (this.#filling.lines > 0) {
      this.#full.push(this.#filling);
      this.#filling = undefined;
      return this.#add(line);
    }
    // Longer than a block: it gets one of its own.
    const block = new Block(line.length * 3 + 3);
    block.add(line);
    this.#queuedBytes += block.length - 1;
    this.#full.push(block);
  }

  readonly #run = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isDue = false;
    if (!this.#isWriting) void this.#writeQueue();
  };

  async #writeQueue(): Promise<void> {
    this.#isWriting = true;
    for (let block = this.#next(); block; block = this.#next()) {
      const isWritten = await this.#writeBlock(block);
      this.#queuedBytes -= block.length - 1;
      if (isWritten) this.#resume();
      else this.#lose(block.lines);
      this.#free(block);
    }
    this.#isWriting = false;
    for (const resolve of this.#whenWritten) resolve();
  }

  #next(): Block | undefined {
    const full = this.#full.shift();
    if (full) return full;
    const filling = this.#filling;
    if (!filling || filling.lines === 0) return undefined;
    this.#filling = undefined;
    return filling;
  }

  #free(block: Block): void {
    if (block.bytes.length !== blockBytes || this.#spare.length === maxSpareBlocks) return;
    block.clear();
    this.#spare.push(block);
  }

  async #writeBlock({ bytes, length }: Block): Promise<boolean> {
    const begin = this.#isTorn ? 0 : 1;
    let at = begin;
    try {
      while (at < length) at += await this.#write(bytes.subarray(at, length));
      this.#isTorn = false;
      return true;
    } catch {
      // There is nowhere to tell it until lines can be written again.
      if (at > begin) this.#isTorn = true;
      return false;
    }
  }

  #lose(lines: number): void {
    this.#lostLines += lines;
    this.#events.lost(lines);
  }

  /** Tells what was lost before, once there is room for the line that says so. */
  #resume(): void {
    if (this.#queuedBytes > this.#limits.maxQueuedBytes / 2) return;
    const lost = this.#lostLines;
    this.#lostLines = 0;
    if (lost > 0) this.#events.resumed(lost);
  }
}
