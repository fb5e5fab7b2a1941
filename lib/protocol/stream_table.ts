/** The streams of a session, by id. */
import { maxStreamId } from "./frame.ts";
import type { Stream } from "./stream.ts";

/** Slots at first; they double as streams need them. */
const minSlots = 64;

/**
 * A hash table of streams. A relay numbers them one after the other, so that hardly two share a slot;
 * a relay that did otherwise on purpose would slow down its own session.
 *
 * It is no `Map` for the reason that {@link LinkedList} is no `Set`: a `Map` that changes with every
 * request keeps requests in memory that are over.
 */
export class StreamTable {
  #slots: (Stream | undefined)[] = emptySlots(minSlots);
  #size = 0;
  #nextId = 1;

  /** How many streams there are. */
  get size(): number {
    return this.#size;
  }

  /** The next id that no stream has, after those that were given out before. */
  takeId(): number {
    while (this.get(this.#nextId)) this.#nextId = this.#nextId % maxStreamId + 1;
    const id = this.#nextId;
    this.#nextId = id % maxStreamId + 1;
    return id;
  }

  /** The stream with this id. */
  get(id: number): Stream | undefined {
    let stream = this.#slots[this.#slotOf(id)];
    while (stream && stream.id !== id) stream = stream.nextInSlot;
    return stream;
  }

  /** Adds a stream whose id is not there. */
  add(stream: Stream): void {
    if (this.#size === this.#slots.length) this.#grow();
    this.#put(stream);
    this.#size++;
  }

  /** Removes a stream, if it is there. */
  delete(stream: Stream): void {
    const slot = this.#slotOf(stream.id);
    let before: Stream | undefined;
    let at = this.#slots[slot];
    while (at && at !== stream) [before, at] = [at, at.nextInSlot];
    if (!at) return;
    if (before) before.nextInSlot = stream.nextInSlot;
    else this.#slots[slot] = stream.nextInSlot;
    stream.nextInSlot = undefined;
    this.#size--;
  }

  /** All streams, in no order. */
  toArray(): Stream[] {
    const streams: Stream[] = [];
    for (let stream of this.#slots) {
      for (; stream; stream = stream.nextInSlot) streams.push(stream);
    }
    return streams;
  }

  /** The number of slots is a power of two. */
  #slotOf(id: number): number {
    return id & (this.#slots.length - 1);
  }

  #put(stream: Stream): void {
    const slot = this.#slotOf(stream.id);
    stream.nextInSlot = this.#slots[slot];
    this.#slots[slot] = stream;
  }

  #grow(): void {
    const streams = this.toArray();
    this.#slots = emptySlots(2 * this.#slots.length);
    for (const stream of streams) this.#put(stream);
  }
}

function emptySlots(length: number): (Stream | undefined)[] {
  return new Array<Stream | undefined>(length).fill(undefined);
}
