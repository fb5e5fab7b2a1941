/** `/.culvert/tcp` of a service's hostname, and `/tunnel-tcp/{service}`: connections of `access`. */
import type { Context } from "hono";
import { getField, listHas, type RequestHead } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import { asksForWebSocket, handshakeFault } from "../../websocket/handshake.ts";
import { tcpProtocol } from "../../net/tcp_channel.ts";
import { Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import type { RelayBindings, RelayEnv } from "../env.ts";
import { crossSiteRefused, policyDenied } from "../caller_errors.ts";
import { answerError } from "../error_response.ts";
import { badTcpHandshake, noSuchOwnPath, noSuchPath, upgradeToTcp } from "../request_errors.ts";
import type { Relay } from "../relay.ts";
import type { ServiceRoute } from "../route.ts";
import { allowsAddress, PUBLIC_POLICY, type Service } from "../../domain/service.ts";
import { receiveTcp } from "./receive_tcp.ts";

const pageRefused = new Denial("cross_site", crossSiteRefused);
const addressRefused = new Denial("policy", policyDenied, "allow does not list the address");

/** Handles `/.culvert/tcp`. */
export function ownTcpHandler(
  relay: Relay,
): (c: Context<RelayEnv>) => Response | Promise<Response> {
  return function tcp({ env }) {
    const { exchange, service: route, alreadyAnswered } = env;
    if (route?.service?.kind !== "tcp") {
      answerError(exchange, noSuchOwnPath);
      return alreadyAnswered;
    }
    return answered(openTcp(relay, env, route), alreadyAnswered);
  };
}

/** Handles `/tunnel-tcp/{service}` of the internal listener: the service's policy counts there too. */
export function tunnelTcpHandler(
  relay: Relay,
): (c: Context<RelayEnv>) => Response | Promise<Response> {
  return function tcp({ env, req }) {
    const { exchange, alreadyAnswered } = env;
    const misdirected = relay.callers.hosts.refuse(exchange.head);
    const name = req.param("service");
    const route = name === undefined ? undefined : relay.services.table.routeByName(name);
    if (misdirected || route?.service?.kind !== "tcp") {
      answerError(exchange, misdirected?.answer ?? noSuchPath);
      return alreadyAnswered;
    }
    return answered(openTcp(relay, env, route), alreadyAnswered);
  };
}

function answered(
  served: Promise<void> | void,
  alreadyAnswered: Response,
): Response | Promise<Response> {
  return served ? served.then(() => alreadyAnswered) : alreadyAnswered;
}

function openTcp(
  relay: Relay,
  env: RelayBindings,
  route: ServiceRoute,
): Promise<void> | void {
  const { exchange } = env;
  const { head } = exchange;
  // No browser is `access`: a page must not use what its user's browser adds by itself.
  if (getField(head.fields, "origin") !== undefined) {
    return receive(relay, env, route, pageRefused);
  }
  const isOpen = (service: Service) => isAllowed(service, exchange.peer.address);
  const service = route.service!;
  if (!isOpen(service)) return receive(relay, env, route, addressRefused);
  const identity = relay.services.authorizer.identify(
    service,
    route.hostname,
    withoutCookies(exchange),
    "connection",
    isOpen,
  );
  if (!(identity instanceof Promise)) return receive(relay, env, route, identity);
  return identity.then((identity) => receive(relay, env, route, identity));
}

/** Where the policy lets everybody in, `allow` is all that guards the target, whichever way they come. */
function isAllowed(service: Service, address: string): boolean {
  return service.policy !== PUBLIC_POLICY || allowsAddress(service, address);
}

/** A cookie is no credential here: browsers add it by themselves. */
function withoutCookies({ head: { fields }, peer }: Exchange): CallerRequest {
  return { head: { fields: fields.filter(({ key }) => key !== "cookie") }, peer };
}

function receive(
  relay: Relay,
  { exchange, acceptWebSocket }: RelayBindings,
  route: ServiceRoute,
  identity: Identity,
): void {
  receiveTcp(relay, exchange, route, identity, {
    acceptWebSocket,
    fault: () => tcpHandshakeFault(exchange.head),
  });
}

/** Why a request can't become a connection, or nothing. */
function tcpHandshakeFault(head: RequestHead) {
  if (!asksForWebSocket(head)) return upgradeToTcp;
  const isFit = handshakeFault((name) => getField(head.fields, name)) === undefined &&
    listHas(head.fields, "sec-websocket-protocol", tcpProtocol);
  return isFit ? undefined : badTcpHandshake;
}
