/** Requests that other relays forward: they have let the caller in, and it goes no further than here. */
import type { Context } from "hono";
import type { Exchange } from "../../net/exchange.ts";
import type { Registration } from "../agents/registry.ts";
import type { RelayEnv } from "../env.ts";
import { answerError, forbiddenHop, noSuchPath } from "../errors.ts";
import { acceptHop, answerNotHere, type Hop, readHop } from "../hop/hop_fields.ts";
import type { Relay } from "../relay.ts";
import { destinationOf } from "./destination.ts";
import { answersItself, forwardingRefusal } from "./refusals.ts";
import { RequestContext } from "./request_context.ts";
import { TunnelRequest } from "./tunnel_request.ts";

/** What another relay has marked, or somebody who says so; nothing for a caller's own request. */
export function hopOf(relay: Relay, { head }: Exchange): Hop | "forged" | undefined {
  return relay.peers && readHop(head, relay.peers.tokens);
}

/** Handles `/.culvert/hop`, where relays send each other requests for services. */
export function hopHandler(
  relay: Relay,
): (c: Context<RelayEnv>) => Response | Promise<Response> {
  return function hop({ env: { exchange, alreadyAnswered } }) {
    const hop = hopOf(relay, exchange);
    if (!hop) {
      answerError(exchange, noSuchPath);
      return alreadyAnswered;
    }
    const looked = serveHop(relay, exchange, hop);
    return looked ? looked.then(() => alreadyAnswered) : alreadyAnswered;
  };
}

/** Answers it, now or once it is known where its agent is. */
export function serveHop(
  relay: Relay,
  exchange: Exchange,
  hop: Hop | "forged",
): Promise<void> | void {
  if (hop === "forged") {
    relay.metrics.authFailed("tunnel");
    relay.sparseLog.warn("Refused a request: it has fields that only relays may send", {
      peer: exchange.peer.address,
    });
    return answerError(exchange, forbiddenHop);
  }
  if (!picked(relay, hop)?.session.isSuspect) return takeHop(relay, exchange, hop);
  // Where its agent has gone to another relay, the one that forwards can find that out.
  return relay.peers!.lookBehind(hop.route.cluster).then(() => {
    if (!exchange.isOver) takeHop(relay, exchange, hop);
  });
}

function picked({ registry }: Relay, { route }: Hop): Registration | undefined {
  return registry.pick(route.cluster, { route });
}

function takeHop(relay: Relay, exchange: Exchange, hop: Hop): void {
  if (relay.refusesRequests || !picked(relay, hop)) return answerNotHere(exchange);
  const { route, caller, relay: fromRelay } = hop;
  exchange.peer = hop.peer;
  const context = new RequestContext(relay, exchange, route, { caller, fromRelay });
  const request = new TunnelRequest(context, exchange, destinationOf(route));
  const refusal = forwardingRefusal(relay, exchange);
  request.whenRecorded(() => {
    // The other relay takes an answer without this word for none.
    acceptHop(exchange);
    if (refusal) return request.refuse(refusal);
    if (!answersItself(exchange)) request.send();
  });
}
