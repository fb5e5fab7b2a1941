/** Watches, at the target, that nothing of a broken request gets into another one. */
import { deepEqual, equal } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import type { RawTarget } from "../support/target.ts";
import { requestsIn, targetOf, type WireMessage } from "./wire.ts";

/** What the target has received since it was last asked. */
interface Sighting {
  readonly requests: readonly WireMessage[];
  /** Connections that ended in the middle of a request. */
  readonly cutConnections: number;
}

/** Asks for a path of the target in the ordinary way and resolves with the answer's text. */
export type Ask = (path: string) => Promise<string>;

/**
 * Sends an ordinary request behind each case, over the same pooled connection wherever there is one,
 * and accounts for every byte that the target received.
 */
export class Witness {
  readonly #target: RawTarget;
  readonly #ask: Ask;
  readonly #seenBytes = new Map<RawConnection, number>();
  #count = 0;

  private constructor(target: RawTarget, ask: Ask) {
    this.#target = target;
    this.#ask = ask;
  }

  /** A witness with one connection in the agent's pool. `ask` must get the target's own echo. */
  static async start(target: RawTarget, ask: Ask): Promise<Witness> {
    const witness = new Witness(target, ask);
    await witness.#probe();
    await witness.#look();
    return witness;
  }

  /** Asserts that the target has seen nothing of the last case, not even a new connection. */
  async sawNothing(): Promise<void> {
    const connections = this.#target.connections.length;
    const probe = await this.#probe();
    const { requests, cutConnections } = await this.#look();
    deepEqual(requests.map(targetOf), [probe]);
    equal(cutConnections, 0, "no request may have been begun");
    equal(this.#target.connections.length, connections, "the pooled connection must be unharmed");
  }

  /**
   * Asserts that of the last case the target has seen at most one request, that it broke off, and
   * that its connection has been ended.
   */
  async sawAtMostACut(): Promise<void> {
    const probe = await this.#probe();
    const { requests, cutConnections } = await this.#look();
    deepEqual(requests.map(targetOf), [probe]);
    equal(cutConnections <= 1, true, "no other request may have been begun");
  }

  /** Asserts that the target has seen exactly these requests, whole, and returns them. */
  async saw(targets: readonly string[]): Promise<readonly WireMessage[]> {
    const probe = await this.#probe();
    const { requests, cutConnections } = await this.#look();
    deepEqual(requests.map(targetOf), [...targets, probe]);
    equal(cutConnections, 0, "no other request may have been begun");
    return requests.slice(0, -1);
  }

  /**
   * Asserts that since the last look `count` requests for `target` have come, whole, and no others
   * than those for `besides`; `check` sees each of them.
   */
  async sawOnly(
    target: string,
    count: number,
    check: (request: WireMessage) => void = () => {},
    besides: readonly string[] = [],
  ): Promise<void> {
    const probe = await this.#probe();
    const { requests, cutConnections } = await this.#account();
    const wanted = requests.filter((request) => targetOf(request) === target);
    wanted.forEach(check);
    equal(wanted.length, count);
    const others = new Set(requests.map(targetOf)).difference(new Set([target, ...besides]));
    deepEqual([...others], [probe]);
    equal(cutConnections, 0, "no request may have been cut");
  }

  async #probe(): Promise<string> {
    const path = `/witness/${++this.#count}`;
    equal(await this.#ask(path), `GET ${path}`, "the next request must get its own answer");
    return path;
  }

  /** What has come since the last look, once the pool is down to one connection. */
  async #look(): Promise<Sighting> {
    await eventually(
      () => this.#open.length === 1,
      () => `one open connection at the target, not ${this.#open.length}`,
    );
    return await this.#account();
  }

  /** Every byte since the last time; what was no whole request must be on an ended connection. */
  async #account(): Promise<Sighting> {
    const requests: WireMessage[] = [];
    let cutConnections = 0;
    for (const connection of this.#target.connections) {
      const received = connection.received;
      const seen = this.#seenBytes.get(connection) ?? 0;
      this.#seenBytes.set(connection, received.length);
      const { messages, isCut } = await requestsIn(received.subarray(seen));
      requests.push(...messages);
      if (!isCut) continue;
      cutConnections++;
      equal(connection.isClosed, true, "a connection with half a request must have been ended");
    }
    return { requests, cutConnections };
  }

  get #open(): RawConnection[] {
    return this.#target.connections.filter(({ isClosed }) => !isClosed);
  }
}
