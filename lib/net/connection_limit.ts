/** How many connections a listener has, in all and of each address, and whether one more may come. */
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

/** Counts connections. Each is known by a key that no other open one has. */
export class ConnectionLimit {
  readonly #limits: ConnectionLimits;
  /** The network of each connection that counts for it; undefined for one that does not any more. */
  readonly #networks = new Map<string, string | undefined>();
  readonly #ofNetwork = new Map<string, number>();

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  /** Connections that are open. */
  get size(): number {
    return this.#networks.size;
  }

  /** Counts a connection, or says why it may not come. */
  add(key: string, address: string): MetConnectionLimit | undefined {
    const { max, maxPerAddress } = this.#limits;
    if (max > 0 && this.#networks.size >= max) return "max-connections";
    const network = networkOf(address);
    const count = this.#ofNetwork.get(network) ?? 0;
    if (maxPerAddress > 0 && count >= maxPerAddress) return "max-connections-per-address";
    this.#networks.set(key, network);
    this.#ofNetwork.set(network, count + 1);
    return undefined;
  }

  /** A connection has proved who it is: it counts for its address no more. */
  trust(key: string): void {
    const network = this.#networks.get(key);
    if (network === undefined) return;
    this.#networks.set(key, undefined);
    const count = this.#ofNetwork.get(network)! - 1;
    if (count > 0) this.#ofNetwork.set(network, count);
    else this.#ofNetwork.delete(network);
  }

  /** A connection has ended. */
  remove(key: string): void {
    this.trust(key);
    this.#networks.delete(key);
  }
}
