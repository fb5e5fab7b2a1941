/** What all reconcilers work with. */
import type { KubeClient } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Log } from "../log.ts";
import type { Digest } from "./digest.ts";
import type { RelayAccesses } from "./relay/relay_accesses.ts";
import type { Cloudflare } from "./dns/cloudflare.ts";
import type { Rfc2136 } from "./dns/rfc2136.ts";
import type { RelayApi } from "./relay/relay_api.ts";
import type { RouteTable } from "./routes/route_table.ts";
import type { Tunnel } from "./tunnel.ts";
import type { World } from "./world.ts";

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
  /** How often what is at relays and in DNS is looked at again. */
  readonly resyncMs: number;
  /** How often Secrets are looked at that nothing tells about. */
  readonly checkMs: number;
  /** How long agents may take to serve new routes; a minute unless given. */
  readonly takeMs?: number;
  /** How long a clean-up may be refused before the object is let go. */
  readonly orphanMs: number;
}

/** Parts that reconcilers share. */
export interface Context {
  readonly client: KubeClient;
  readonly world: World;
  readonly relays: RelayApi;
  readonly accesses: RelayAccesses;
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
