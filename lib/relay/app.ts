/** The relay's two Hono apps; every request comes in through one of them, upgrades too. */
import { type Context, Hono } from "hono";
import { connectHandler } from "./routes/connect.ts";
import { getField } from "../http1/head.ts";
import type { Peer } from "../net/exchange.ts";
import type { RelayBindings, RelayEnv } from "./env.ts";
import { answerError } from "./error_response.ts";
import { noSuchPath, otherHost, unknownHost } from "./request_errors.ts";
import { readinessFacts, readinessOf } from "./readiness.ts";
import type { Relay } from "./relay.ts";
import { hopHandler, hopOf } from "./routes/hop.ts";
import { peerStatusHandler, peerStatusPath } from "./routes/peer_status.ts";
import { canonicalHost } from "./services/canonical_host.ts";
import { identityHopTarget, serviceHopTarget } from "./hop/service_route.ts";
import { signInHandler, signInPaths } from "./routes/own_paths.ts";
import { answerNoOwnPath, type OwnPaths, serviceHandler } from "./routes/service.ts";
import { ownTcpHandler, tunnelTcpHandler } from "./routes/tcp.ts";
import { tunnelHandler, tunnelServer } from "./routes/tunnel.ts";
import { servicesHandler, whoamiHandler } from "./routes/whoami.ts";

/** What a listener calls with each request; a Hono app is one. */
export interface RelayApp {
  fetch(request: Request, bindings: RelayBindings): Response | Promise<Response>;
}

/** The public listener: agents connect here, and nobody else gets an answer that says anything. */
export function publicApp(relay: Relay): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  app.get("/connect", connectHandler(relay));
  app.get("/healthz", (c) => c.text("ok"));
  // Agents verify by them whom requests are from.
  app.get(jwksPath, jwks(relay));
  return app;
}

/** The public keys of assertions; they are nobody's secret. */
const jwksPath = "/.culvert/jwks.json";

/** How long keys may be cached, in seconds. A new key must be published that long before it signs. */
const jwksSeconds = 300;

function jwks({ assertions }: Relay): (c: Context<RelayEnv>) => Response {
  return (c) =>
    c.body(assertions.jwks, 200, {
      "Content-Type": "application/jwk-set+json",
      "Cache-Control": `public, max-age=${jwksSeconds}`,
    });
}

/**
 * The internal listener: callers' requests, probes and metrics. It is never exposed.
 *
 * @param hasMetrics Whether callers may read the metrics, which name clusters.
 */
export function internalApp(relay: Relay, hasMetrics: boolean): RelayApp {
  const app = internalRoutes(relay, hasMetrics);
  const serveTunnel = tunnelServer(relay);
  return {
    // Nearly all requests are these; routing alone would cost each a few microseconds.
    fetch(request, bindings) {
      const isTunnel = bindings.exchange.head.target.startsWith("/tunnel/");
      const response = isTunnel ? serveTunnel(bindings) : undefined;
      return response ?? app.fetch(request, bindings);
    },
  };
}

function internalRoutes(relay: Relay, hasMetrics: boolean): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  app.all("/tunnel/*", tunnelHandler(relay));
  app.all("/tunnel-tcp/:service", tunnelTcpHandler(relay));
  app.all(serviceHopTarget, hopHandler(relay));
  app.all(peerStatusPath, peerStatusHandler(relay));
  app.all(identityHopTarget, hopHandler(relay));
  app.notFound(({ env: { exchange, alreadyAnswered } }) => {
    answerError(exchange, noSuchPath);
    return alreadyAnswered;
  });
  addProbes(app, relay);
  if (!hasMetrics) return app;
  // They name clusters, which no page may read.
  app.use("/metrics", async ({ env: { exchange, alreadyAnswered } }, next) => {
    if (!relay.callers.hosts.refuse(exchange.head)) return await next();
    answerError(exchange, otherHost);
    return alreadyAnswered;
  });
  return addMetrics(app, relay);
}

/**
 * Where a worker takes what the other workers forward, and nothing else: whoever has no token of theirs
 * finds nothing.
 */
export function hopApp(relay: Relay): RelayApp {
  const app = internalApp(relay, false);
  return {
    fetch(request, bindings) {
      const { exchange, alreadyAnswered } = bindings;
      const isStatus = exchange.head.target.split("?", 1)[0] === peerStatusPath;
      if (isStatus || hopOf(relay, exchange)) return app.fetch(request, bindings);
      answerError(exchange, noSuchPath);
      return alreadyAnswered;
    },
  };
}

/**
 * The web listener: services at their hostnames.
 *
 * @param relayHost The relay's own name there, at which agents connect; none without it.
 */
export function webApp(relay: Relay, relayHost?: string): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  const own = publicApp(relay);
  const serve = serviceHandler(relay, ownPaths(relay));
  app.all("*", (c): Response | Promise<Response> => {
    const { exchange, alreadyAnswered } = c.env;
    const host = canonicalHost(getField(exchange.head.fields, "host") ?? "");
    if (host !== undefined && isMisdirected(exchange.peer, host)) {
      answerError(exchange, unknownHost);
      return alreadyAnswered;
    }
    if (relay.signIn?.isLoginHost(host) && c.req.path === jwksPath) return jwks(relay)(c);
    if (relay.signIn?.isLoginHost(host)) {
      return relay.signIn.answerLogin(exchange).then(() => alreadyAnswered);
    }
    const isRelays = relayHost !== undefined && host === relayHost;
    return isRelays ? own.fetch(c.req.raw, c.env) : serve(c);
  });
  return app;
}

/**
 * Whether a request has come over a connection that its client opened for another host, with another
 * certificate (RFC 9110 section 15.5.20). 421 has browsers open one of its own.
 */
function isMisdirected({ requestedName }: Peer, host: string): boolean {
  if (!requestedName || requestedName.serverName === host) return false;
  return !requestedName.sharesCertificate(host);
}

/** culvert's own paths at each service's hostname. */
export function ownPaths(relay: Relay): OwnPaths {
  const app = new Hono<RelayEnv>();
  app.all("/.culvert/tcp", ownTcpHandler(relay));
  app.all("/.culvert/whoami", whoamiHandler(relay));
  app.all("/.culvert/services", servicesHandler(relay));
  app.get(jwksPath, jwks(relay));
  for (const path of signInPaths) app.all(path, signInHandler(relay));
  app.notFound(({ env: { exchange, alreadyAnswered } }) => {
    answerNoOwnPath(exchange);
    return alreadyAnswered;
  });
  return app;
}

/** The app behind `--health-addr`: probes and metrics for those who have no client certificate. */
export function healthApp(relay: Relay, relayHost?: string): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  // What a proxy in front asks before it obtains a certificate for a name.
  app.get("/.culvert/hosts", async (c) => {
    const host = canonicalHost(c.req.query("domain") ?? "");
    const isOwn = host === relayHost || relay.signIn?.isLoginHost(host);
    const isKnown = host !== undefined && (isOwn || await hasCertificateFor(relay, host));
    if (isKnown === "unknown") return c.text("the other relays have not answered\n", 503);
    return isKnown ? c.text("ok") : c.text("no such host\n", 404);
  });
  return addMetrics(addProbes(app, relay), relay);
}

/** Whether a name is a service's that is served by HTTP; under a wildcard for claims, only once claimed. */
function hasCertificateFor(
  { services, registry, peers }: Relay,
  host: string,
): boolean | Promise<boolean | "unknown"> {
  const found = services.table.find(host);
  if (!found || found.service.kind === "tls") return false;
  const { cluster } = found.service;
  if (found.claim !== "wildcard" || registry.isClaimed(cluster, host)) return true;
  return peers?.claimQuestions.isClaimed(cluster, host) ?? false;
}

function addProbes(app: Hono<RelayEnv>, relay: Relay): Hono<RelayEnv> {
  app.get("/healthz", (c) => c.text("ok"));
  app.get("/readyz", async (c) => {
    const excludesAgents = c.req.query("exclude") === "agents";
    const { status, text } = await relay.whole?.readiness(excludesAgents) ??
      readinessOf(readinessFacts(relay), excludesAgents);
    return c.text(text, status);
  });
  return app;
}

function addMetrics(app: Hono<RelayEnv>, relay: Relay): Hono<RelayEnv> {
  app.get("/metrics", async (c) => {
    const text = await (relay.whole?.metrics() ?? relay.metrics.text());
    return c.text(text, 200, { "Content-Type": relay.metrics.contentType });
  });
  return app;
}
