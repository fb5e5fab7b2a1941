/** What agent and target are told about a caller, by where its request goes. */
import type { Exchange } from "../../net/exchange.ts";
import type { Caller } from "../callers/caller.ts";
import type { RelayError } from "../errors.ts";
import { type CallerIdentity, type IdentityPlace, noRules } from "../people/identities.ts";
import type { Relay } from "../relay.ts";
import type { Route } from "../route.ts";
import { requirementsOf } from "../services/service_authorizer.ts";
import { destinationOf } from "./destination.ts";
import { RequestContext } from "./request_context.ts";
import { TunnelRequest } from "./tunnel_request.ts";

/** What is told, or why a request can't go on; a promise only where something has to be signed. */
export function callerIdentity(
  relay: Relay,
  exchange: Exchange,
  route: Route,
  caller: Caller,
): CallerIdentity | RelayError | Promise<CallerIdentity | RelayError> {
  return relay.identities.of(caller, exchange, placeOf(relay, route));
}

function placeOf({ people, clusters }: Relay, route: Route): IdentityPlace {
  if (route.kind === "service") {
    return {
      requirements: requirementsOf(route.service!),
      rules: route.service!.identity ?? noRules,
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
  new TunnelRequest(context, exchange, destinationOf(route)).refuse(error);
}
