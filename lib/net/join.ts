/** Joins two channels, with half-close and backpressure both ways. */
import { StreamError } from "../protocol/errors.ts";
import type { StreamEvents } from "../protocol/stream.ts";
import type { Channel } from "./channel.ts";

/** What a join tells its owner. */
export interface JoinOptions {
  /** Bytes moved, in the direction of `toFirst` or from it. */
  readonly moved?: (bytes: number, toFirst: boolean) => void;
  /** Called once, when both directions are over; with an error unless both have ended in good order. */
  readonly closed?: (error: StreamError | undefined) => void;
}

/**
 * Moves bytes both ways until both ways have ended or one side broke. As with `pipe`, an orderly end
 * passes on as an orderly end of that direction alone, and a break as a break.
 */
export function join(first: Channel, second: Channel, options: JoinOptions = {}): void {
  const joint = new Joint(options);
  const ends = [new End(first, joint, false), new End(second, joint, true)] as const;
  ends[0].other = ends[1];
  ends[1].other = ends[0];
  // Neither may hear anything before both are set up.
  first.listen(ends[0]);
  second.listen(ends[1]);
}

class Joint {
  readonly #options: JoinOptions;
  #isOver = false;

  constructor(options: JoinOptions) {
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
  readonly #joint: Joint;
  readonly #toFirst: boolean;
  other!: End;
  #hasEnded = false;
  /** Bytes handed to the other channel while that was full, to be reported as consumed when it drains. */
  #unconsumed = 0;

  constructor(channel: Channel, joint: Joint, toFirst: boolean) {
    this.channel = channel;
    this.#joint = joint;
    this.#toFirst = toFirst;
  }

  data(bytes: Uint8Array, free?: () => void): void {
    if (this.#joint.isOver) return this.channel.consumed(bytes.length);
    this.#joint.moved(bytes.length, this.#toFirst);
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
    if (this.#joint.isOver) return;
    this.#hasEnded = true;
    if (this.other.#hasEnded) this.#finish();
    else if (this.other.channel.canHalfClose) this.other.channel.end();
    // Without half-close the end of one way ends the other.
    else this.#finish();
  }

  closed(): void {
    if (this.#joint.isOver) return;
    if (this.#hasEnded) this.#finish();
    else this.failed(new StreamError("reset", "The other side gave the connection up"));
  }

  failed(error: StreamError): void {
    if (this.#joint.isOver) return;
    this.#joint.over(error);
    this.other.channel.fail(error);
  }

  #finish(): void {
    this.#joint.over();
    this.other.channel.finish();
    this.channel.finish();
  }
}
