/** The body of a `Request`, handed on piece by piece. */
import type { Framing } from "../http1/body.ts";
import type { BodyConsumer } from "./exchange.ts";

/** Where a body comes from. */
export interface BodySource {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  /** What has been read of it already. */
  readonly first: Uint8Array | undefined;
}

/** What a body needs of its exchange. */
export interface FetchBodyHost {
  /** Whether nobody wants the body any more. */
  isOver(): boolean;
  /** The body is not as long as declared, or its connection broke. */
  broken(): void;
  /** The consumer threw: a bug, for the log. */
  fault(error: unknown): void;
}

/** The body of one request; one without a body is done from the start. */
export class FetchBody {
  readonly #framing: Framing;
  readonly #source: BodySource | undefined;
  readonly #host: FetchBodyHost;
  #consumer: BodyConsumer | undefined;
  #isPaused = false;
  #isReading = false;
  #isDone: boolean;
  #bytes = 0;

  constructor(framing: Framing, source: BodySource | undefined, host: FetchBodyHost) {
    this.#framing = framing;
    this.#source = source;
    this.#host = host;
    this.#isDone = framing.kind === "none";
  }

  /** Whether all of it has been read. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Bytes that have been read. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Says who takes the body from now on. */
  readBy(consumer: BodyConsumer): void {
    this.#consumer = consumer;
    if (this.#isDone) return consumer.end();
    this.#read();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#read();
  }

  /** Nobody wants the rest of it. */
  drop(): void {
    if (this.#isDone || !this.#source) return;
    this.#source.reader.cancel().catch(() => {
      // It broke before: nothing is left then, either.
    });
  }

  /** Hands the body over piece by piece, as long as nobody has stopped it. */
  async #read(): Promise<void> {
    try {
      await this.#readOn();
    } catch (error) {
      // Nobody awaits this: what a consumer throws would end the process.
      this.#host.fault(error);
      this.#host.broken();
    }
  }

  async #readOn(): Promise<void> {
    if (this.#isReading || !this.#source) return;
    this.#isReading = true;
    const { reader, first } = this.#source;
    if (first && this.#bytes === 0) this.#receive(first);
    while (this.#isWanted) {
      const piece = await nextPiece(reader);
      // What was asked for before somebody stopped it is still to be passed on.
      if (this.#host.isOver()) break;
      if (!piece) this.#host.broken();
      else if (piece.done) this.#ended();
      else this.#receive(piece.value);
    }
    this.#isReading = false;
  }

  get #isWanted(): boolean {
    return !this.#isPaused && !this.#isDone && !this.#host.isOver();
  }

  #receive(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    const framing = this.#framing;
    if (framing.kind === "length" && this.#bytes > framing.bytes) return this.#host.broken();
    this.#consumer?.data(bytes);
    // The target may answer as soon as it has all: the request is whole then, whatever else comes.
    if (framing.kind === "length" && this.#bytes === framing.bytes) this.#ended();
  }

  #ended(): void {
    const framing = this.#framing;
    if (framing.kind === "length" && this.#bytes < framing.bytes) return this.#host.broken();
    this.#isDone = true;
    this.#consumer?.end();
  }
}

/** Nothing for a connection that broke: the platform's own words about it would say nothing more. */
export async function nextPiece(
  reader: ReadableStreamDefaultReader<Uint8Array>,
): Promise<ReadableStreamReadResult<Uint8Array> | undefined> {
  try {
    return await reader.read();
  } catch {
    return undefined;
  }
}
