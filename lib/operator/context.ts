/** What the tunnels' reconcilers share: clients, caches and settings. */
import type { KubeClient } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Log } from "../log.ts";
import type { Digest } from "./digest.ts";
import type { RelayAccesses } from "./relay/relay_accesses.ts";
import type { LastMade } from "./agents/last_made.ts";
import type { Cloudflare } from "./dns/cloudflare.ts";
import type { Rfc2136 } from "./dns/rfc2136.ts";
import type { RelayApi } from "./relay/relay_api.ts";
import type { RouteTable } from "./routes/route_table.ts";
import type { Tunnel } from "./tunnel.ts";
import type { Caches } from "./caches.ts";

/** Settings of the operator. */
export interface OperatorSettings {
  /** Where ClusterTunnels' objects are, and the Lease. */
  readonly namespace: string;
  readonly idPrefix: string;
  readonly agentImage: string;
  /** The ClusterRoles that agents' ServiceAccounts may be bound to. */
  readonly agentClusterRoles: readonly string[];
  /** Whether Tunnels' status says what is added to pods, for a MutatingAdmissionPolicy. */
  readonly hasInjectionPolicy?: boolean;
  /** How often entries at relays and DNS records are checked. */
  readonly resyncMs: number;
  /** How often Secrets are read that the operator may not watch. */
  readonly checkMs: number;
  /** How long agents may take to serve new routes, 60,000 by default. */
  readonly takeMs?: number;
  /** How long clean-up may fail before the finalizer is removed anyway. */
  readonly orphanMs: number;
}

/** Parts that reconcilers share. */
export interface Context {
  readonly client: KubeClient;
  readonly caches: Caches;
  readonly relays: RelayApi;
  readonly accesses: RelayAccesses;
  readonly lastMade: LastMade;
  readonly events: EventRecorder;
  readonly log: Log;
  readonly settings: OperatorSettings;
  readonly digest: Digest;
  readonly dns: Rfc2136;
  readonly cloudflare: Cloudflare;
  readonly routes: () => RouteTable;
  /** A tunnel as it is now, by its key. */
  readonly tunnel: (key: string) => Tunnel | undefined;
}
