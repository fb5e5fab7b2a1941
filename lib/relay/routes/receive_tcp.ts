/** What comes of a TCP connection once the policy has said who asks for it, however it came. */
import type { Exchange } from "../../net/exchange.ts";
import { Denial, type Identity } from "../callers/caller.ts";
import type { RelayBindings } from "../env.ts";
import type { RelayError } from "../relay_error.ts";
import { PolicyDenial } from "../people/authorizer.ts";
import type { Relay } from "../relay.ts";
import type { ServiceRoute } from "../route.ts";
import { destinationOf } from "./destination.ts";
import { refusalOf } from "./request_refusals.ts";
import { RequestContext } from "./request_context.ts";
import { TcpRequest } from "./tcp_request.ts";

/** What differs between connections in a WebSocket and those that come as they are. */
export interface TcpEntry {
  readonly acceptWebSocket: RelayBindings["acceptWebSocket"];
  /** Why the request can't become a connection, or nothing. */
  readonly fault: () => RelayError | undefined;
}

/** Connects a caller to its service, or refuses it with a line in the log. */
export function receiveTcp(
  relay: Relay,
  exchange: Exchange,
  route: ServiceRoute,
  identity: Identity,
  { acceptWebSocket, fault }: TcpEntry,
): void {
  if (exchange.isOver) {
    // The caller left while its credential was looked at.
    relay.metrics.service(route.name).aborted++;
    return;
  }
  if (identity instanceof Denial) {
    const caller = identity instanceof PolicyDenial ? identity.caller : undefined;
    const asker = { caller, denialReason: identity.reason };
    new RequestContext(relay, exchange, route, asker).follow(exchange);
    return relay.callerRefusals.refuse(exchange, identity, route, caller);
  }
  const context = new RequestContext(relay, exchange, route, { caller: identity });
  new TcpRequest(context, exchange, destinationOf(route), acceptWebSocket).serve({
    refusal: () => fault() ?? refusalOf(relay, exchange, context),
    answersItself: () => false,
  });
}
