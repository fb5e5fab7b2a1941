/** A channel whose bytes, both ways, keep within bandwidths. */
import type { Channel } from "../../net/channel.ts";
import type { StreamError } from "../../protocol/errors.ts";
import type { StreamEvents } from "../../protocol/stream_events.ts";
import type { Bandwidth } from "./bandwidth.ts";

/**
 * Holds back what lets bytes come: the report that those before were taken, or that there is room.
 * So the flow control that is there anyway slows the target, or the caller, and nothing is queued.
 */
export class PacedChannel implements Channel {
  readonly #channel: Channel;
  readonly #bandwidths: readonly Bandwidth[];
  #drained: () => void = () => {};
  /** The channel itself has no room. */
  #isFull = false;
  /** Writes that are not paid for. */
  #owed = 0;

  constructor(channel: Channel, bandwidths: readonly Bandwidth[]) {
    this.#channel = channel;
    this.#bandwidths = bandwidths;
  }

  get canHalfClose(): boolean {
    return this.#channel.canHalfClose;
  }

  listen(events: StreamEvents): void {
    this.#drained = () => events.drained();
    this.#channel.listen({
      data: (bytes, free) => events.data(bytes, free),
      end: () => events.end(),
      closed: () => events.closed(),
      failed: (error) => events.failed(error),
      drained: () => {
        this.#isFull = false;
        this.#tellDrained();
      },
    });
  }

  write(bytes: Uint8Array, free?: () => void): boolean {
    const { length } = bytes;
    if (!this.#channel.write(bytes, free)) this.#isFull = true;
    const isPaid = this.#pass(length, () => {
      this.#owed--;
      this.#tellDrained();
    });
    if (!isPaid) this.#owed++;
    return this.#hasRoom;
  }

  consumed(bytes: number): void {
    const report = (): void => this.#channel.consumed(bytes);
    if (this.#pass(bytes, report)) report();
  }

  end(): void {
    this.#channel.end();
  }

  finish(isReusable?: boolean): void {
    this.#channel.finish(isReusable);
  }

  close(): void {
    this.#channel.close();
  }

  fail(error: StreamError): void {
    this.#channel.fail(error);
  }

  get #hasRoom(): boolean {
    return !this.#isFull && this.#owed === 0;
  }

  #tellDrained(): void {
    if (this.#hasRoom) this.#drained();
  }

  /** @returns whether more may pass now; else `resume` is called when every bandwidth allows it. */
  #pass(bytes: number, resume: () => void): boolean {
    if (bytes === 0) return true;
    let waits = 0;
    const resumed = (): void => {
      if (--waits === 0) resume();
    };
    for (const bandwidth of this.#bandwidths) if (!bandwidth.pass(bytes, resumed)) waits++;
    return waits === 0;
  }
}
