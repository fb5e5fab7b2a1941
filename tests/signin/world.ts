/** Sign-in with its hosts, a provider and browsers, all in one process and without sockets. */
import { field } from "../../lib/http1/head.ts";
import type { Log } from "../../lib/log.ts";
import { demandSignIn, denyAccess } from "../../lib/relay/signin/answers.tsx";
import { pageOf } from "../../lib/relay/pages/pager.tsx";
import type { PortalService } from "../../lib/relay/pages/portal.tsx";
import { loginApp, type LoginPages } from "../../lib/relay/signin/login_app.tsx";
import { serviceApp } from "../../lib/relay/signin/service_app.tsx";
import { SessionKeys } from "../../lib/relay/signin/seals.ts";
import { MemorySessions } from "../../lib/relay/signin/sessions/memory_sessions.ts";
import type { SessionRecord } from "../../lib/relay/signin/sessions/sessions.ts";
import { SignIn } from "../../lib/relay/signin/sign_in.ts";
import type { AccessDecision, Site } from "../../lib/relay/signin/site.ts";
import { clientId, clientSecret, FakeProvider } from "./fake_provider.ts";

/** A line of the log. */
export interface Line {
  readonly message: string;
  readonly [name: string]: unknown;
}

const address = "192.0.2.7";

/** A provider behind a socket. */
export interface RealProvider {
  readonly issuer: string;
  readonly scopes: readonly string[];
}

export class World {
  readonly lines: Line[] = [];
  /** Added to the clock of the relay, not of the provider. */
  aheadMs = 0;
  /** What the policy says. */
  policy: (session: SessionRecord, site: Site) => AccessDecision = () => ({
    isAllowed: true,
    rules: [],
  });
  readonly sites = new Map<string, Site>();
  /** What the portal lists, and who may see the status. */
  services: readonly PortalService[] = [];
  maySeeStatus = false;
  readonly pages: LoginPages = {
    services: (_session, _address, list) =>
      Promise.resolve(pageOf(this.services, list, 60, ({ name }) => name)),
    maySeeStatus: () => this.maySeeStatus,
  };
  ended = 0;
  /** Requests that reached a target: their cookies. */
  readonly forwarded: { readonly url: string; readonly session: SessionRecord }[] = [];

  private constructor(
    readonly provider: FakeProvider,
    readonly keys: SessionKeys,
    readonly sessions: MemorySessions,
    readonly signIn: SignIn,
    readonly real: RealProvider | undefined,
  ) {
    for (const name of ["app", "other"]) this.addSite(name);
  }

  addSite(name: string): void {
    const hostname = `${name}.example.com`;
    const origin = `https://${hostname}`;
    this.sites.set(hostname, { service: name, kind: "http", hostname, origin, provider: "corp" });
  }

  /** @param real another provider than the one without sockets */
  static async create(real?: RealProvider): Promise<World> {
    const secret = new Uint8Array(32).fill(7);
    const provider = await FakeProvider.create();
    let world: World | undefined = undefined as World | undefined;
    const clock = {
      nowMs: () => Date.now() + (world?.aheadMs ?? 0),
      monotonicMs: () => performance.now() + (world?.aheadMs ?? 0),
    };
    const keys = await SessionKeys.from([secret], clock);
    const sessions = new MemorySessions({
      nowMs: clock.nowMs,
      idleMs: 3_600_000,
      relay: "relay-1",
      changed: () => void (world && world.ended++),
    });
    const add = (message: string, properties?: Record<string, unknown>) =>
      void world?.lines.push({ ...properties, message });
    const log: Log = { debug: add, info: add, warn: add, error: add };
    const signIn = new SignIn({
      loginOrigin: "https://login.example.com",
      sessionMs: 12 * 3_600_000,
    }, [{
      name: "corp",
      issuer: real?.issuer ?? provider.issuer,
      clientId,
      clientSecret,
      scopes: real?.scopes ?? ["openid", "email"],
      nameOf: (claims) =>
        typeof claims["email"] !== "string"
          ? { fault: "no e-mail address" }
          : claims["email_verified"] === true
          ? claims["email"]
          : { fault: "the e-mail address is not verified" },
    }], {
      clock,
      log,
      keys,
      sessions,
      fetch: real ? (url, init) => fetch(url, init) : provider.fetch,
      siteOf: (hostname) => world?.sites.get(hostname),
      decide: (site, session) => world!.policy(session, site),
    });
    return world = new World(provider, keys, sessions, signIn, real);
  }

  /** What a server answers a browser. */
  async answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    if (this.real && url.origin === new URL(this.real.issuer).origin) {
      return await fetch(request, { redirect: "manual" });
    }
    if (url.origin === this.provider.issuer) {
      return url.pathname === "/authorize"
        ? this.provider.authorize(url)
        : new Response("the provider's page");
    }
    // As `Request` normalises nothing of the path here, what was asked for is what is left behind it.
    const target = request.url.slice(url.origin.length);
    const fields = [...request.headers].map(([name, value]) => field(name, value));
    if (url.origin === this.signIn.loginOrigin) {
      return await loginApp(this.signIn, this.pages).fetch(request, {
        fields,
        address,
        requestId: "r-1",
      });
    }
    const site = this.sites.get(url.hostname);
    if (!site) return new Response(null, { status: 421 });
    const head = { method: request.method, target, fields };
    if (url.pathname.startsWith("/.culvert/")) {
      return await serviceApp(this.signIn).fetch(request, { fields, address, site });
    }
    const session = await this.signIn.identify(fields, site);
    if (!session) return await demandSignIn(this.signIn, site, { head });
    const verdict = this.signIn.decide(site.hostname, session, address)!;
    if (!verdict.isAllowed) {
      return await denyAccess(this.signIn, site, { head }, session, verdict, "r-1");
    }
    this.forwarded.push({ url: request.url, session });
    return new Response(`hello ${session.username} at ${target}`);
  }
}

/** What a navigation of a browser's says about itself. */
export const navigation = {
  Accept: "text/html,application/xhtml+xml",
  "Sec-Fetch-Mode": "navigate",
  "Sec-Fetch-Dest": "document",
  "Sec-Fetch-Site": "none",
};

/** Keeps cookies for each host, and follows redirects. */
export class Browser {
  readonly #world: World;
  readonly jars = new Map<string, Map<string, string>>();
  /** The most cookies of sign-ins that one host had at a time. */
  maxTransactions = 0;

  constructor(world: World) {
    this.#world = world;
  }

  jar(hostname: string): Map<string, string> {
    const jar = this.jars.get(hostname) ?? new Map<string, string>();
    this.jars.set(hostname, jar);
    return jar;
  }

  /** One request, whose answer's cookies are kept. */
  async send(url: string, init: RequestInit = {}): Promise<Response> {
    const { hostname } = new URL(url);
    const jar = this.jar(hostname);
    const headers = new Headers(init.headers);
    const cookies = [...jar].map(([name, value]) => `${name}=${value}`).join("; ");
    if (cookies !== "" && !headers.has("Cookie")) headers.set("Cookie", cookies);
    const answer = await this.#world.answer(new Request(url, { ...init, headers }));
    for (const line of answer.headers.getSetCookie()) {
      const [pair = "", ...attributes] = line.split(";");
      const equals = pair.indexOf("=");
      const [name, value] = [pair.slice(0, equals), pair.slice(equals + 1)];
      const isOver = attributes.some((it) => /^ *(?:max-age=0|expires=.*1970.*)$/i.test(it));
      if (isOver) jar.delete(name);
      else jar.set(name, value);
    }
    const transactions = [...jar.keys()].filter((name) => name.includes("-t-")).length;
    this.maxTransactions = Math.max(this.maxTransactions, transactions);
    return answer;
  }

  /** Opens a page and follows to where it leads. */
  async open(url: string, stop: (url: string) => boolean = () => false): Promise<Page> {
    for (let hops = 0; hops < 20; hops++) {
      const answer = await this.send(url, { headers: navigation });
      const location = answer.headers.get("Location");
      if (location === null || stop(location)) return { url, answer, location };
      await answer.body?.cancel();
      url = new URL(location, url).href;
    }
    throw new Error(`Goes round in a circle at ${url}`);
  }
}

/** Where a browser has come to. */
export interface Page {
  readonly url: string;
  readonly answer: Response;
  /** Where it was told to go and did not. */
  readonly location: string | null;
}
