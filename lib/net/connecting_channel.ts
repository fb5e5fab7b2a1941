/** A channel whose far end is still being connected: what arrives meanwhile waits for its listener. */
import { StreamError } from "../protocol/errors.ts";
import type { StreamEvents } from "../protocol/stream_events.ts";
import type { Channel } from "./channel.ts";

/** How connecting went. One of them is called, once. */
export interface ConnectingEvents {
  connected(): void;
  failed(error: StreamError): void;
}

/**
 * Passes a channel on. Until somebody listens it keeps what arrives, in order; as none of it is
 * reported as consumed, the channel's own window bounds it.
 */
export class ConnectingChannel implements Channel {
  readonly #channel: Channel;
  readonly #held: ((events: StreamEvents) => void)[] = [];
  #connecting: ConnectingEvents | undefined;
  #events: StreamEvents | undefined;

  constructor(channel: Channel, connecting: ConnectingEvents) {
    this.#channel = channel;
    this.#connecting = connecting;
    channel.listen({
      data: (bytes, free) => this.#pass((events) => events.data(bytes, free)),
      end: () => this.#pass((events) => events.end()),
      drained: () => this.#pass((events) => events.drained()),
      closed: () => this.#broke(new StreamError("reset", "The agent closed the stream"), true),
      failed: (error) => this.#broke(error, false),
      connected: () => this.#settled()?.connected(),
    });
  }

  get canHalfClose(): boolean {
    return this.#channel.canHalfClose;
  }

  listen(events: StreamEvents): void {
    this.#events = events;
    for (const pass of this.#held.splice(0)) pass(events);
  }

  write(bytes: Uint8Array, free?: () => void): boolean {
    return this.#channel.write(bytes, free);
  }

  end(): void {
    this.#channel.end();
  }

  finish(isReusable?: boolean): void {
    this.#channel.finish(isReusable);
  }

  close(): void {
    this.#settled();
    this.#channel.close();
  }

  fail(error: StreamError): void {
    this.#settled();
    this.#channel.fail(error);
  }

  consumed(bytes: number): void {
    this.#channel.consumed(bytes);
  }

  #broke(error: StreamError, isClosed: boolean): void {
    const connecting = this.#settled();
    if (connecting) return connecting.failed(error);
    this.#pass((events) => isClosed ? events.closed() : events.failed(error));
  }

  #settled(): ConnectingEvents | undefined {
    const connecting = this.#connecting;
    this.#connecting = undefined;
    return connecting;
  }

  #pass(pass: (events: StreamEvents) => void): void {
    if (this.#events) pass(this.#events);
    else this.#held.push(pass);
  }
}
