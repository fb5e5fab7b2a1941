/** What relays have written about their sessions into the shared store, as far as it is believed. */
import { DirectoryError, type DirectoryEvents, type Holder } from "./directory.ts";
import { holdersOf, type Lease, leaseSchema, parseRecord, relaySchema } from "./lease_record.ts";
import type { SharedClock } from "./shared_clock.ts";
import { clusterKey, relayKey } from "./store_keys.ts";
import type { StoreLink } from "./store_link.ts";

/** What they need. */
export interface StoredLeasesOptions {
  readonly link: StoreLink;
  readonly clock: SharedClock;
  readonly relay: string;
  readonly events: Pick<DirectoryEvents, "heldElsewhere" | "invalid">;
}

/** Reads them. */
export class StoredLeases {
  readonly #options: StoredLeasesOptions;
  /** Whether the relays speak TLS with each other: all of them do, or none. */
  isTls = false;

  constructor(options: StoredLeasesOptions) {
    this.#options = options;
  }

  /** The leases of a cluster, of relays that are gone too. @param key the cluster's */
  async at(key: string): Promise<Lease[]> {
    const { link, events } = this.#options;
    const values = await link.read(["HVALS", key]);
    if (values === null) return [];
    if (!Array.isArray(values)) throw new DirectoryError("HVALS did not reply with a list");
    const leases = values.map((value) => parseRecord(leaseSchema, value));
    if (leases.includes(undefined)) events.invalid("a lease");
    return leases.filter((lease) => lease !== undefined);
  }

  /** The other relays that hold sessions of a cluster and are alive, the newest session's first. */
  async holders(cluster: string): Promise<readonly Holder[]> {
    const { clock, events } = this.#options;
    const leases = await this.at(await clusterKey(cluster));
    const others = leases.filter(({ relay }) => relay !== this.#options.relay);
    const urls = await this.#urlsOf(new Set(others.map(({ relay }) => relay)));
    for (const { relay, instance, slot, sinceMs: sharedMs } of others) {
      if (!urls.has(relay)) continue;
      events.heldElsewhere({ cluster, instance, slot, sinceMs: clock.toOwn(sharedMs) });
    }
    return holdersOf(others, urls);
  }

  /** Where the relays that are alive can be reached. */
  async #urlsOf(relays: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
    const { link, events } = this.#options;
    const urls = new Map<string, string>();
    const replies = await Promise.all(
      [...relays].map(async (relay) => [relay, await link.read(["GET", relayKey(relay)])] as const),
    );
    for (const [relay, reply] of replies) {
      if (reply === null) continue;
      const record = parseRecord(relaySchema, reply);
      // Who can write here must not get requests, and the relays' token, in the clear.
      const isAsSafe = record && (!this.isTls || record.url.startsWith("https:"));
      if (isAsSafe) urls.set(relay, record.url);
      else events.invalid("a relay's record");
    }
    return urls;
  }
}
