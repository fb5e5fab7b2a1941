/** Requests that other relays forward: they have let the caller in, and it goes no further than here. */
import type { Context } from "hono";
import type { Exchange } from "../../net/exchange.ts";
import type { Registration } from "../agents/registry.ts";
import type { RelayBindings, RelayEnv } from "../env.ts";
import { forbiddenHop } from "../caller_errors.ts";
import { answerError } from "../error_response.ts";
import { noSuchPath } from "../request_errors.ts";
import { acceptHop, answerNotHere, type Hop, readHop } from "../hop/hop_fields.ts";
import type { Relay } from "../relay.ts";
import { destinationOf } from "./destination.ts";
import type { Route } from "../route.ts";
import { answersItself, forwardingRefusal } from "./request_refusals.ts";
import { RequestContext } from "./request_context.ts";
import { TcpRequest } from "./tcp_request.ts";
import { ForwardedRequest } from "./forwarded_request.ts";

/** What another relay has marked, or somebody who says so; nothing for a caller's own request. */
export function hopOf(relay: Relay, { head }: Exchange): Hop | "forged" | undefined {
  return relay.peers && readHop(head, relay.peers.tokens);
}

/** Handles `/.culvert/hop`, where relays send each other requests for services. */
export function hopHandler(
  relay: Relay,
): (c: Context<RelayEnv>) => Response | Promise<Response> {
  return function hop({ env }) {
    const { exchange, alreadyAnswered } = env;
    const hop = hopOf(relay, exchange);
    if (!hop) {
      answerError(exchange, noSuchPath);
      return alreadyAnswered;
    }
    const looked = serveHop(relay, env, hop);
    return looked ? looked.then(() => alreadyAnswered) : alreadyAnswered;
  };
}

/** Answers it, now or once it is known where its agent is. */
export function serveHop(
  relay: Relay,
  env: RelayBindings,
  hop: Hop | "forged",
): Promise<void> | void {
  const { exchange } = env;
  if (hop === "forged") {
    relay.metrics.authFailed("tunnel");
    relay.rateLimitedLog.warn("Refused a request: it has fields that only relays may send", {
      peer: exchange.peer.address,
    });
    return answerError(exchange, forbiddenHop);
  }
  if (!picked(relay, hop)?.session.isSuspect) return takeHop(relay, env, hop);
  // Where its agent has gone to another relay, the one that forwards can find that out.
  return relay.peers!.refreshHolders(hop.route.cluster).then(() => {
    if (!exchange.isOver) takeHop(relay, env, hop);
  });
}

function picked({ registry }: Relay, { route, isSelective }: Hop): Registration | undefined {
  const options = { route };
  return isSelective
    ? registry.pickServing(route.cluster, options)
    : registry.pick(route.cluster, options);
}

function takeHop(relay: Relay, env: RelayBindings, hop: Hop): void {
  const { exchange } = env;
  if (relay.refusesHops || !picked(relay, hop)) return answerNotHere(exchange);
  const { route, caller, identity, relay: fromRelay } = hop;
  exchange.peer = hop.peer;
  const context = new RequestContext(relay, exchange, route, { caller, identity, fromRelay });
  const request = requestOf(context, env, route);
  const refusal = forwardingRefusal(relay, exchange);
  request.whenRecorded(() => {
    // The other relay takes an answer without this word for none.
    acceptHop(exchange);
    if (refusal) return request.refuse(refusal);
    if (!answersItself(exchange)) request.send();
  });
}

function requestOf(
  context: RequestContext,
  { exchange, acceptWebSocket }: RelayBindings,
  route: Route,
): ForwardedRequest {
  const destination = destinationOf(route);
  const isTcp = route.kind === "service" && route.transport === "tcp";
  return isTcp
    ? new TcpRequest(context, exchange, destination, acceptWebSocket)
    : new ForwardedRequest(context, exchange, destination);
}
