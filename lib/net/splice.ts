/** Splices two channels together, with half-close and backpressure both ways. */
import { StreamError } from "../protocol/errors.ts";
import type { StreamEvents } from "../protocol/stream_events.ts";
import type { Channel } from "./channel.ts";

/** What a splice tells its owner. */
export interface SpliceOptions {
  /** Bytes moved, in the direction of `toFirst` or from it. */
  readonly moved?: (bytes: number, toFirst: boolean) => void;
  /** Called once, when both directions are over; with an error unless both have ended in good order. */
  readonly closed?: (error: StreamError | undefined) => void;
}

/**
 * Moves bytes both ways until both ways have ended or one side broke. As with `pipe`, an orderly end
 * passes on as an orderly end of that direction alone, and a break as a break.
 */
export function splice(first: Channel, second: Channel, options: SpliceOptions = {}): void {
  const splice = new Splice(options);
  const ends = [new End(first, splice, false), new End(second, splice, true)] as const;
  ends[0].other = ends[1];
  ends[1].other = ends[0];
  // Neither may hear anything before both are set up.
  first.listen(ends[0]);
  second.listen(ends[1]);
}

class Splice {
  readonly #options: SpliceOptions;
  #isOver = false;

  constructor(options: SpliceOptions) {
    this.#options = options;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  moved(bytes: number, toFirst: boolean): void {
    this.#options.moved?.(bytes, toFirst);
  }

  over(error?: StreamError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#options.closed?.(error);
  }
}

/** Hears one channel, and acts upon the other. */
class End implements StreamEvents {
  readonly channel: Channel;
  readonly #splice: Splice;
  readonly #toFirst: boolean;
  other!: End;
  #hasEnded = false;
  /** Bytes handed to the other channel while that was full, to be reported as consumed when it drains. */
  #unconsumed = 0;

  constructor(channel: Channel, splice: Splice, toFirst: boolean) {
    this.channel = channel;
    this.#splice = splice;
    this.#toFirst = toFirst;
  }

  data(bytes: Uint8Array, free?: () => void): void {
    if (this.#splice.isOver) return this.channel.consumed(bytes.length);
    this.#splice.moved(bytes.length, this.#toFirst);
    if (this.other.channel.write(bytes, free)) this.channel.consumed(bytes.length);
    else this.#unconsumed += bytes.length;
  }

  drained(): void {
    this.other.#giveBack();
  }

  #giveBack(): void {
    const bytes = this.#unconsumed;
    this.#unconsumed = 0;
    if (bytes > 0) this.channel.consumed(bytes);
  }

  end(): void {
    if (this.#splice.isOver) return;
    this.#hasEnded = true;
    if (this.other.#hasEnded) this.#finish();
    else if (this.other.channel.canHalfClose) this.other.channel.end();
    // Without half-close the end of one way ends the other.
    else this.#finish();
  }

  closed(): void {
    if (this.#splice.isOver) return;
    if (this.#hasEnded) this.#finish();
    else this.failed(new StreamError("reset", "The other side abandoned the connection"));
  }

  failed(error: StreamError): void {
    if (this.#splice.isOver) return;
    this.#splice.over(error);
    this.other.channel.fail(error);
  }

  #finish(): void {
    this.#splice.over();
    this.other.channel.finish();
    this.channel.finish();
  }
}
