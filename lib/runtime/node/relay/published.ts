/**
 * What the relay publishes: clusters and services of its files and options, and those of the admin API.
 * Each is checked against the others when it changes, and one change follows the other.
 */
import { ConfigError } from "../../../config/config_error.ts";
import type { ServicesContext } from "../../../config/entries/service_checks.ts";
import {
  addServices,
  type MoreServices,
  noServices,
  type Services,
} from "../../../config/entries/services.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import { checkTogether } from "../../../config/services_option.ts";
import { ClusterIndex, type IndexedCluster } from "../../../admin/cluster_index.ts";
import type { Configuration, EntriesInUse } from "../../../admin/configuration.ts";
import {
  clusterFileEntry,
  policyFileEntry,
  serviceFileEntry,
} from "../../../admin/file_entries.ts";
import type { EntryBody, EntryKind } from "../../../domain/admin.ts";
import type { ClusterEntry } from "../../../domain/cluster.ts";
import type { TableChanges } from "../../../relay/agents/admissions.ts";
import type { Relay } from "../../../relay/relay.ts";
import type { ServiceChanges } from "../../../relay/services/service_changes.ts";
import { tokenDigest } from "../token_digest.ts";
import type { ServicePorts } from "./service_ports.ts";
import type { RelaySignIn } from "./sign_in.ts";

const nothing: EntriesInUse = { clusters: [], services: [], policies: [] };

/** What uses services besides the relay. */
export interface ServiceUsers {
  readonly signIn: RelaySignIn;
  readonly ports: ServicePorts;
}

/** Clusters and services of all sources. */
export class Published implements Configuration {
  readonly #relay: Relay;
  readonly #users: ServiceUsers;
  readonly #context: ServicesContext;
  readonly #demandsCertificate: boolean;
  /** The clusters and services from files and options. */
  #clusters: readonly ClusterEntry[];
  #services: Services;
  #indexed: readonly IndexedCluster[] | undefined;
  /** The entries from the admin API. */
  #added = nothing;
  /** Entries of the API that do not go with the files, which has been said. */
  #leftOut: ReadonlySet<string> = new Set();
  /** Clusters of the API that go with these files and policies: most stay as they are. */
  #goodClusters = new WeakSet<ClusterEntry>();
  #turn: Promise<unknown> = Promise.resolve();
  version = 0;

  constructor(
    options: Pick<RelayOptions, "clusters" | "services" | "servicesContext" | "tls">,
    relay: Relay,
    users: ServiceUsers,
  ) {
    const { clusters, services, servicesContext, tls } = options;
    this.#relay = relay;
    this.#users = users;
    this.#clusters = clusters;
    this.#services = services ?? noServices;
    this.#demandsCertificate = tls?.clientCaPem !== undefined;
    this.#context = services?.context ?? servicesContext ?? { ownNames: [], hasJwtIssuer: false };
  }

  /** Takes other clusters of files. @throws {ConfigError} what was in use stays then */
  replaceClusters(clusters: readonly ClusterEntry[]): Promise<TableChanges> {
    return this.#inTurn(async () => {
      const unserved = checkTogether(clusters, this.#services, this.#context);
      this.#goodClusters = new WeakSet();
      const changes = await this.#useClusters(clusters, this.#added);
      this.#clusters = clusters;
      this.#indexed = undefined;
      this.version++;
      for (const warning of unserved) this.#relay.log.warn(warning);
      return changes;
    });
  }

  /** Takes other services of files. @throws {ConfigError} what was in use stays then */
  replaceServices(services: Services): Promise<ServiceChanges> {
    return this.#inTurn(async () => {
      const unserved = checkTogether(this.#clusters, services, this.#context);
      const merged = this.#merge(services, this.#added);
      const changes = await this.#useServices(merged, services);
      this.#services = services;
      this.version++;
      for (const warning of [...services.warnings, ...unserved]) this.#relay.log.warn(warning);
      this.#goodClusters = new WeakSet();
      // A cluster of the API may have lost its policy, or got it back.
      if (this.#added.clusters.length > 0) await this.#useClusters(this.#clusters, this.#added);
      return changes;
    });
  }

  use(added: EntriesInUse): Promise<void> {
    return this.#inTurn(async () => {
      if (!isSameServices(added, this.#added)) {
        this.#goodClusters = new WeakSet();
        await this.#useServices(this.#merge(this.#services, added), this.#services);
      }
      await this.#useClusters(this.#clusters, added);
      this.#added = added;
    });
  }

  has(kind: EntryKind, name: string): boolean {
    if (kind === "clusters") return this.#clusters.some(({ id }) => id === name);
    return this.#services[kind].some((it) => it.name === name);
  }

  entries(kind: EntryKind): readonly EntryBody[] {
    if (kind === "clusters") return this.#clusters.map((it) => clusterFileEntry(it, hexDigest));
    if (kind === "services") return this.#services.services.map(serviceFileEntry);
    return this.#services.policies.map(policyFileEntry);
  }

  indexed(): readonly IndexedCluster[] {
    return this.#indexed ??= this.#clusters.map(indexedFile);
  }

  checkCluster(cluster: ClusterEntry, more: MoreServices): void {
    if (cluster.certificateNames && !this.#demandsCertificate) {
      throw new ConfigError(
        "Clusters: certificateName: needs --tls-client-ca, without which agents show no certificate",
      );
    }
    checkTogether([cluster], this.#together(more), this.#context);
  }

  checkServices(more: MoreServices): void {
    addServices(this.#services, more, this.#context);
  }

  checkPort(name: string, more: MoreServices): Promise<void> {
    return this.#inTurn(async () => {
      const { services } = this.#merge(this.#services, more);
      const change = await this.#users.ports.prepare(services, (it) => it.name === name);
      await change.undo();
    });
  }

  /** Services as far as what a cluster's entry says about policies is concerned. */
  #together({ policies }: MoreServices): Services {
    return { ...this.#services, policies: [...this.#services.policies, ...policies] };
  }

  #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #useClusters(
    files: readonly ClusterEntry[],
    { clusters, ...more }: EntriesInUse,
  ): Promise<TableChanges> {
    const merged = clusters.length === 0 ? files : this.#mergeClusters(files, clusters, more);
    return await this.#relay.replaceClusters(merged);
  }

  /** The files' clusters, and those of the API that go with them. */
  #mergeClusters(
    files: readonly ClusterEntry[],
    added: readonly ClusterEntry[],
    more: MoreServices,
  ): ClusterEntry[] {
    const unknown = added.filter((cluster) => !this.#goodClusters.has(cluster));
    if (unknown.length === 0) return [...files, ...added];
    const ids = new Set(files.map(({ id }) => id));
    const index = new ClusterIndex();
    const known = files === this.#clusters ? this.indexed() : files.map(indexedFile);
    for (const file of known) index.add(file);
    const together = this.#together(more);
    const leftOut = new Set<string>();
    for (const cluster of unknown) {
      const fault = ids.has(cluster.id)
        ? "the files have a cluster with this id"
        : index.conflict(indexedFile(cluster))
        ? "the files have a cluster with the same token, or overlapping hostnames"
        : faultOf(() => this.#checkTogether(cluster, together));
      if (fault === undefined) this.#goodClusters.add(cluster);
      else this.#leaveOut(leftOut, "clusters", cluster.id, fault);
    }
    this.#keepLeftOut("clusters", leftOut);
    return [...files, ...added.filter((cluster) => this.#goodClusters.has(cluster))];
  }

  #checkTogether(cluster: ClusterEntry, services: Services): void {
    const { claims, callerPolicy, impersonate } = cluster;
    if (claims || callerPolicy !== undefined || impersonate) {
      checkTogether([cluster], services, this.#context);
    }
  }

  /** The files' services, and those of the API that go with them. */
  #merge(files: Services, { services, policies }: MoreServices): Services {
    if (services.length === 0 && policies.length === 0) return files;
    try {
      const merged = addServices(files, { services, policies }, this.#context);
      this.#keepLeftOut("services", new Set());
      return merged;
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return this.#mergeOneByOne(files, { services, policies });
    }
  }

  #mergeOneByOne(files: Services, { services, policies }: MoreServices): Services {
    const leftOut = new Set<string>();
    let good: MoreServices = { services: [], policies: [] };
    const tries = [
      ...policies.map((policy) => ({ name: policy.name, services: [], policies: [policy] })),
      ...services.map((service) => ({ name: service.name, services: [service], policies: [] })),
    ];
    for (const { name, ...one } of tries) {
      const more = {
        services: [...good.services, ...one.services],
        policies: [...good.policies, ...one.policies],
      };
      const fault = faultOf(() => addServices(files, more, this.#context));
      if (fault === undefined) good = more;
      else this.#leaveOut(leftOut, "services", name, fault);
    }
    this.#keepLeftOut("services", leftOut);
    return addServices(files, good, this.#context);
  }

  #leaveOut(leftOut: Set<string>, kind: string, name: string, reason: string): void {
    const key = `${kind}/${name}`;
    leftOut.add(key);
    if (this.#leftOut.has(key)) return;
    this.#relay.log.warn("Ignored an entry of the admin API that conflicts with the files", {
      ...{ kind, name, reason },
    });
  }

  #keepLeftOut(kind: string, leftOut: ReadonlySet<string>): void {
    const others = [...this.#leftOut].filter((key) => !key.startsWith(`${kind}/`));
    this.#leftOut = new Set([...others, ...leftOut]);
  }

  /** @param files whose services need their ports; an entry of the API may have been made elsewhere */
  async #useServices(merged: Services, files: Services): Promise<ServiceChanges> {
    const { signIn, ports } = this.#users;
    const needed = new Set(files.services.map(({ name }) => name));
    const open = await ports.prepare(merged.services, ({ name }) => needed.has(name));
    let changes: ServiceChanges;
    try {
      const use = () => this.#relay.replacePublished(merged.services, merged);
      changes = await signIn.apply(merged, use);
    } catch (error) {
      await open.undo();
      throw error;
    }
    open.commit();
    return changes;
  }
}

function isSameServices(a: MoreServices, b: MoreServices): boolean {
  return isSameList(a.services, b.services) && isSameList(a.policies, b.policies);
}

function isSameList(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

function faultOf(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error.message;
    throw error;
  }
}

function indexedFile({ id, tokens, claims }: ClusterEntry): IndexedCluster {
  return {
    id,
    digests: tokens.map(({ token, tokenSha256 }) => tokenSha256 ?? hexDigest(token!)),
    hostnames: (claims?.hostnames ?? []).map(({ name }) => name),
  };
}

function hexDigest(token: string): string {
  return tokenDigest(token).toHex();
}
