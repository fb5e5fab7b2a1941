/**
 * Pull-side helpers of the tests' wire tools: a queue that socket events push into, and a reader
 * that takes bytes out by count or delimiter, whatever chunks they came in.
 */

/** Thrown when the source ends before the bytes asked for; `partial` is what was there. */
export class UnexpectedEndError extends Error {
  override name = "UnexpectedEndError";
  readonly partial: Uint8Array;

  constructor(wanted: string, partial: Uint8Array) {
    const tail = new TextDecoder().decode(partial.subarray(-200));
    super(`Source ended before ${wanted}: ${partial.length} bytes there, ending in "${tail}"`);
    this.partial = partial;
  }
}

/** Told when a {@link ByteQueue} passes its high-water mark and when it has been emptied again. */
export interface ByteQueueValve {
  /** Bytes queued at which `pause` is called. */
  readonly highWaterBytes: number;
  readonly pause: () => void;
  readonly resume: () => void;
}

/** Joins an event-driven producer to one consumer that awaits chunks, in order. */
export class ByteQueue {
  readonly #valve: ByteQueueValve | undefined;
  #chunks: Uint8Array[] = [];
  #queuedBytes = 0;
  #isPaused = false;
  #end: { readonly error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;

  constructor(valve?: ByteQueueValve) {
    this.#valve = valve;
  }

  /** Adds a chunk; ignored once the queue has ended. */
  push(chunk: Uint8Array): void {
    if (this.#end !== undefined || chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#queuedBytes += chunk.length;
    if (this.#valve && !this.#isPaused && this.#queuedBytes >= this.#valve.highWaterBytes) {
      this.#isPaused = true;
      this.#valve.pause();
    }
    this.#wake?.();
  }

  /** Ends the queue: what is queued can still be read, then `error` is thrown or the end reported. */
  end(error?: Error): void {
    this.#end ??= { error };
    this.#wake?.();
  }

  /** The next chunk, or undefined at the end; throws the error that the queue ended with. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0 && this.#end === undefined) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const chunk = this.#chunks.shift();
    if (chunk === undefined) {
      if (this.#end?.error) throw this.#end.error;
      return undefined;
    }
    this.#queuedBytes -= chunk.length;
    if (this.#isPaused && this.#queuedBytes === 0) {
      this.#isPaused = false;
      this.#valve?.resume();
    }
    return chunk;
  }
}

/** Takes bytes by count or delimiter from a source that yields chunks of any size. */
export class ByteReader {
  readonly #pull: () => Promise<Uint8Array | undefined>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(pull: () => Promise<Uint8Array | undefined>) {
    this.#pull = pull;
  }

  /** Whatever comes next, or undefined at the end. */
  async readSome(): Promise<Uint8Array | undefined> {
    if (this.#rest.length === 0) return await this.#pull();
    const chunk = this.#rest;
    this.#rest = new Uint8Array(0);
    return chunk;
  }

  /** Exactly `count` bytes; {@link UnexpectedEndError} if the source ends first. */
  async readExactly(count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      const chunk = await this.readSome();
      if (chunk === undefined) {
        throw new UnexpectedEndError(`${count} bytes`, bytes.subarray(0, filled));
      }
      const taken = chunk.subarray(0, count - filled);
      bytes.set(taken, filled);
      filled += taken.length;
      this.#rest = chunk.subarray(taken.length);
    }
    return bytes;
  }

  /** Everything up to and including `delimiter`; throws if it is not within `limitBytes`. */
  async readUntil(delimiter: string, limitBytes = 64 * 1024): Promise<Uint8Array> {
    const mark = new TextEncoder().encode(delimiter);
    let bytes = new Uint8Array(0);
    while (true) {
      const from = Math.max(0, bytes.length - mark.length + 1);
      const chunk = await this.readSome();
      const wanted = JSON.stringify(delimiter);
      if (chunk === undefined) throw new UnexpectedEndError(wanted, bytes);
      bytes = concatBytes([bytes, chunk]);
      const at = indexOfBytes(bytes, mark, from);
      if (at >= 0) {
        this.#rest = bytes.subarray(at + mark.length);
        return bytes.subarray(0, at + mark.length);
      }
      if (bytes.length > limitBytes) throw new Error(`No ${wanted} within ${limitBytes} bytes`);
    }
  }

  /** All bytes to the end of the source. */
  async readToEnd(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of this) chunks.push(chunk);
    return concatBytes(chunks);
  }

  /** The chunks to the end of the source, each handed over once. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (let chunk = await this.readSome(); chunk; chunk = await this.readSome()) yield chunk;
  }
}

/** One array with the bytes of all `chunks`. */
export function concatBytes(chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

/** Where `mark` first begins in `bytes` at or after `from`, or -1. */
export function indexOfBytes(bytes: Uint8Array, mark: Uint8Array, from = 0): number {
  const first = mark[0];
  if (first === undefined) return from;
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (mark.every((byte, offset) => bytes[at + offset] === byte)) return at;
  }
  return -1;
}
