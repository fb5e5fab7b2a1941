/** What a relay tells people and programs about itself; times are milliseconds since 1970. */
import type { Impersonation } from "./cluster.ts";
import type { ServiceKind } from "./service.ts";

/** The whole picture: of this relay and, where there is a directory, of the others. */
export interface Status {
  readonly atMs: number;
  /** This relay first. */
  readonly relays: readonly RelayStatus[];
  /** The configured clusters in the order of their ids, connected or not. */
  readonly clusters: readonly ClusterStatus[];
  /** The services in the order of their names. */
  readonly services: readonly ServiceStatus[];
  /** The oldest first. */
  readonly streams: readonly StreamStatus[];
  readonly certificates: readonly CertificateStatus[];
  readonly reloads: readonly ReloadStatus[];
  readonly limitHits: readonly LimitHitStatus[];
  /** The newest first; only of services that keep them. */
  readonly requests: readonly RequestStatus[];
}

/** One relay. */
export interface RelayStatus {
  /** Random for each process. */
  readonly id: string;
  readonly version: string;
  readonly startedMs: number;
  readonly isStopping: boolean;
  readonly agents: number;
  readonly openStreams: number;
  /** Whether its directory answers; undefined for a relay on its own. */
  readonly isDirectoryUp?: boolean | undefined;
  /** Why it has not told more; the rest of its picture is missing then. */
  readonly fault?: string | undefined;
}

/** Where an entry comes from: configuration files and options, or the admin API. */
export type EntrySource = "configuration" | "api";

/** One cluster. */
export interface ClusterStatus {
  readonly id: string;
  readonly source: EntrySource;
  readonly owner?: string | undefined;
  /** Undefined for an entry without a lease. */
  readonly leaseEndsMs?: number | undefined;
  /** False for an entry of the API that waits to be accepted. */
  readonly isAccepted: boolean;
  readonly targetAddr?: string | undefined;
  readonly impersonation: Impersonation;
  /** The hostnames that its agents may claim. */
  readonly hostnames: readonly string[];
  readonly policy?: string | undefined;
  readonly callerPolicy?: string | undefined;
  /** The newest first. */
  readonly agents: readonly AgentStatus[];
  /** How the last session ended, since the relays started. */
  readonly lastDisconnect?: DisconnectStatus | undefined;
}

/** One agent's session. */
export interface AgentStatus {
  /** The id for `disconnectAgent`; unique among all relays. */
  readonly id: string;
  readonly cluster: string;
  /** The relay that holds it. */
  readonly relay: string;
  readonly instance?: string | undefined;
  /** Which of the agent's connections it is. */
  readonly slot: number;
  /** The address as the relay sees it. */
  readonly address: string;
  /** Name and version: `culvert-agent/0.1.0`. */
  readonly software?: string | undefined;
  readonly protocolVersion: number;
  readonly tokenName: string;
  readonly sinceMs: number;
  /** 0 before the first measurement. */
  readonly roundTripMs: number;
  readonly openStreams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Times that a stream had bytes to send and no credit. */
  readonly windowStalls: number;
  readonly isDraining: boolean;
  /** Whether it has not answered for a while. */
  readonly isSuspect: boolean;
  /** Undefined for an agent that does not announce them. */
  readonly targets?: readonly TargetStatus[] | undefined;
  /** The hash of the agent's targets file. */
  readonly targetsHash?: string | undefined;
  /** The hostnames that it claims and gets. */
  readonly claims: readonly string[];
}

/** A target that an agent announces. */
export interface TargetStatus {
  readonly name: string;
  readonly kind: string;
}

/** How a session ended. */
export interface DisconnectStatus {
  readonly atMs: number;
  readonly code: number;
  readonly reason: string;
  readonly instance?: string | undefined;
  readonly address: string;
}

/** One service. */
export interface ServiceStatus {
  readonly name: string;
  readonly source: EntrySource;
  /** The hostnames, with `:PORT` where their URLs have one. */
  readonly hostnames: readonly string[];
  readonly cluster: string;
  readonly target?: string | undefined;
  readonly kind: ServiceKind;
  readonly policy: string;
  readonly provider?: string | undefined;
  /** Agents that can serve it now. */
  readonly agents: number;
}

/** One request or connection that is under way. */
export interface StreamStatus {
  /** The id for `endStream`; unique among all relays. */
  readonly id: string;
  /** The relay that the caller reached. */
  readonly relay: string;
  readonly requestId: string;
  readonly cluster: string;
  readonly service?: string | undefined;
  readonly hostname?: string | undefined;
  /** Who: a token's name, a certificate's or a person's. */
  readonly caller?: string | undefined;
  readonly callerKind?: string | undefined;
  readonly address: string;
  readonly method: string;
  /** Without its query. */
  readonly path: string;
  readonly upgrade?: string | undefined;
  readonly sinceMs: number;
  /** Bytes from the caller; undefined while they are not counted. */
  readonly bytesIn?: number | undefined;
  readonly bytesOut?: number | undefined;
  /** The agent's session; undefined where another relay has it. */
  readonly agent?: string | undefined;
}

/** A certificate that is in use. */
export interface CertificateStatus {
  readonly relay: string;
  /** The option that names it, and for `--web-certs` which of them. */
  readonly option: string;
  readonly notAfterMs: number;
}

/** The last time that a part of the configuration was read. */
export interface ReloadStatus {
  readonly relay: string;
  /** `clusters`, `services`, `tls`, … */
  readonly source: string;
  readonly result: "loaded" | "applied" | "refused";
  readonly atMs: number;
  /** Why it was refused. */
  readonly reason?: string | undefined;
}

/** A limit that was met since the relay started. */
export interface LimitHitStatus {
  readonly relay: string;
  /** The name of its option. */
  readonly limit: string;
  readonly count: number;
  readonly lastMs: number;
}

/** One of the latest requests. */
export interface RequestStatus {
  readonly relay: string;
  readonly atMs: number;
  readonly requestId: string;
  readonly cluster: string;
  readonly service?: string | undefined;
  readonly caller?: string | undefined;
  readonly method: string;
  /** Without its query. */
  readonly path: string;
  readonly status: number;
  readonly ms: number;
  readonly bytes: number;
}

/** What somebody may see: all of it unless given. */
export interface StatusScope {
  readonly seesCluster: (id: string) => boolean;
  /** Whether a service may be seen. */
  readonly seesService: (service: Pick<ServiceStatus, "name" | "cluster" | "hostnames">) => boolean;
}

/** Reads the picture, and acts upon what it shows. */
export interface StatusSource {
  /** Never rejects: relays that do not answer are there with a `fault`. */
  read(scope?: StatusScope): Promise<Status>;
  /** Ends a session; its agent may connect again. @returns whether there was one */
  disconnectAgent(id: string, by: string, scope?: StatusScope): Promise<boolean>;
  /** Ends a request or connection. @returns whether there was one */
  endStream(id: string, by: string, scope?: StatusScope): Promise<boolean>;
  /** Calls `changed` soon after something changed, at most once a second; returns how to stop that. */
  follow(changed: () => void): () => void;
}
