/** What agent and target are told about a caller, by where its request goes. */
import type { Exchange } from "../../net/exchange.ts";
import type { Caller } from "../callers/caller.ts";
import type { RelayError } from "../relay_error.ts";
import { unknownHost } from "../request_errors.ts";
import { PolicyGrant, withGrant } from "../people/access_requirements.ts";
import { type CallerIdentity, type IdentityPlace, noRules } from "../people/identities.ts";
import type { Relay } from "../relay.ts";
import type { Route } from "../route.ts";
import { requirementsOf } from "../services/service_authorizer.ts";
import { destinationOf } from "./destination.ts";
import { RequestContext } from "./request_context.ts";
import { ForwardedRequest } from "./forwarded_request.ts";

/** What is told, or why a request can't go on; a promise only where something has to be signed. */
export function callerIdentity(
  relay: Relay,
  exchange: Exchange,
  route: Route,
  caller: Caller,
): CallerIdentity | RelayError | Promise<CallerIdentity | RelayError> {
  const place = placeOf(relay, route);
  return place ? relay.identities.of(caller, exchange, place) : unknownHost;
}

/**
 * The same caller, who loses what it has begun once it stands for somebody else, or for nobody: its
 * entry's map has changed, or its groups at the provider have.
 */
export function boundToIdentity(
  relay: Relay,
  exchange: Exchange,
  route: Route,
  caller: Caller,
  { impersonation }: CallerIdentity,
): Caller {
  if (!impersonation) return caller;
  const before = keyOf(impersonation);
  const isSame = (): boolean => {
    const place = placeOf(relay, route);
    const now = place && relay.identities.clusterIdentity(caller, exchange, place);
    return now !== undefined && !("status" in now) && keyOf(now) === before;
  };
  return withGrant(caller, new PolicyGrant(caller, isSame, true), caller.met ?? []);
}

function keyOf({ user, groups }: { readonly user: string; readonly groups: readonly string[] }) {
  return JSON.stringify([user, groups]);
}

/** Where a request goes by the configuration of now; undefined if nothing is there any more. */
function placeOf(relay: Relay, route: Route): IdentityPlace | undefined {
  const { people, clusters, services } = relay;
  if (route.kind === "service") {
    const service = services.table.find(route.hostname)?.service;
    if (service?.name !== route.name) return undefined;
    return {
      requirements: requirementsOf(service),
      rules: service.identity ?? noRules,
      issuer: people.issuer ?? route.hostname,
      audience: route.hostname,
    };
  }
  const impersonate = clusters.get(route.cluster)?.impersonate;
  return {
    requirements: { policy: "", provider: people.callerProvider },
    rules: impersonate ? { ...noRules, impersonate } : noRules,
    issuer: people.issuer ?? "culvert",
    audience: `/tunnel/${route.cluster}`,
    providers: people.clusterProviders,
  };
}

/** Answers a request whose caller stands for nobody where it goes. */
export function refuseIdentity(
  relay: Relay,
  exchange: Exchange,
  route: Route,
  caller: Caller,
  error: RelayError,
): void {
  const context = new RequestContext(relay, exchange, route, { caller });
  new ForwardedRequest(context, exchange, destinationOf(route)).refuse(error);
}
