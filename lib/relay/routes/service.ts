/** Requests for services: the host says which, and every path is the app's but those below `/.culvert/`. */
import type { Context, Hono } from "hono";
import { getField } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import { refuseCrossSiteAt } from "../callers/cross_site.ts";
import { PUBLIC_POLICY, type Service } from "../../domain/service.ts";
import { anyName } from "../../domain/name_patterns.ts";
import type { RelayEnv } from "../env.ts";
import { serviceImpersonationNotAllowed } from "../caller_errors.ts";
import { answerError } from "../error_response.ts";
import type { RelayError } from "../relay_error.ts";
import { badHost, noSuchOwnPath, unknownHost, upgradeToTcp } from "../request_errors.ts";
import { impersonates } from "../forward/headers.ts";
import type { Relay } from "../relay.ts";
import { isOwnPath, pathOf, type ServiceRoute } from "../route.ts";
import { isAnonymous } from "../services/anonymous_paths.ts";
import { canonicalHost } from "../services/canonical_host.ts";
import { answerPreflight, preflightOf } from "../services/cors.ts";
import { PolicyGrant } from "../people/access_requirements.ts";
import { askedBy } from "../people/asked_request.ts";
import { PolicyDenial } from "../people/authorizer.ts";
import type { CallerIdentity } from "../people/identities.ts";
import { boundToIdentity, callerIdentity, refuseIdentity } from "./caller_identity.ts";
import { destinationOf } from "./destination.ts";
import { answersItself, refusalOf } from "./request_refusals.ts";
import { RequestContext } from "./request_context.ts";
import { ForwardedRequest } from "./forwarded_request.ts";

/** The app with culvert's own paths; its handlers find the service in `c.env.service`. */
export type OwnPaths = Hono<RelayEnv>;

/** Handles what comes for a host. The answer goes straight to the exchange. */
export function serviceHandler(
  relay: Relay,
  ownPaths: OwnPaths,
): (c: Context<RelayEnv>) => Response | Promise<Response> {
  return function serve(c) {
    const { exchange, alreadyAnswered } = c.env;
    const route = serviceRouteOf(relay, exchange);
    if ("status" in route) {
      refuseHost(relay, exchange, route);
      return alreadyAnswered;
    }
    if (isOwnPath(route.path)) {
      return ownPaths.fetch(c.req.raw, { ...c.env, service: route });
    }
    const served = open(relay, exchange, route);
    return served ? served.then(() => alreadyAnswered) : alreadyAnswered;
  };
}

/** Anybody can ask for any host: it is counted, and told in the log now and then. */
function refuseHost(relay: Relay, exchange: Exchange, error: RelayError): void {
  const { peer: { address: peer }, head } = exchange;
  relay.metrics.requestRefused(error.status);
  relay.rateLimitedLog.info("Refused a request", { listener: "web", status: error.status, peer }, {
    reason: error.message,
    host: getField(head.fields, "host"),
  });
  answerError(exchange, error);
}

/** Where a request goes by its host, or why it goes nowhere. */
export function serviceRouteOf(
  relay: Relay,
  { head }: Pick<Exchange, "head">,
): ServiceRoute | RelayError {
  const host = canonicalHost(getField(head.fields, "host") ?? "");
  if (host === undefined) return badHost;
  const route = relay.services.table.route(host, pathOf(head.target));
  // What the relay passes on unopened is at the same address, and browsers reuse connections.
  return route && route.service?.kind !== "tls" ? route : unknownHost;
}

/** Whether a request asks for the host of a service. */
export function isServiceHost({ services }: Relay, { head }: Pick<Exchange, "head">): boolean {
  const host = canonicalHost(getField(head.fields, "host") ?? "");
  return host !== undefined && services.table.find(host) !== undefined;
}

/** Answers what is culvert's own and is not there. */
export function answerNoOwnPath(exchange: Exchange): void {
  answerError(exchange, noSuchOwnPath);
}

function open(relay: Relay, exchange: Exchange, route: ServiceRoute): Promise<void> | void {
  const service = route.service!;
  if (service.kind !== "http") {
    followed(relay, exchange, route).answered(upgradeToTcp);
    return answerError(exchange, upgradeToTcp);
  }
  const preflight = preflightOf(exchange.head, service.corsOrigins);
  if (preflight) {
    followed(relay, exchange, route);
    return answerPreflight(exchange, preflight);
  }
  if (isAnonymous(service, route.path, exchange.head.fields)) {
    return receive(relay, exchange, route, anonymousCaller(relay, exchange, route));
  }
  const identity = relay.services.authorizer.identify(
    service,
    route.hostname,
    exchange,
    askedBy(exchange.head, route.path),
  );
  if (!(identity instanceof Promise)) return receive(relay, exchange, route, identity);
  return identity.then((identity) => receive(relay, exchange, route, identity));
}

/**
 * Logs and counts a request that the relay answers without asking who sends it. No limit counts it: what
 * strangers can send must not use up what callers share.
 */
function followed(relay: Relay, exchange: Exchange, route: ServiceRoute): RequestContext {
  const context = new RequestContext(relay, exchange, route, { caller: anybody });
  context.follow(exchange);
  return context;
}

const anybody: Caller = { kind: "network", name: "network", clusters: anyName };

function receive(
  relay: Relay,
  exchange: Exchange,
  route: ServiceRoute,
  identity: Identity,
): Promise<void> | void {
  if (exchange.isOver) {
    // The caller left while its credential was looked at.
    relay.metrics.service(route.name).aborted++;
    return;
  }
  if (identity instanceof Denial) {
    const known = identity instanceof PolicyDenial ? identity.caller : undefined;
    return deny(relay, exchange, route, identity, known);
  }
  const service = route.service!;
  const foreign = isGuarded(service)
    ? refuseCrossSiteAt(identity, exchange, service.corsOrigins) ??
      relay.signIn?.refuseWorker(service, exchange.head)
    : undefined;
  if (foreign) return deny(relay, exchange, route, foreign, identity);
  const told = callerIdentity(relay, exchange, route, identity);
  if (!(told instanceof Promise)) return serve(relay, exchange, route, identity, told);
  return told.then((told) => serve(relay, exchange, route, identity, told));
}

function serve(
  relay: Relay,
  exchange: Exchange,
  route: ServiceRoute,
  caller: Caller,
  told: CallerIdentity | RelayError,
): void {
  if ("status" in told) return refuseIdentity(relay, exchange, route, caller, told);
  const bound = boundToIdentity(relay, exchange, route, caller, told);
  const context = new RequestContext(relay, exchange, route, { caller: bound, identity: told });
  const destination = destinationOf(route, { signsIn: relay.signIn !== undefined });
  new ForwardedRequest(context, exchange, destination).serve({
    refusal: () =>
      refusalOf(relay, exchange, context) ??
        (told.impersonation ? undefined : impersonationRefusal(exchange, route)),
    answersItself: () => answersItself(exchange),
  });
}

/** Somebody who was asked for nothing, as long as the path is for everybody, or the service. */
function anonymousCaller(
  { services }: Relay,
  { head: { fields } }: Exchange,
  { hostname, name, path }: ServiceRoute,
): Caller {
  const isStillOpen = () => {
    const service = services.table.find(hostname)?.service;
    return service?.name === name && (!isGuarded(service) || isAnonymous(service, path, fields));
  };
  return { ...anybody, grant: new PolicyGrant(anybody, isStillOpen, false) };
}

/** Whether something is asked of who uses a service. */
function isGuarded({ policy }: Service): boolean {
  return policy !== PUBLIC_POLICY;
}

function deny(
  relay: Relay,
  exchange: Exchange,
  route: ServiceRoute,
  denial: Denial,
  caller?: Caller,
): void {
  const { reason: denialReason } = denial;
  const context = new RequestContext(relay, exchange, route, { caller, denialReason });
  context.follow(exchange);
  // A browser gets a page, or goes on to where people sign in.
  if (relay.signIn?.answer(exchange, route, denial, context.requestId)) return;
  relay.callerRefusals.refuse(exchange, denial, route, caller);
}

function impersonationRefusal(
  { head }: Exchange,
  { name, rules }: ServiceRoute,
): RelayError | undefined {
  const isRefused = rules.impersonation === "refuse" && impersonates(head);
  return isRefused ? serviceImpersonationNotAllowed(name) : undefined;
}
