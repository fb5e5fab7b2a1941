/** The audit log as a file: one line of JSON for each record, appended, and followed when it is rotated. */
import { isolated } from "../../faults.ts";
import { closeSync, constants, fstatSync, openSync, statSync, write } from "node:fs";
import type { AuditLog, AuditRecord } from "../../relay/telemetry/audit.ts";
import { type WriteSome, writeToStandardOutput } from "../deno/standard_streams.ts";
import { harmless } from "./log_line.ts";

/** What is told about a file that can't be written; once for each time that it begins and ends. */
export interface AuditFileEvents {
  failed(error: Error): void;
  recovered(): void;
}

/** Limits of an audit file; tests choose others. */
export interface AuditFileLimits {
  /** How long the system may take for one write, in milliseconds. */
  writeTimeoutMs: number;
  /** Bytes of records that wait for a write. */
  maxQueuedBytes: number;
}

const defaultLimits: AuditFileLimits = {
  writeTimeoutMs: 5_000,
  maxQueuedBytes: 4 * 1024 * 1024,
};

/** How often it is looked whether the file is still the one of that name, in milliseconds. */
const rotationCheckMs = 1_000;
/** How long to wait before a full pipe is tried again, in milliseconds. */
const pipeRetryMs = 10;
/** Readable by the owner's group too, as those who ship logs often are. */
const fileMode = 0o640;
/** A pipe takes this much whole or not at all (PIPE_BUF of Linux). */
const wholePipeBytes = 4_096;
const lineEnd = 0x0a;

interface Entry {
  readonly line: string;
  readonly written: (isWritten: boolean) => void;
}

/**
 * Appends records to a file, a pipe or standard output. Records of one turn of the event loop, or of
 * the time that a write takes, leave in one write; each is reported once its write has returned.
 */
export class AuditFile implements AuditLog {
  /** Undefined is standard output. */
  readonly #path: string | undefined;
  readonly #output: WriteSome;
  readonly #events: AuditFileEvents;
  readonly #limits: AuditFileLimits;
  #fd: number | undefined;
  #isPipe = false;
  #queue: Entry[] = [];
  #queuedBytes = 0;
  #batch: Entry[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** `stuck`: a write has not returned in time, and until it does nothing else is taken. */
  #state: "idle" | "scheduled" | "writing" | "stuck" = "idle";
  #checkedMs = 0;
  #mustReopen = false;
  /** The last line is cut off: the next one must not continue it. */
  #isTorn = false;
  #isFailing = false;
  #onIdle: (() => void) | undefined;

  /**
   * Opens the file.
   *
   * @param path A file, which is made if it is not there; or `-` for standard output.
   * @param output What writes to standard output.
   * @throws Node's system error when that can't be done.
   */
  constructor(
    path: string,
    events: AuditFileEvents,
    limits: Partial<AuditFileLimits> = {},
    output: WriteSome = writeToStandardOutput,
  ) {
    this.#output = output;
    this.#path = path === "-" ? undefined : path;
    this.#events = events;
    this.#limits = { ...defaultLimits, ...limits };
    this.#open();
  }

  append(record: AuditRecord, written: (isWritten: boolean) => void): void {
    const line = harmless(JSON.stringify(record)) + "\n";
    if (this.#state === "stuck" || this.#queuedBytes + line.length > this.#limits.maxQueuedBytes) {
      return written(false);
    }
    this.#queue.push({ line, written });
    this.#queuedBytes += line.length;
    if (this.#state !== "idle") return;
    this.#state = "scheduled";
    setImmediate(() => this.#flush());
  }

  /** Opens the file anew before the next write, for those who have renamed it. */
  reopen(): void {
    this.#mustReopen = true;
  }

  /** Waits for what was appended to be written, as long as a write may take, and closes the file. */
  async close(): Promise<void> {
    if (this.#state === "scheduled" || this.#state === "writing") {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onIdle = resolve;
      await promise;
    }
    if (this.#state === "idle" && this.#path !== undefined) this.#close();
  }

  #open(): void {
    // A pipe that nobody reads fails at once instead of stopping the process; files don't care.
    const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK } = constants;
    this.#mustReopen = false;
    if (this.#path === undefined) return;
    this.#fd = openSync(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, fileMode);
    this.#isPipe = fstatSync(this.#fd).isFIFO();
    this.#checkedMs = performance.now();
  }

  #close(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Makes sure that what is written goes to the file of that name. */
  #followRotation(): void {
    if (this.#path === undefined) return;
    const now = performance.now();
    const isDue = now - this.#checkedMs >= rotationCheckMs;
    if (isDue) this.#checkedMs = now;
    if (this.#mustReopen || (isDue && this.#hasMoved(this.#path))) this.#close();
    if (this.#fd === undefined) this.#open();
  }

  #hasMoved(path: string): boolean {
    if (this.#fd === undefined) return false;
    const named = statSync(path, { throwIfNoEntry: false });
    const open = fstatSync(this.#fd);
    return named === undefined || named.ino !== open.ino || named.dev !== open.dev;
  }

  #flush(): void {
    this.#batch = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#state = "writing";
    this.#timer = setTimeout(() => this.#giveUp(), this.#limits.writeTimeoutMs);
    try {
      this.#followRotation();
    } catch (error) {
      return this.#finished(error as Error);
    }
    let text = this.#isTorn ? "\n" : "";
    for (const { line } of this.#batch) text += line;
    this.#write(new TextEncoder().encode(text), 0);
  }

  #write(bytes: Uint8Array, from: number): void {
    // Nobody waits for it any more, and what is written of it is enough of a line that is cut.
    if (this.#state === "stuck") return this.#broken(new Error("Given up"), from);
    this.#writeSome(bytes.subarray(from)).then(
      (count) => {
        if (count === 0) return this.#broken(new Error("The disk took no more bytes"), from);
        if (from + count < bytes.length) return this.#write(bytes, from + count);
        this.#isTorn = false;
        this.#finished(undefined);
      },
      (error: Error & { code?: string }) => {
        if (error.code !== "EAGAIN") return this.#broken(error, from);
        setTimeout(() => this.#write(bytes, from), pipeRetryMs);
      },
    );
  }

  /** Writes from the beginning of the bytes. @returns how many. */
  #writeSome(bytes: Uint8Array): Promise<number> {
    if (this.#path === undefined) return this.#output(bytes);
    // How much of a write that fails was taken is not told: so a pipe, which may be full, gets no
    // more at a time than it takes whole; and no part of a line, where several processes write to it.
    const length = this.#isPipe ? wholeLines(bytes) : bytes.length;
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    write(
      this.#fd!,
      bytes,
      0,
      length,
      null,
      (error, count) => error ? reject(error) : resolve(count),
    );
    return promise;
  }

  /** @param written Bytes that were taken before. */
  #broken(error: Error, written: number): void {
    if (written > 0 || !this.#isPipe) this.#isTorn = true;
    this.#finished(error);
  }

  /** A write has returned. */
  #finished(error: Error | undefined): void {
    clearTimeout(this.#timer);
    const batch = this.#batch;
    this.#batch = [];
    this.#state = "idle";
    if (error) this.#failed(error);
    else if (this.#isFailing) {
      this.#isFailing = false;
      this.#events.recovered();
    }
    for (const { written } of batch) isolated("request", () => written(error === undefined));
    this.#next();
  }

  #next(): void {
    if (this.#state !== "idle") return;
    if (this.#queue.length > 0) return this.#flush();
    this.#onIdle?.();
  }

  /** The system does not take a write: nobody waits for it, or for what is behind it, any longer. */
  #giveUp(): void {
    const waiting = [...this.#batch, ...this.#queue];
    this.#batch = [];
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#state = "stuck";
    this.#failed(new Error(`Not written within ${this.#limits.writeTimeoutMs} ms`));
    for (const { written } of waiting) isolated("request", () => written(false));
    this.#onIdle?.();
  }

  #failed(error: Error): void {
    if (this.#isFailing) return;
    this.#isFailing = true;
    this.#events.failed(error);
  }
}

/** What of the lines a pipe takes whole: as many as go in, or a part of one that does not. */
function wholeLines(bytes: Uint8Array): number {
  if (bytes.length <= wholePipeBytes) return bytes.length;
  return bytes.lastIndexOf(lineEnd, wholePipeBytes - 1) + 1 || wholePipeBytes;
}
