/** One stream of a version 2 session, as either test peer has it. */
import { ByteQueue, ByteReader } from "../support/byte_reader.ts";
import { within } from "../support/deadline.ts";
import { parseJson, readUint32, uint32, V2, type V2Frame } from "./v2_frame.ts";
import type { V2Link } from "./v2_link.ts";

/** How a stream ended. */
export type V2StreamEnd =
  /** Both sides had sent End. */
  | { readonly kind: "ended" }
  | { readonly kind: "close"; readonly by: "us" | "them" }
  | { readonly kind: "error"; readonly code: unknown; readonly message: unknown }
  | { readonly kind: "session" };

/** Thrown by reads of a stream that the other side gave up, closed half way or lost. */
export class V2StreamError extends Error {
  override name = "V2StreamError";
  readonly end: V2StreamEnd;

  constructor(end: V2StreamEnd) {
    super(`Stream ended: ${JSON.stringify(end)}`);
    this.end = end;
  }
}

/** How a stream is to behave. */
export interface V2StreamOptions {
  /** Bytes that may be sent before the first Credit: the other side's window. */
  readonly credit: number;
  /** Whether every byte that arrives is credited at once (the default). */
  readonly grantsCredit?: boolean;
  readonly onOver: () => void;
}

/** One stream. */
export class V2Stream {
  readonly id: number;
  /** Reads the other side's bytes up to its End; throws {@link V2StreamError} at any other end. */
  readonly reader: ByteReader;
  /** Resolves when the stream is over, in whatever way. */
  readonly ended: Promise<V2StreamEnd>;
  readonly #connected = Promise.withResolvers<void>();
  readonly #link: V2Link;
  readonly #options: V2StreamOptions;
  readonly #queue = new ByteQueue();
  readonly #ended = Promise.withResolvers<V2StreamEnd>();
  #credit: number;
  #wake: (() => void) | undefined;
  #hasEnded = false;
  #hasPeerEnded = false;
  #isOver = false;

  constructor(id: number, link: V2Link, options: V2StreamOptions) {
    this.id = id;
    this.#link = link;
    this.#options = options;
    this.#credit = options.credit;
    this.reader = new ByteReader(() => this.#queue.next());
    this.ended = this.#ended.promise;
  }

  /** Bytes that may be sent now. */
  get credit(): number {
    return this.#credit;
  }

  /** Whether the stream is over. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether the other side has sent its End. */
  get hasPeerEnded(): boolean {
    return this.#hasPeerEnded;
  }

  /** Notes bytes that were sent with Open. */
  spent(bytes: number): void {
    this.#credit -= bytes;
  }

  /** Sends bytes as Data, within the credit; waits for more where there is none. */
  async send(bytes: Uint8Array, frameBytes = 16 * 1024): Promise<void> {
    let at = 0;
    while (at < bytes.length && !this.#isOver) {
      await this.#untilCredit();
      if (this.#isOver) return;
      const piece = bytes.subarray(at, at + Math.min(frameBytes, this.#credit));
      at += piece.length;
      this.#credit -= piece.length;
      await this.#link.send(V2.data, this.id, piece);
    }
  }

  /** Sends End without bytes. */
  async end(): Promise<void> {
    if (this.#isOver || this.#hasEnded) return;
    this.#hasEnded = true;
    await this.#link.send(V2.end, this.id);
    if (this.#hasPeerEnded) this.#over({ kind: "ended" });
  }

  /** Gives the stream up with Close. */
  async close(): Promise<void> {
    if (this.#isOver) return;
    this.#over({ kind: "close", by: "us" });
    await this.#link.send(V2.close, this.id);
  }

  /** Sends any frame on this stream, whatever the protocol says about it. */
  async sendFrame(type: number, payload?: Uint8Array): Promise<void> {
    await this.#link.send(type, this.id, payload);
  }

  /** Grants the other side more bytes. */
  async grant(bytes: number): Promise<void> {
    await this.#link.send(V2.credit, this.id, uint32(bytes));
  }

  /** Waits for the other side's Connected. */
  async connected(): Promise<void> {
    const over = this.ended.then((end) => Promise.reject(new V2StreamError(end)));
    await within(
      Promise.race([this.#connected.promise, over]),
      () => `Connected on stream ${this.id}\n${this.#link.summary()}`,
    );
  }

  /** How the stream ended, awaited with a deadline. */
  async outcome(): Promise<V2StreamEnd> {
    return await within(this.ended, () => `the end of stream ${this.id}\n${this.#link.summary()}`);
  }

  /** Takes a frame of this stream from the other side. */
  receive({ type, payload }: V2Frame): void {
    switch (type) {
      case V2.connected:
        this.#connected.resolve();
        return;
      case V2.data:
        return this.take(payload);
      case V2.end:
        return this.#receiveEnd(payload);
      case V2.credit:
        this.#credit += readUint32(payload, 0);
        this.#wake?.();
        return;
      case V2.close:
        return this.#over({ kind: "close", by: "them" });
      case V2.error: {
        const { code, message } = parseJson(payload);
        return this.#over({ kind: "error", code, message });
      }
    }
  }

  /** Takes bytes that arrived, those of Open too. */
  take(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#queue.push(bytes);
    if (this.#options.grantsCredit !== false) void this.grant(bytes.length);
  }

  /** The WebSocket has gone, and the stream with it. */
  endWithSession(): void {
    this.#over({ kind: "session" });
  }

  #receiveEnd(payload: Uint8Array): void {
    this.#queue.push(payload);
    this.#queue.end();
    this.#hasPeerEnded = true;
    if (this.#hasEnded) this.#over({ kind: "ended" });
  }

  async #untilCredit(): Promise<void> {
    while (this.#credit <= 0 && !this.#isOver) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  #over(end: V2StreamEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#queue.end(this.#hasPeerEnded ? undefined : new V2StreamError(end));
    this.#wake?.();
    this.#ended.resolve(end);
    this.#options.onOver();
  }
}
