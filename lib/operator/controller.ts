/** What both controllers of the operator have in common: tunnels, and clusters beside a relay. */
import type { CacheTiming } from "../kube/cache.ts";
import type { KubeClient } from "../kube/client.ts";
import type { Log } from "../log.ts";
import type { Digest } from "./digest.ts";
import type { OperatorObserver } from "./observed_queue.ts";
import type { RelayApi, RelayFetch } from "./relay/relay_api.ts";

/** What a controller is made from. */
export interface ControllerOptions {
  readonly client: KubeClient;
  readonly relays: RelayApi;
  /** Sends requests for watches of relays, whose responses have no time limit. */
  readonly watchRelay: RelayFetch;
  /** Empty for all namespaces. */
  readonly watchNamespaces: readonly string[];
  readonly digest: Digest;
  /** Makes a random token. */
  readonly newToken: () => string;
  /** Whether only objects that are being deleted are reconciled, and nothing new is created. */
  readonly isDraining?: boolean;
  /** Names this replica in Events. */
  readonly instance: string;
  readonly log: Log;
  readonly metrics?: OperatorObserver;
  /** Tests set shorter times. */
  readonly cacheTiming?: CacheTiming;
  readonly firstBackoffMs?: number;
}

/** What works on the cluster, as far as the process starts and stops it. */
export interface Controller {
  /** Keys that wait to be worked on. */
  readonly depth: number;
  /** Keys that wait because their namespace has its share of the workers. */
  readonly heldBack: number;
  /** Kinds that have not been listed yet. */
  readonly unlisted: readonly string[];
  /** Follows the cluster until the signal is aborted; changes nothing. */
  watch(signal: AbortSignal): Promise<void>;
  /** Reconciles until the signal is aborted; only the replica that leads may run it. */
  act(signal: AbortSignal): Promise<void>;
}
