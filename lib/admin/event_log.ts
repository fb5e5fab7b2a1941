/** What has happened lately, for those who watch: they can go on where they stopped. */
import { isolated } from "../faults.ts";

/** Something that happened. */
export interface AdminEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly kind: "clusters" | "services" | "policies" | "agents";
  /** The entry or session as it is, or was. */
  readonly object: Readonly<Record<string, unknown>>;
  /** What a modified entry was before. */
  readonly before?: Readonly<Record<string, unknown>>;
}

/** An event and its version. */
export interface NumberedEvent {
  readonly version: string;
  readonly event: AdminEvent;
}

/** Events that are kept. */
const maxKept = 10_000;

/** The latest events of one relay. */
export class EventLog {
  readonly #epoch: string;
  readonly #kept: AdminEvent[] = [];
  /** The number of the first one that is kept. */
  #first = 1;
  readonly #listeners = new Set<() => void>();

  /** @param epoch tells this log from those of other relays, and of earlier ones */
  constructor(epoch: string) {
    this.#epoch = epoch;
  }

  /** The version of the last event. */
  get version(): string {
    return this.#versionOf(this.#first + this.#kept.length - 1);
  }

  add(event: AdminEvent): void {
    this.#kept.push(event);
    if (this.#kept.length > maxKept) {
      this.#kept.shift();
      this.#first++;
    }
    for (const listener of this.#listeners) isolated("process", listener);
  }

  /** Events behind a version; undefined where some of them are not kept any more, or never were. */
  since(version: string): NumberedEvent[] | undefined {
    const [epoch, number] = version.split("-");
    if (epoch !== this.#epoch || !/^\d{1,15}$/.test(number ?? "")) return undefined;
    const from = Number(number) + 1 - this.#first;
    if (from < 0 || from > this.#kept.length) return undefined;
    return this.#kept.slice(from).map((event, index) => ({
      version: this.#versionOf(this.#first + from + index),
      event,
    }));
  }

  /** Calls back with each new event, until what is returned is called. */
  follow(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #versionOf(number: number): string {
    return `${this.#epoch}-${number}`;
  }
}
