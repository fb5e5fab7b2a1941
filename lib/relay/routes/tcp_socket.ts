/** Connections that come as they are: to a port of the relay's, or in TLS that it does not open. */
import { type BareConnection, SocketExchange } from "../../net/socket_exchange.ts";
import { allowsAddress } from "../../domain/service.ts";
import type { Identity } from "../callers/caller.ts";
import type { Relay } from "../relay.ts";
import type { ServiceRoute } from "../route.ts";
import { receiveTcp } from "./receive_tcp.ts";
import { rawUpgrade } from "./tcp_request.ts";

/** Carries a connection to a service's target, if the service's policy lets its address in. */
export function serveSocket(
  relay: Relay,
  { socket, peer }: BareConnection,
  route: ServiceRoute,
): Promise<void> | void {
  const exchange = new SocketExchange({
    socket,
    peer,
    path: route.path,
    host: route.hostname,
    upgrade: rawUpgrade,
  });
  const identity = relay.services.authorizer.identify(
    route.service!,
    route.hostname,
    exchange,
    "connection",
    // Its listener has refused other addresses.
    (service) => allowsAddress(service, peer.address),
  );
  if (!(identity instanceof Promise)) return receive(relay, exchange, route, identity);
  return identity.then((identity) => receive(relay, exchange, route, identity));
}

/**
 * Who takes a TLS connection by the name in its ClientHello: a service of kind `tls`, whose target has
 * the certificate.
 */
export function passThroughOf(
  relay: Relay,
): (
  hello: { readonly serverName: string | undefined },
) => ((connection: BareConnection) => void) | undefined {
  return function passThrough({ serverName }) {
    const route = serverName === undefined
      ? undefined
      : relay.services.table.route(serverName, "/.culvert/tcp");
    if (route?.service?.kind !== "tls") return undefined;
    return (connection) => void serveSocket(relay, connection, route);
  };
}

function receive(
  relay: Relay,
  exchange: SocketExchange,
  route: ServiceRoute,
  identity: Identity,
): void {
  const acceptWebSocket = () => Promise.reject(new Error("A bare connection has no WebSocket"));
  receiveTcp(relay, exchange, route, identity, { acceptWebSocket, fault: () => undefined });
}
