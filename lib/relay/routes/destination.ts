/** What differs between a cluster under its path and a service: what the agent is asked for, and how. */
import type { Field, RequestHead } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import type { Registration } from "../agents/registry.ts";
import {
  clusterNotAvailable,
  kindNotSupported,
  targetNotAvailable,
} from "../availability_errors.ts";
import { impersonationNotAllowed } from "../caller_errors.ts";
import type { RelayError } from "../relay_error.ts";
import { noSuchPath, unknownHost } from "../request_errors.ts";
import { impersonates, type TargetView } from "../forward/headers.ts";
import type { ClusterRoute, Route, ServiceRoute } from "../route.ts";
import { withPublicHost } from "../services/response_host.ts";
import { serviceResponseFields } from "../services/service_response_fields.ts";
import { returnedByService } from "../services/response_rules.ts";

/** Where a request is to arrive. */
export interface Destination {
  /** The agent's name for the target. */
  targetAt(registration: Registration): string;
  /** How the target is addressed, and what it gets to see. */
  viewAt(registration: Registration): TargetView;
  /** Why the request is not sent to this agent, or nothing. */
  refusalAt(registration: Registration, head: RequestHead): RelayError | undefined;
  /** What a caller is told when no agent is there. */
  notAvailable(): RelayError;
  /** What a caller is told when the agent, or the stream, failed so. */
  errorOf(error: RelayError): RelayError;
  /** What the caller gets of a response's fields, of a target that one of this relay's agents reaches. */
  returnedAt(registration: Registration, fields: Field[], exchange: Exchange): Field[];
  /** What the caller gets of a response's fields, whichever relay holds the session. */
  returned(fields: Field[], status: number, exchange: Exchange): Field[];
}

/**
 * The destination of a route.
 *
 * @param signsIn Whether people sign in to services of this relay, which then keep to their own cookies.
 */
export function destinationOf(route: Route, { signsIn = false } = {}): Destination {
  return route.kind === "service"
    ? new ServiceDestination(route, signsIn)
    : new ClusterDestination(route);
}

class ClusterDestination implements Destination {
  readonly #prefix: string;

  constructor({ cluster }: ClusterRoute) {
    this.#prefix = `/tunnel/${cluster}`;
  }

  /** Clusters without a target are refused before, by {@link refusalAt}. */
  targetAt({ cluster }: Registration): string {
    return cluster.targetAddr!;
  }

  viewAt(registration: Registration): TargetView {
    const { impersonation } = registration.cluster;
    const name = this.targetAt(registration);
    const rules = { host: "target", authorization: "culvert", impersonation } as const;
    const host = registration.targets?.get(name)?.host ?? name;
    return { host, prefix: this.#prefix, rules };
  }

  refusalAt({ cluster }: Registration, head: RequestHead): RelayError | undefined {
    if (cluster.targetAddr === undefined) return noSuchPath;
    const isRefused = cluster.impersonation === "refuse" && impersonates(head);
    return isRefused ? impersonationNotAllowed(cluster.id) : undefined;
  }

  notAvailable(): RelayError {
    return clusterNotAvailable;
  }

  errorOf(error: RelayError): RelayError {
    return error;
  }

  returnedAt(_registration: Registration, fields: Field[]): Field[] {
    return fields;
  }

  returned(fields: Field[]): Field[] {
    return fields;
  }
}

class ServiceDestination implements Destination {
  readonly #route: ServiceRoute;
  readonly #signsIn: boolean;

  constructor(route: ServiceRoute, signsIn: boolean) {
    this.#route = route;
    this.#signsIn = signsIn;
  }

  targetAt({ claims }: Registration): string {
    const { target, hostname } = this.#route;
    // Only sessions that claimed the hostname are picked for it.
    return target ?? claims!.get(hostname)!;
  }

  viewAt(registration: Registration): TargetView {
    const name = this.targetAt(registration);
    const { rules } = this.#route;
    const host = registration.targets?.get(name)?.host ?? name;
    return { host, rules, hidesPublicHost: rules.host === "target" };
  }

  refusalAt(registration: Registration): RelayError | undefined {
    const { target, transport } = this.#route;
    // One that does not say what it serves knows HTTP alone.
    if (!registration.targets) return transport === "http" ? undefined : kindNotSupported;
    if (target === undefined) return undefined;
    const listed = registration.targets.get(target);
    if (!listed) return targetNotAvailable;
    return listed.kind === transport ? undefined : kindNotSupported;
  }

  /** Under a wildcard that nobody has claimed, there is nothing at all. */
  notAvailable(): RelayError {
    return this.#route.isOpenWildcard ? unknownHost : clusterNotAvailable;
  }

  errorOf(error: RelayError): RelayError {
    return error.code === "forbidden" ? targetNotAvailable : error;
  }

  returnedAt(registration: Registration, fields: Field[], exchange: Exchange): Field[] {
    if (this.#route.rules.host === "public") return fields;
    return withPublicHost(fields, this.viewAt(registration).host, exchange);
  }

  returned(fields: Field[], status: number, exchange: Exchange): Field[] {
    const { service, hostname } = this.#route;
    if (!service) return fields;
    // Browsers keep the cookies of a 101, and nothing of the other interim responses.
    const own = this.#signsIn && (status >= 200 || status === 101)
      ? serviceResponseFields(service, hostname, fields)
      : fields;
    return returnedByService(service, own, status, exchange);
  }
}
