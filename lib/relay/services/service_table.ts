/** Which service is at which hostname. */
import type { ClusterEntry } from "../../domain/cluster.ts";
import { type Service } from "../../domain/service.ts";
import type { ServiceRoute } from "../route.ts";
import { wildcardOf } from "./canonical_host.ts";

/** A service that a hostname leads to. */
export interface FoundService {
  readonly service: Service;
  /** Whether agents have to claim the hostname, and which entry lets them: by its name, or by a wildcard. */
  readonly claim: "none" | "exact" | "wildcard";
}

/** All services of a relay at one time. Configured ones win over those that agents may claim. */
export class ServiceTable {
  readonly services: readonly Service[];
  /** Whether there is a service whose TLS the relay does not open. */
  readonly hasTls: boolean;
  readonly #exact = new Map<string, FoundService>();
  readonly #wildcards = new Map<string, FoundService>();

  constructor(services: readonly Service[], clusters: readonly ClusterEntry[]) {
    this.services = services;
    this.hasTls = services.some(({ kind }) => kind === "tls");
    for (const cluster of clusters) {
      const { claims } = cluster;
      if (!claims) continue;
      const service = claimedService(cluster.id, claims);
      for (const { name } of claims.hostnames) this.#add(name, service, true);
    }
    for (const service of services) {
      for (const { name } of service.hostnames) this.#add(name, service, false);
    }
  }

  #add(name: string, service: Service, isClaim: boolean): void {
    const isWildcard = name.startsWith("*.");
    const claim = isClaim ? (isWildcard ? "wildcard" : "exact") : "none";
    const names = isWildcard ? this.#wildcards : this.#exact;
    names.set(name, { service, claim });
  }

  /** Names of everything here, for the metrics. */
  get names(): string[] {
    const found = [...this.#exact.values(), ...this.#wildcards.values()];
    return [...new Set(found.map(({ service }) => service.name))];
  }

  /** What agents may claim, each cluster's as one service whose hostnames are those it may. */
  get claimable(): readonly Service[] {
    const found = [...this.#exact.values(), ...this.#wildcards.values()];
    return [
      ...new Set(found.filter(({ claim }) => claim !== "none").map(({ service }) => service)),
    ];
  }

  /** All that the relay opens TLS for; `*.` stands for one label. */
  get hostnames(): string[] {
    return [...this.#exact, ...this.#wildcards]
      .filter(([, { service }]) => service.kind !== "tls").map(([name]) => name);
  }

  /** @param host in canonical form */
  find(host: string): FoundService | undefined {
    const exact = this.#exact.get(host);
    const wildcard = this.#wildcards.get(wildcardOf(host));
    // A configured wildcard wins over a claim of the exact name: agents must not take from services.
    if (exact?.claim === "exact" && wildcard?.claim === "none") return wildcard;
    return exact ?? wildcard;
  }

  /** Where a configured service's callers go that name it, and no host. */
  routeByName(name: string): ServiceRoute | undefined {
    const service = this.services.find((service) => service.name === name);
    const [hostname] = service?.hostnames ?? [];
    return service && hostname &&
      routeOf({ service, claim: "none" }, hostname.name, "/.culvert/tcp");
  }

  /** Where requests for a host go, if there is a service. */
  route(host: string, path: string): ServiceRoute | undefined {
    const found = this.find(host);
    return found && routeOf(found, host, path);
  }
}

function routeOf(
  { service, claim }: FoundService,
  hostname: string,
  path: string,
): ServiceRoute {
  const { name, cluster, target, kind, host, authorization, impersonation } = service;
  return {
    kind: "service",
    cluster,
    path,
    name,
    hostname,
    target,
    transport: kind === "http" ? "http" : "tcp",
    rules: { host, authorization, impersonation },
    isOpenWildcard: claim === "wildcard",
    service,
  };
}

/** What agents of a cluster may claim, as a service. */
function claimedService(
  cluster: string,
  { hostnames, policy }: NonNullable<ClusterEntry["claims"]>,
): Service {
  return {
    name: cluster,
    hostnames,
    cluster,
    target: undefined,
    kind: "http",
    policy,
    host: "public",
    authorization: "app",
    impersonation: "refuse",
    headers: { set: [], remove: [] },
    corsOrigins: [],
  };
}
