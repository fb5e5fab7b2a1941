/** Joins a relay with others, through the directory that they share. */
import type { DirectoryEvents } from "../directory/directory.ts";
import { SharedDirectory } from "../directory/shared_directory.ts";
import type { Store } from "../directory/store.ts";
import type { Relay } from "../relay.ts";
import { Elsewhere } from "./elsewhere.ts";
import type { DialPeer } from "./peers.ts";
import { RelayTokens } from "./relay_tokens.ts";

/** What a runtime lends for it. */
export interface RelaysOptions {
  /** The relays' shared credentials, as {@link RelayTokens} has them. Secrets. */
  tokens: readonly string[];
  store: Store;
  dial: DialPeer;
}

/** How often the log says that something in the directory is not what a relay writes. */
const invalidLogMs = 60_000;

/** What a relay needs to find the others, and to be found once that is opened. */
export function joinRelays(relay: Relay, { tokens, store, dial }: RelaysOptions): Elsewhere {
  const { metrics, registry, forwardLimits: limits, settings: { instance: name } } = relay;
  const directory = new SharedDirectory({ store, relay: name, events: reportTo(relay) });
  const elsewhere = new Elsewhere({
    directory,
    relay: name,
    tokens: new RelayTokens(tokens),
    dial,
    limits,
    isHere: (cluster) => registry.pick(cluster) !== undefined,
    lookedUp: (result) => metrics.lookedUp(result),
    hopped: (result) => metrics.hopped(result),
    failed: ({ relay: name, url }, reason) => {
      relay.log.warn("Could not forward to another relay", { relay: name, url, reason });
    },
  });
  metrics.observeDirectory(() => ({ isUp: directory.isUp, waiting: elsewhere.waiting }));
  return elsewhere;
}

function reportTo({ log, metrics }: Relay): DirectoryEvents {
  let nextInvalidMs = 0;
  return {
    away: (reason) => {
      log.error("The directory is away; other relays' sessions can't be looked up", { reason });
    },
    back: (sessions) => log.info("The directory is there", { sessions }),
    failed: () => metrics.directoryFailed(),
    invalid: (what) => {
      metrics.directoryFailed();
      if (performance.now() < nextInvalidMs) return;
      nextInvalidMs = performance.now() + invalidLogMs;
      log.warn("Ignored what is in the directory: no relay writes that", { what });
    },
  };
}
