/** `/.culvert/whoami` and `/.culvert/services`: what programs ask before they open a service. */
import type { Context } from "hono";
import { encodeLatin1 } from "../../bytes/bytes.ts";
import { dateField } from "../../http1/date.ts";
import { field } from "../../http1/head.ts";
import type { Exchange } from "../../net/exchange.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import type { RelayEnv } from "../env.ts";
import { answerError } from "../error_response.ts";
import { methodNotAllowed } from "../request_errors.ts";
import { PolicyDenial } from "../people/authorizer.ts";
import type { Relay } from "../relay.ts";
import type { ServiceRoute } from "../route.ts";
import { isAnonymous } from "../callers/caller_methods.ts";

/** Handles `GET /.culvert/whoami`: who the relay takes the caller for, and whether it may open the service. */
export function whoamiHandler(relay: Relay): (c: Context<RelayEnv>) => Promise<Response> {
  return async function whoami({ env: { exchange, service: route, alreadyAnswered } }) {
    if (!isRead(exchange)) return alreadyAnswered;
    const service = route!.service!;
    const identity = await relay.services.authorizer.identify(
      service,
      route!.hostname,
      exchange,
      "anything",
    );
    const refused = refuseCredential(relay, exchange, route!, identity);
    if (refused) return alreadyAnswered;
    answerJson(exchange, {
      service: service.name,
      kind: service.kind,
      signedIn: callerOf(identity) !== undefined,
      allowed: !(identity instanceof Denial),
      name: callerOf(identity)?.name,
      signInUrl: relay.signIn?.signInUrlFor(exchange, route!.hostname, identity) ?? null,
    });
    return alreadyAnswered;
  };
}

/** Handles `GET /.culvert/services`: the services that the caller may open. */
export function servicesHandler(relay: Relay): (c: Context<RelayEnv>) => Promise<Response> {
  return async function services({ env: { exchange, service: route, alreadyAnswered } }) {
    if (!isRead(exchange)) return alreadyAnswered;
    const { authorizer, table } = relay.services;
    // One that is known to nobody is told so, and not shown what is public instead.
    const own = await authorizer.identify(
      route!.service!,
      route!.hostname,
      exchange,
      "anything",
    );
    if (refuseCredential(relay, exchange, route!, own)) return alreadyAnswered;
    const open = [];
    for (const service of table.services) {
      const hostname = service.hostnames[0]!.name;
      const identity = await authorizer.wouldIdentify(service, hostname, exchange);
      if (identity instanceof Denial) continue;
      const { name, kind, hostnames } = service;
      open.push({ name, kind, hostnames: hostnames.map(hostnameOf) });
    }
    answerJson(exchange, { services: open });
    return alreadyAnswered;
  };
}

/** Refuses a credential that is no good; somebody without one, or whom a policy stops, gets an answer. */
function refuseCredential(
  relay: Relay,
  exchange: Exchange,
  route: ServiceRoute,
  identity: Identity,
): boolean {
  if (exchange.isOver) return true;
  const isRefused = identity instanceof Denial && identity.reason !== "missing" &&
    identity.reason !== "policy";
  if (isRefused) relay.callerRefusals.refuse(exchange, identity, route, undefined);
  return isRefused;
}

/** Who it is, whether a policy lets them in or not; undefined for somebody who has not said. */
function callerOf(identity: Identity): Caller | undefined {
  if (identity instanceof PolicyDenial) return identity.caller;
  return identity instanceof Denial || isAnonymous(identity.kind) ? undefined : identity;
}

function hostnameOf({ name, port }: { readonly name: string; readonly port?: number | undefined }) {
  return port === undefined ? name : `${name}:${port}`;
}

function isRead(exchange: Exchange): boolean {
  const { method } = exchange.head;
  if (method === "GET" || method === "HEAD") return true;
  answerError(exchange, methodNotAllowed);
  return false;
}

function answerJson(exchange: Exchange, value: unknown): void {
  const fields = [
    field("Content-Type", "application/json"),
    field("Cache-Control", "no-store"),
    dateField(),
  ];
  // A name of a caller may have any letter.
  const text = JSON.stringify(value).replaceAll(
    /[^\x20-\x7e]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  exchange.answer(200, "OK", fields, encodeLatin1(text));
}
