/** What callers may ask of the relay, and of each cluster: requests a second, open ones, bytes. */
import type { LimitValues } from "../../domain/limits.ts";
import type { RelayError } from "../relay_error.ts";
import type { Bandwidth } from "./bandwidth.ts";
import { limitErrors } from "./limit_errors.ts";
import type { Scope } from "./scope.ts";
import { ScopeGroup } from "./scope_group.ts";

/** No bounds at all. */
export const noLimits: LimitValues = { requestsPerSecond: 0, openRequests: 0, bytesPerSecond: 0 };

/** A cluster, as far as its limits go. */
export interface LimitedCluster {
  readonly id: string;
  readonly limits?: Partial<LimitValues> | undefined;
}

/** A service, as far as its limits go. */
export interface LimitedService {
  readonly name: string;
  readonly limits?: Partial<LimitValues> | undefined;
}

/** A request that was let in. */
export interface Permit {
  /** What its bytes have to keep to; empty for nothing. */
  readonly bandwidths: readonly Bandwidth[];
  /** The request is over. A second call changes nothing. */
  release(): void;
}

/** What a request has as long as no limit is set. */
export const unlimited: Permit = { bandwidths: [], release() {} };

/** Whose request it is that asks to be let in. */
export interface LimitSubject {
  readonly cluster: string;
  /** Undefined for a request under the cluster's path. */
  readonly service?: string | undefined;
  /** The caller's name. No kind of scope counts callers so far. */
  readonly caller?: string | undefined;
}

/** One kind of scope. */
interface ScopeKind {
  readonly group: ScopeGroup;
  /** Names the scope in which a request counts; undefined if it counts in none. */
  readonly nameOf: (subject: LimitSubject) => string | undefined;
}

/** The name of the one scope that has everything in it. */
const wholeRelay = "";

/** Lets requests in, or says which limit they met. */
export class Limits {
  readonly #clusters: ScopeGroup;
  readonly #services: ScopeGroup;
  /** The narrowest first. Another kind of scope is another row. */
  readonly #kinds: readonly ScopeKind[];

  /**
   * @param relay Over all clusters together.
   * @param cluster For each cluster that has no values of its own.
   */
  constructor(
    relay: LimitValues,
    cluster: LimitValues,
    nowMs: () => number = () => performance.now(),
  ) {
    const whole = new ScopeGroup(relay, limitErrors.relay, nowMs);
    whole.use([[wholeRelay, undefined]]);
    this.#clusters = new ScopeGroup(cluster, limitErrors.cluster, nowMs);
    this.#services = new ScopeGroup(noLimits, limitErrors.service, nowMs);
    this.#kinds = [
      { group: this.#services, nameOf: ({ service }) => service },
      { group: this.#clusters, nameOf: ({ cluster }) => cluster },
      { group: whole, nameOf: () => wholeRelay },
    ];
  }

  /** Says which clusters there are. Values that stay the same go on with what is used of them. */
  useClusters(clusters: readonly LimitedCluster[]): void {
    this.#clusters.use(clusters.map(({ id, limits }) => [id, limits]));
  }

  /** The same for services. */
  useServices(services: readonly LimitedService[]): void {
    this.#services.use(services.map(({ name, limits }) => [name, limits]));
  }

  /** Whether there is such a cluster. */
  knows(clusterId: string): boolean {
    return this.#clusters.knows(clusterId);
  }

  /**
   * Counts a request, if there is room for it.
   *
   * The narrowest scope is asked first: what one cluster's storm is refused costs the others nothing.
   * Names that are no cluster's count for the relay alone, so that they leave nothing behind.
   */
  permit(subject: LimitSubject): Permit | RelayError {
    const scopes = this.#scopesOf(subject);
    if (scopes.length === 0) return unlimited;
    for (const scope of scopes) {
      const refusal = scope.refusal();
      if (refusal) return refusal;
    }
    return permitOf(scopes);
  }

  #scopesOf(subject: LimitSubject): readonly Scope[] {
    const scopes: Scope[] = [];
    for (const { group, nameOf } of this.#kinds) {
      if (group.isOff) continue;
      const name = nameOf(subject);
      const scope = name === undefined ? undefined : group.of(name);
      if (scope) scopes.push(scope);
    }
    return scopes;
  }
}

function permitOf(scopes: readonly Scope[]): Permit {
  const slots = scopes.map(({ open }) => open.acquire());
  return {
    bandwidths: scopes.flatMap(({ bandwidth }) => bandwidth ? [bandwidth] : []),
    release() {
      for (const slot of slots) slot.release();
    },
  };
}
