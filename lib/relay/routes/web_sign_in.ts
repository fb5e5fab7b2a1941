/** Sign-in on the web listener: the login host, culvert's own paths, and answers to who is not let in. */
import type { Hono } from "hono";
import { getField, type RequestHead } from "../../http1/head.ts";
import { PUBLIC_POLICY, type Service } from "../../domain/service.ts";
import { answerWith, NoRequest, toRequest } from "../../net/app_response.ts";
import type { Exchange } from "../../net/exchange.ts";
import { Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import { answerError } from "../error_response.ts";
import { badRequest, bodyTooLarge, ownMethodRefused, workerRefused } from "../request_errors.ts";
import { requestIdLine, requestIdOf } from "../forward/request_id.ts";
import { isAboutPerson, type Rule } from "../../policies/rule.ts";
import { nobody, PolicyDenial } from "../people/authorizer.ts";
import type { Relay } from "../relay.ts";
import type { ServiceRoute } from "../route.ts";
import { canonicalHost } from "../services/canonical_host.ts";
import { requirementsOf } from "../services/service_authorizer.ts";
import { portalServices } from "./portal.ts";
import { answerLoginStatus, isLoginStatus } from "./status/login_status.tsx";
import { StatusPages } from "./status/status_pages.tsx";
import { demandSignIn, denyAccess, signInUrl } from "../signin/answers.tsx";
import { loginApp } from "../signin/login_app.tsx";
import type { OwnRequest } from "../signin/own_request.ts";
import type { RelaySignIn } from "../signin/relay_sign_in.ts";
import { serviceApp } from "../signin/service_app.tsx";
import { SessionReader } from "../signin/session_reader.ts";
import type { SessionRecord } from "../signin/sessions/sessions.ts";
import type { SignIn } from "../signin/sign_in.ts";
import type { AccessDecision, Site } from "../signin/site.ts";

/** What decides about sign-in in a relay. */
export interface WebSignInOptions {
  /** The scheme of the web listener's URLs. */
  readonly scheme: "https" | "http";
}

/** Whether a rule is about the connection, which may be another one at the login host. */
function isAboutConnection({ kind }: Rule): boolean {
  return kind === "certificate" || kind === "address";
}

const foreignWorker = new Denial("cross_site", workerRefused);

/** Joins sign-in to a relay. */
export class WebSignIn implements RelaySignIn {
  readonly signIn: SignIn;
  readonly reader: SessionReader;
  readonly #relay: Relay;
  readonly #scheme: "https" | "http";
  readonly #loginApp: Hono<{ Bindings: OwnRequest }>;
  readonly #serviceApp: ReturnType<typeof serviceApp>;
  readonly #statusPages: StatusPages;

  constructor(relay: Relay, signIn: SignIn, { scheme }: WebSignInOptions) {
    this.#relay = relay;
    this.signIn = signIn;
    this.#scheme = scheme;
    this.#loginApp = loginApp(signIn, {
      services: async (session, address, list) =>
        await portalServices(relay, scheme, {
          caller: this.reader.callerOf(session),
          provider: session.provider,
          address,
        }, list),
      maySeeStatus: (session, address) => this.maySeeStatus(session, address),
    });
    this.#serviceApp = serviceApp(signIn);
    this.#statusPages = new StatusPages(relay);
    this.reader = new SessionReader(
      signIn,
      (request) => this.#siteAsked(request),
      (name) => relay.people.provider(name)?.claims,
    );
  }

  /** The service in force at a hostname, as sign-in sees it. */
  siteOf(hostname: string): Site | undefined {
    return siteOf(this.#relay, this.#scheme, hostname);
  }

  #siteAsked({ head }: CallerRequest): Site | undefined {
    const host = canonicalHost(getField(head.fields, "host") ?? "");
    return host === undefined ? undefined : this.siteOf(host);
  }

  /** What a service's policy says of a session. */
  decide(site: Site, session: SessionRecord, address: string): AccessDecision {
    const { people, services } = this.#relay;
    const service = services.table.find(site.hostname)?.service;
    const caller = service && this.reader.callerOf(session);
    if (!service || !caller) return { isAllowed: false, missing: [], tellsGroups: true };
    const requirements = requirementsOf(service);
    const attributes = people.attributes(
      caller,
      { address, isTls: true },
      requirements,
      "anything",
    );
    const decision = people.decide(requirements, attributes);
    // The connection to the service's own host may differ; there the policy decides again.
    const isAllowed = decision.isAllowed ||
      people.couldAllow(requirements, attributes, isAboutConnection);
    if (isAllowed) return { isAllowed: true, rules: [] };
    const asked = "anything";
    const { missing, lacksGroups } = new PolicyDenial(caller, decision, { isHelped: false, asked });
    return { isAllowed: false, missing, tellsGroups: !lacksGroups };
  }

  maySeeStatus(session: SessionRecord, address: string): boolean {
    const { people } = this.#relay;
    if (people.statusPolicy === undefined) return false;
    const requirements = { policy: people.statusPolicy, provider: session.provider };
    const peer = { address, isTls: true };
    return people.allows(
      requirements,
      people.attributes(this.reader.callerOf(session), peer, requirements, "connection"),
    );
  }

  isLoginHost(host: string | undefined): boolean {
    return host === this.signIn.loginHostname;
  }

  signInUrlFor(request: CallerRequest, hostname: string, identity: Identity): string | undefined {
    const site = this.siteOf(hostname);
    if (site?.provider === undefined) return undefined;
    const isUnknown = identity instanceof PolicyDenial && identity.caller === undefined;
    return isUnknown && !this.#isHelped(request, hostname, identity) ? undefined : signInUrl(site);
  }

  async answerLogin(exchange: Exchange): Promise<void> {
    const requestId = requestIdOf(exchange.head.fields);
    exchange.answerField = requestIdLine(requestId);
    if (isLoginStatus(exchange)) {
      return await answerLoginStatus(this, this.#statusPages, exchange, requestId);
    }
    const request = await requestOf(exchange, this.signIn.loginOrigin);
    if (!request) return;
    const { head: { fields }, peer: { address } } = exchange;
    await answerWith(exchange, await this.#loginApp.fetch(request, { fields, address, requestId }));
  }

  async answerOwnPath(exchange: Exchange, { hostname }: ServiceRoute): Promise<void> {
    const site = this.siteOf(hostname);
    const requestId = requestIdOf(exchange.head.fields);
    exchange.answerField = requestIdLine(requestId);
    const request = site && await requestOf(exchange, site.origin);
    if (!request) return;
    const { head: { fields }, peer: { address } } = exchange;
    const env = { fields, address, requestId, site };
    await answerWith(exchange, await this.#serviceApp.fetch(request, env));
  }

  answer(
    exchange: Exchange,
    { hostname }: ServiceRoute,
    denial: Denial,
    requestId: string,
  ): boolean {
    const site = this.siteOf(hostname);
    if (site?.provider === undefined) return false;
    if (denial instanceof PolicyDenial && denial.caller?.kind === "session") {
      const id = denial.caller.person!.sessionId;
      const { missing, lacksGroups, otherRequests } = denial;
      const session = this.signIn.current(id);
      if (!session) return this.#demand(exchange, site);
      const tellsGroups = !lacksGroups;
      const verdict = { isAllowed: false, missing, tellsGroups, otherRequests } as const;
      this.#send(exchange, denyAccess(this.signIn, site, exchange, session, verdict, requestId));
      return true;
    }
    return this.#isHelped(exchange, hostname, denial) && this.#demand(exchange, site);
  }

  /** Whether somebody who shows nothing, or a certificate that is not enough, could be let in once signed in. */
  #isHelped({ peer }: CallerRequest, hostname: string, denial: Denial): boolean {
    const service = this.#relay.services.table.find(hostname)?.service;
    if (!service || !(denial instanceof PolicyDenial)) return false;
    const { caller = nobody, asked } = denial;
    if (caller.kind !== "network" && caller.kind !== "certificate") return false;
    const { people } = this.#relay;
    const requirements = requirementsOf(service);
    return people.couldAllow(
      requirements,
      people.attributes(caller, peer, requirements, asked),
      (rule) => isAboutPerson(rule) && rule.provider === requirements.provider,
    );
  }

  #demand(exchange: Exchange, site: Site): true {
    this.#send(exchange, demandSignIn(this.signIn, site, exchange));
    return true;
  }

  #send(exchange: Exchange, response: Promise<Response>): void {
    response.then((response) => answerWith(exchange, response)).catch((error) => {
      this.#relay.log.error("Could not serve one of the relay's own pages", { error: error?.name });
      exchange.abort();
    });
  }

  refuseWorker(
    { serviceWorkers, policy }: Service,
    { fields }: Pick<RequestHead, "fields">,
  ): Denial | undefined {
    const isScript = getField(fields, "service-worker")?.toLowerCase() === "script";
    return isScript && serviceWorkers !== true && policy !== PUBLIC_POLICY
      ? foreignWorker
      : undefined;
  }
}

/** The service at a hostname; people sign in to it if its provider is of kind `oidc`. */
export function siteOf(
  relay: Relay,
  scheme: "https" | "http",
  hostname: string,
): Site | undefined {
  const service = relay.services.table.find(hostname)?.service;
  if (!service) return undefined;
  const provider = relay.people.provider(service.provider);
  const signsIn = service.policy !== PUBLIC_POLICY && provider?.kind === "oidc";
  const port = portOf(service, hostname);
  return {
    service: service.name,
    kind: service.kind,
    hostname,
    origin: `${scheme}://${hostname}${port === undefined ? "" : `:${port}`}`,
    provider: signsIn ? provider.name : undefined,
  };
}

function portOf({ hostnames }: Service, hostname: string): number | undefined {
  const exact = hostnames.find(({ name }) => name === hostname);
  const wildcard = `*.${hostname.replace(/^[^.]*\./, "")}`;
  return (exact ?? hostnames.find(({ name }) => name === wildcard))?.port;
}

/** Answers what no request can be made of by itself. */
async function requestOf(exchange: Exchange, origin: string): Promise<Request | undefined> {
  const request = await toRequest(exchange, origin);
  if (!(request instanceof NoRequest)) return request;
  const errors = { 400: badRequest, 405: ownMethodRefused, 413: bodyTooLarge };
  answerError(exchange, errors[request.status]);
}
