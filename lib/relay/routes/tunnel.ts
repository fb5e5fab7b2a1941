/** `/tunnel/{cluster}/…`: a caller's request on its way to a cluster's agent. */
import type { Context } from "hono";
import type { Exchange } from "../../net/exchange.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import { refuseCluster } from "../callers/callers.ts";
import { refuseCrossSite } from "../callers/cross_site.ts";
import type { RelayBindings, RelayEnv } from "../env.ts";
import type { Relay } from "../relay.ts";
import { type ClusterRoute, clusterRouteOf } from "../route.ts";
import { publicPolicy } from "../../domain/policy.ts";
import { policyDenied } from "../caller_errors.ts";
import type { RelayError } from "../relay_error.ts";
import { askedBy } from "../people/asked_request.ts";
import type { CallerIdentity } from "../people/identities.ts";
import { boundToIdentity, callerIdentity, refuseIdentity } from "./caller_identity.ts";
import { destinationOf } from "./destination.ts";
import { hopOf, serveHop } from "./hop.ts";
import { answersItself, refusalOf } from "./request_refusals.ts";
import { RequestContext } from "./request_context.ts";
import { ForwardedRequest } from "./forwarded_request.ts";

/** Handles everything under `/tunnel/`. The answer goes straight to the exchange. */
export function tunnelHandler(
  relay: Relay,
): (c: Context<RelayEnv>) => Response | Promise<Response> {
  const serve = tunnelServer(relay);
  return (c) => serve(c.env) ?? (c.notFound() as Response);
}

/** The same without Hono; undefined where a request names no cluster. */
export function tunnelServer(
  relay: Relay,
): (bindings: RelayBindings) => Response | Promise<Response> | undefined {
  return function serveTunnel(bindings) {
    const { exchange, alreadyAnswered } = bindings;
    const route = clusterRouteOf(exchange.head.target);
    if (!route || route.cluster === "") return undefined;
    const hop = hopOf(relay, exchange);
    if (hop) {
      const looked = serveHop(relay, bindings, hop);
      return looked ? looked.then(() => alreadyAnswered) : alreadyAnswered;
    }
    const identity = relay.callers.identify(exchange);
    const received = identity instanceof Promise
      ? identity.then((identity) => receive(relay, exchange, route, identity))
      : receive(relay, exchange, route, identity);
    return received ? received.then(() => alreadyAnswered) : alreadyAnswered;
  };
}

/** Lets a caller in, or not, before anything depends on whether there is such a cluster. */
function receive(
  relay: Relay,
  exchange: Exchange,
  route: ClusterRoute,
  identity: Identity,
): Promise<void> | void {
  if (exchange.isOver) {
    // The caller left while its token was looked at.
    relay.metrics.cluster("unknown").aborted++;
    return;
  }
  const misdirected = relay.callers.hosts.refuse(exchange.head);
  if (misdirected) return refuse(relay, exchange, route, misdirected, undefined);
  if (identity instanceof Denial) return refuse(relay, exchange, route, identity, undefined);
  const denial = refuseCluster(identity, route.cluster) ?? refuseCrossSite(identity, exchange.head);
  if (denial) return refuse(relay, exchange, route, denial, identity);
  const caller = narrowed(relay, exchange, route, identity);
  if (caller instanceof Denial) return refuse(relay, exchange, route, caller, identity);
  const told = callerIdentity(relay, exchange, route, caller);
  if (!(told instanceof Promise)) return serve(relay, exchange, route, caller, told);
  return told.then((told) => serve(relay, exchange, route, caller, told));
}

/** Asks the policy of the cluster's callers. It may get one while the request is open. */
function narrowed(
  relay: Relay,
  exchange: Exchange,
  { cluster, path }: ClusterRoute,
  caller: Caller,
): Identity {
  const { authorizer, people, config: { callers } } = relay;
  const isPerson = caller.kind === "access";
  // Whoever can sign in is nobody yet: it takes a policy to open a cluster to people.
  const needsPolicy = isPerson && callers.mode !== "open";
  const provider = isPerson ? relay.signIn?.signIn.usualProvider : people.callerProvider;
  const currentRequirements = () => {
    // Its entry as it is then: this is asked again while the request is open.
    const policy = relay.clusters.get(cluster)?.callerPolicy;
    if (policy === undefined && needsPolicy) return undefined;
    return { policy: policy ?? publicPolicy, provider };
  };
  const requirements = currentRequirements();
  if (!requirements) return notForPeople;
  return authorizer.narrow(caller, {
    requirements,
    currentRequirements,
    authorization: "culvert",
    // Only a policy asks for it.
    get asked() {
      return askedBy(exchange.head, path);
    },
  }, exchange);
}

const notForPeople = new Denial(
  "policy",
  policyDenied,
  "the cluster has no callerPolicy, without which nobody reaches it by signing in",
);

function serve(
  relay: Relay,
  exchange: Exchange,
  route: ClusterRoute,
  caller: Caller,
  told: CallerIdentity | RelayError,
): void {
  if ("status" in told) return refuseIdentity(relay, exchange, route, caller, told);
  const bound = boundToIdentity(relay, exchange, route, caller, told);
  const context = new RequestContext(relay, exchange, route, { caller: bound, identity: told });
  new ForwardedRequest(context, exchange, destinationOf(route)).serve({
    refusal: () => refusalOf(relay, exchange, context),
    answersItself: () => answersItself(exchange),
  });
}

function refuse(
  relay: Relay,
  exchange: Exchange,
  route: ClusterRoute,
  denial: Denial,
  caller: Caller | undefined,
): void {
  const { reason: denialReason } = denial;
  new RequestContext(relay, exchange, route, { caller, denialReason }).follow(exchange);
  relay.callerRefusals.refuse(exchange, denial, route, caller);
}
