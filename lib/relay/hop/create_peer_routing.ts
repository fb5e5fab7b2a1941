/** Builds the routing to other relays on the directory that they share. */
import type { Log } from "../../log.ts";
import type { Claim, DirectoryEvents } from "../directory/directory.ts";
import type { LookupResult } from "../directory/lookups.ts";
import { SharedDirectory } from "../directory/shared_directory.ts";
import type { Store } from "../directory/store.ts";
import type { ForwardLimits } from "../forward/forward.ts";
import { PeerRouting } from "./peer_routing.ts";
import type { HopResult } from "./routing_parts.ts";
import type { DialPeer } from "./peers.ts";
import { RelayTokens } from "./relay_tokens.ts";

/** What a runtime lends for it. */
export interface PeerOptions {
  /** The relays' shared credentials, as {@link RelayTokens} has them. Secrets. */
  tokens: readonly string[];
  store: Store;
  dial: DialPeer;
  /** Whether all relays of the directory stop together, as the workers of one relay do. */
  stopTogether?: boolean | undefined;
}

/** How often the log says that something in the directory is not what a relay writes. */
const invalidLogMs = 60_000;

/** This relay, as its routing needs it. */
export interface LocalRelay {
  /** Names it to the others: random. */
  readonly name: string;
  /** Names it in `Via`. */
  readonly via: string;
  readonly log: Log;
  readonly limits: ForwardLimits;
  readonly counts: PeerCounts;
  /** Whether it has a session of a cluster that takes requests. */
  readonly isHere: (cluster: string) => boolean;
  /** A look-up has met a session that another relay holds. */
  readonly heldElsewhere: (claim: Claim) => void;
}

/** Where it is counted what the others and the directory do. */
export interface PeerCounts {
  lookedUp(result: LookupResult): void;
  hopped(result: HopResult): void;
  directoryFailed(): void;
  observeDirectory(stats: () => { isUp: boolean; waiting: number }): void;
}

/** The routing to other relays; `open` makes this relay known to them. */
export function createPeerRouting(
  relay: LocalRelay,
  { tokens, store, dial, stopTogether = false }: PeerOptions,
): PeerRouting {
  const { name, via, log, limits, counts, isHere } = relay;
  const events = reportTo(relay, stopTogether ? "debug" : "info");
  const directory = new SharedDirectory({ store, relay: name, events });
  const routing = new PeerRouting({
    directory,
    relay: name,
    via,
    tokens: new RelayTokens(tokens),
    dial,
    limits,
    isHere,
    lookedUp: (result) => counts.lookedUp(result),
    hopped: (result) => counts.hopped(result),
    failed: ({ relay: name, url }, error) => {
      log.warn("Could not forward to another relay", { relay: name, url, error });
    },
  });
  counts.observeDirectory(() => ({ isUp: directory.isUp, waiting: routing.waitingRequests }));
  return routing;
}

/** @param level Of what nobody has to know of a directory that is no server of its own. */
function reportTo(
  { name, log, counts, heldElsewhere }: LocalRelay,
  level: "debug" | "info",
): DirectoryEvents {
  let nextInvalidMs = 0;
  return {
    away: (error) => {
      log.error("The directory is unavailable; can't look up sessions of other relays", { error });
    },
    back: (sessions) => log[level]("The directory is available", { relay: name, sessions }),
    failed: () => counts.directoryFailed(),
    heldElsewhere,
    invalid: (what) => {
      counts.directoryFailed();
      if (performance.now() < nextInvalidMs) return;
      nextInvalidMs = performance.now() + invalidLogMs;
      log.warn("Ignored an entry in the directory that no relay has written", { what });
    },
  };
}
