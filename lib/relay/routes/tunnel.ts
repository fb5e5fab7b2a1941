/** `/tunnel/{cluster}/…`: a caller's request on its way to a cluster's agent. */
import type { Context } from "hono";
import { noBytes } from "../../bytes/bytes.ts";
import { dateField } from "../../http1/date.ts";
import { field } from "../../http1/head.ts";
import { forwardsLeft, loopOf } from "../../http1/hops.ts";
import { allowedMethods, mayEcho } from "../../http1/methods.ts";
import type { Exchange } from "../../net/exchange.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import { refuseCluster, withdrawn } from "../callers/callers.ts";
import { refuseCrossSite } from "../callers/cross_site.ts";
import type { RelayEnv } from "../env.ts";
import {
  answerError,
  bodyTooLarge,
  clusterNotAvailable,
  forbiddenHop,
  loopDetected,
  methodRefused,
  type RelayError,
  relayStopping,
  tooManyHops,
} from "../errors.ts";
import { acceptHop, answerNotHere, type Hop, readHop } from "../hop/hop_fields.ts";
import type { Registration } from "../agents/registry.ts";
import type { Relay } from "../relay.ts";
import { Observation, type TunnelRoute } from "./observation.ts";
import { TunnelRequest } from "./tunnel_request.ts";

const prefix = "/tunnel/";

/**
 * Splits a request target into cluster and path. Nothing is decoded or normalised; an absolute-form
 * target (RFC 9112 section 3.2.2) is taken without its scheme and authority.
 */
export function parseTunnelTarget(target: string): TunnelRoute | undefined {
  const path = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/?]*/i, "");
  if (!path.startsWith(prefix)) return undefined;
  const end = path.slice(prefix.length).search(/[/?]/);
  if (end === -1) return { cluster: path.slice(prefix.length), path: "/" };
  const cluster = path.slice(prefix.length, prefix.length + end);
  const rest = path.slice(prefix.length + end);
  return { cluster, path: rest.startsWith("?") ? `/${rest}` : rest };
}

/** Handles everything under `/tunnel/`. The answer goes straight to the exchange. */
export function tunnelHandler(
  relay: Relay,
): (c: Context<RelayEnv>) => Response | Promise<Response> {
  return function tunnel(c) {
    const { exchange, alreadyAnswered } = c.env;
    const route = parseTunnelTarget(exchange.head.target);
    if (!route || route.cluster === "") return c.notFound() as Response;
    const { elsewhere } = relay;
    const hop = elsewhere && readHop(exchange.head, elsewhere.tokens);
    if (hop) {
      const looked = serveHop(relay, exchange, route, hop);
      return looked ? looked.then(() => alreadyAnswered) : alreadyAnswered;
    }
    const identity = relay.callers.identify(exchange);
    if (identity instanceof Promise) {
      return identity.then((identity) => {
        receive(relay, exchange, route, identity);
        return alreadyAnswered;
      });
    }
    receive(relay, exchange, route, identity);
    return alreadyAnswered;
  };
}

/** A request that another relay forwards, which has let its caller in: it goes no further than here. */
function serveHop(
  relay: Relay,
  exchange: Exchange,
  route: TunnelRoute,
  hop: Hop | "forged",
): Promise<void> | void {
  if (hop === "forged") {
    relay.metrics.authFailed("tunnel");
    relay.sparseLog.warn("Refused a request: it has fields that only relays may send", {
      peer: exchange.peer.address,
    });
    return answerError(exchange, forbiddenHop);
  }
  if (!isSuspect(relay.registry.pick(route.cluster))) return takeHop(relay, exchange, route, hop);
  // Where its agent has gone to another relay, the one that forwards can find that out.
  return relay.elsewhere!.lookBehind(route.cluster).then(() => {
    if (!exchange.isOver) takeHop(relay, exchange, route, hop);
  });
}

function isSuspect(registration: Registration | undefined): boolean {
  return registration?.session.isSuspect === true;
}

/** Whether a session is taken only when no other relay has the cluster: its agent may be there now. */
function isLastResort(relay: Relay, registration: Registration | undefined): boolean {
  const isDrainedAlone = registration?.session.isDraining === true && !relay.isStopping;
  return isSuspect(registration) || isDrainedAlone;
}

function takeHop(relay: Relay, exchange: Exchange, route: TunnelRoute, hop: Hop): void {
  if (relay.refusesRequests || !relay.registry.pick(route.cluster)) return answerNotHere(exchange);
  exchange.peer = hop.peer;
  const request = new TunnelRequest(relay, exchange, route, hop.caller);
  request.fromRelay = hop.relay;
  const refusal = refusalOf(relay, exchange);
  request.whenRecorded(() => {
    // The other relay takes an answer without this word for none.
    acceptHop(exchange);
    if (refusal) return request.refuse(refusal);
    if (forwardsLeft(exchange.head) === 0) return answerOptions(exchange);
    request.send();
  });
}

/** Lets a caller in, or not, before anything depends on whether there is such a cluster. */
function receive(relay: Relay, exchange: Exchange, route: TunnelRoute, identity: Identity): void {
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
  serve(relay, exchange, route, identity);
}

function refuse(
  relay: Relay,
  exchange: Exchange,
  route: TunnelRoute,
  denial: Denial,
  caller: Caller | undefined,
): void {
  new Observation(relay, exchange, route, undefined, caller, denial.reason);
  relay.callerRefusals.refuse(exchange, denial, route.cluster, caller);
}

function serve(relay: Relay, exchange: Exchange, route: TunnelRoute, caller: Caller): void {
  const request = new TunnelRequest(relay, exchange, route, caller);
  if (relay.refusesRequests) return request.refuse(relayStopping);
  const permit = relay.limits.permit(route.cluster);
  if ("status" in permit) return request.refuse(permit, relay.refusalPace);
  request.permit = permit;
  const watching = relay.callers.open.watch(request);
  if (watching === "lost") {
    request.denialReason = withdrawn.reason;
    return relay.callerRefusals.refuse(exchange, withdrawn, route.cluster, caller);
  }
  request.watching = watching;
  const refusal = refusalFor(relay, exchange, request.registration);
  if (refusal) return request.refuse(refusal);
  if (forwardsLeft(exchange.head) === 0) return answerOptions(exchange);
  if (relay.elsewhere && isLastResort(relay, request.registration)) {
    request.registration = undefined;
  }
  request.whenRecorded(() => request.registration ? request.send() : request.seek());
}

/** Why a request is not for forwarding, whoever asks and whether the cluster is there or not. */
function refusalOf({ viaName }: Relay, { head }: Exchange): RelayError | undefined {
  if (mayEcho(head.method)) return methodRefused;
  const loop = loopOf(head.fields, viaName);
  if (loop === undefined) return undefined;
  return loop === "returned" ? loopDetected : tooManyHops;
}

/** Answers OPTIONS where it may be forwarded no further (RFC 9110 section 7.6.2). */
function answerOptions(exchange: Exchange): void {
  const fields = [field("Allow", allowedMethods), dateField()];
  exchange.answer(200, "OK", fields, noBytes);
}

/** Why a request is not even tried, or nothing. */
function refusalFor(
  relay: Relay,
  exchange: Exchange,
  registration: Registration | undefined,
): RelayError | undefined {
  const refused = refusalOf(relay, exchange);
  if (refused) return refused;
  const { framing } = exchange;
  if (!registration && !relay.elsewhere) return clusterNotAvailable;
  const { maxBodyBytes } = relay.config;
  if (maxBodyBytes > 0 && framing.kind === "length" && framing.bytes > maxBodyBytes) {
    return bodyTooLarge;
  }
  return undefined;
}
