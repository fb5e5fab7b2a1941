/** How many connections a listener has, in all and of each address, and whether one more may come. */
import { Counter, type Slot } from "../counter.ts";
import { networkOf } from "./network_of.ts";

/** Bounds of one listener; 0 is none. */
export interface ConnectionLimits {
  /** Connections that are open at once. */
  readonly max: number;
  /** Those of one address that have not proved who they are. */
  readonly maxPerAddress: number;
}

/** A bound that was met, by the name of its option. */
export type MetConnectionLimit = "max-connections" | "max-connections-per-address";

/** A connection that is counted. */
interface Counted {
  readonly open: Slot;
  readonly ofNetwork: Slot;
}

/**
 * Counts connections. Each is known by a key; those that share one, as connections do that were reset
 * before they were accepted and so have no address, are counted one by one all the same.
 */
export class ConnectionLimit {
  readonly #limits: ConnectionLimits;
  readonly #open = new Counter();
  readonly #counted = new Map<string, Counted[]>();
  readonly #networks = new Map<string, Counter>();

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** Connections that are open. */
  get size(): number {
    return this.#open.count;
  }

  /** Networks of which a connection counts. */
  get networks(): number {
    return this.#networks.size;
  }

  /** Counts a connection, or says why it may not come. */
  add(key: string, address: string): MetConnectionLimit | undefined {
    const { max, maxPerAddress } = this.#limits;
    if (max > 0 && this.#open.count >= max) return "max-connections";
    const network = networkOf(address);
    const ofNetwork = this.#networks.get(network);
    if (maxPerAddress > 0 && ofNetwork && ofNetwork.count >= maxPerAddress) {
      return "max-connections-per-address";
    }
    const counter = ofNetwork ?? new Counter(() => this.#networks.delete(network));
    this.#networks.set(network, counter);
    const counted = { open: this.#open.acquire(), ofNetwork: counter.acquire() };
    const others = this.#counted.get(key);
    if (others) others.push(counted);
    else this.#counted.set(key, [counted]);
    return undefined;
  }

  /** A connection has proved who it is: it counts for its address no more. */
  trust(key: string): void {
    for (const { ofNetwork } of this.#counted.get(key) ?? []) ofNetwork.release();
  }

  /** A connection has ended. */
  remove(key: string): void {
    const counted = this.#counted.get(key);
    const ended = counted?.pop();
    if (counted?.length === 0) this.#counted.delete(key);
    ended?.ofNetwork.release();
    ended?.open.release();
  }
}
