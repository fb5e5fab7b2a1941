/** Requests that are not forwarded, whoever asks for whatever. */
import { noBytes } from "../../bytes/bytes.ts";
import { dateField } from "../../http1/date.ts";
import { field } from "../../http1/head.ts";
import { forwardsLeft, loopOf } from "../../http1/hops.ts";
import { allowedMethods, mayEcho } from "../../http1/methods.ts";
import type { Exchange } from "../../net/exchange.ts";
import type { RelayError } from "../relay_error.ts";
import {
  bodyTooLarge,
  loopDetected,
  methodRefused,
  noSuchPath,
  tooManyHops,
} from "../request_errors.ts";
import type { Relay } from "../relay.ts";
import { destinationOf } from "./destination.ts";
import type { RequestContext } from "./request_context.ts";

/** Why a request is not for forwarding, whether its agent is there or not. */
export function forwardingRefusal({ viaName }: Relay, { head }: Exchange): RelayError | undefined {
  if (mayEcho(head.method)) return methodRefused;
  const loop = loopOf(head.fields, viaName);
  if (loop === undefined) return undefined;
  return loop === "returned" ? loopDetected : tooManyHops;
}

/** Why a request is not even tried, or nothing. */
export function refusalOf(
  relay: Relay,
  exchange: Exchange,
  { registration, route }: RequestContext,
): RelayError | undefined {
  const refused = forwardingRefusal(relay, exchange);
  if (refused) return refused;
  if (route.kind === "cluster" && relay.isPathless(route.cluster)) return noSuchPath;
  if (!registration && !relay.peers) return destinationOf(route).notAvailable();
  const { framing } = exchange;
  const { maxBodyBytes } = relay.config;
  const isTooLarge = maxBodyBytes > 0 && framing.kind === "length" && framing.bytes > maxBodyBytes;
  return isTooLarge ? bodyTooLarge : undefined;
}

/** Answers OPTIONS where it may be forwarded no further (RFC 9110 section 7.6.2). @returns whether it was that */
export function answersItself(exchange: Exchange): boolean {
  if (forwardsLeft(exchange.head) !== 0) return false;
  const fields = [field("Allow", allowedMethods), dateField()];
  exchange.answer(200, "OK", fields, noBytes);
  return true;
}
