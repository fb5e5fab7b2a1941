/**
 * Who has signed in, and how those who have not get there: the state that the pages of the login host
 * and of the services' hosts share.
 */
import type { JWTPayload } from "jose";
import { type Field, getField } from "../../http1/head.ts";
import type { Log } from "../../log.ts";
import type { Grant } from "../callers/caller.ts";
import type { Clock } from "../../jwt/clock.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import { cookieNames, readCookie, setCookie } from "../relay_cookies.ts";
import { Handoff } from "./handoff.ts";
import type { LoginHost } from "./login_host.ts";
import { type OidcClient, OidcProvider, type VerifiedSignIn } from "./oidc_provider.ts";
import { OpenedSeals } from "./opened_seals.ts";
import { PeopleSessions } from "./people_sessions.ts";
import { ProviderError } from "./provider_error.ts";
import type { SessionKeys } from "./seals.ts";
import type { SessionClient, SessionRecord, Sessions } from "./sessions/sessions.ts";
import type { AccessDecision, DecideAccess, Site } from "./site.ts";
import { DeviceCodes, type DeviceStore } from "./programs/device_codes.ts";
import { auditedSession, type SignInAudit } from "./sign_in_audit.ts";
import { randomText } from "./transactions.ts";

/** How long claims are believed before the provider is asked again, in milliseconds. */
export const freshMs = 10 * 60_000;
/** When a provider is asked again that could not be reached, in milliseconds. */
const retryMs = 30_000;
/** How long before an ID token expires that agents are to verify, in milliseconds. */
const proofSpareMs = 60_000;
/** Characters of a session's claims as JSON: more would not be an identity. */
const maxClaimUnits = 256 * 1024;

/** How people sign in. */
export interface SignInOptions {
  /** The origin of the login host. */
  readonly loginOrigin: string;
  /** How long a session lasts at most, in milliseconds. */
  readonly sessionMs: number;
  /** The provider of whoever signs in for no service; the first one unless given. */
  readonly provider?: string | undefined;
  /** Whether people may sign in for programs on other machines, by a code. */
  readonly deviceFlow?: boolean | undefined;
}

/** What surrounds sign-in. */
export interface SignInContext {
  readonly clock: Clock;
  readonly log: Log;
  /** The audit log, if there is one. */
  readonly audit?: SignInAudit | undefined;
  readonly keys: SessionKeys;
  readonly sessions: Sessions;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** The service in force at a hostname, without a port. */
  readonly siteOf: (hostname: string) => Site | undefined;
  readonly decide: DecideAccess;
  /** Where codes of programs wait for their persons. */
  readonly devices?: DeviceStore | undefined;
  /** Whether agents may ask for providers' ID tokens; they are kept only then. */
  readonly keepsProof?: (() => boolean) | undefined;
}

/** A person who can't be taken: the sentence says why, to the person. */
export class SignInRefusal {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

const signedOutMeanwhile = new SignInRefusal("the account was signed out in the meantime");

function sessionIn(claims: JWTPayload | undefined): string | undefined {
  return claims?.["sid"] as string | undefined;
}

/** Sign-in for the services of a relay. */
export class SignIn implements LoginHost {
  readonly context: SignInContext;
  readonly handoff: Handoff;
  /** People's sessions for operators. */
  readonly people: PeopleSessions;
  #options: SignInOptions;
  #providers = new Map<string, OidcProvider>();
  readonly #opened: OpenedSeals;
  readonly #refreshing = new Map<string, Promise<SessionRecord | undefined>>();

  constructor(options: SignInOptions, clients: readonly OidcClient[], context: SignInContext) {
    this.context = context;
    this.#options = options;
    this.handoff = new Handoff(this);
    this.people = new PeopleSessions(context);
    this.#opened = new OpenedSeals(context);
    this.replace(options, clients);
  }

  /** Takes another configuration; sessions go on as far as their provider is still there. */
  replace(options: SignInOptions, clients: readonly OidcClient[]): void {
    const { clock, fetch } = this.context;
    this.#options = options;
    const before = this.#providers;
    this.#providers = new Map(clients.map((client) => {
      const known = before.get(client.name);
      const isSame = known && JSON.stringify(known.config) === JSON.stringify(client) &&
        known.config.nameOf === client.nameOf;
      return [client.name, isSame ? known : new OidcProvider(client, { clock, fetch })];
    }));
  }

  /** Other keys open cookies from now on. */
  keysReplaced(): void {
    this.#opened.clear();
  }

  get loginOrigin(): string {
    return this.#options.loginOrigin;
  }

  /** The login host without its port. */
  get loginHostname(): string {
    return new URL(this.#options.loginOrigin).hostname;
  }

  /** The login host itself, for those who sign in without a service; undefined without the provider. */
  loginSite(provider: string | undefined): Site | undefined {
    if (!this.provider(provider)) return undefined;
    const { loginHostname: hostname, loginOrigin: origin } = this;
    return { service: "login", kind: "http", hostname, origin, provider };
  }

  /** A provider of kind `oidc`. */
  provider(name: string | undefined): OidcProvider | undefined {
    return name === undefined ? undefined : this.#providers.get(name);
  }

  /** Sign-ins by a code; undefined where they are not allowed. */
  get devices(): DeviceCodes | undefined {
    const { devices } = this.context;
    return this.#options.deviceFlow && devices ? new DeviceCodes(this, devices) : undefined;
  }

  /** The provider of whoever signs in for no service. */
  get usualProvider(): string | undefined {
    return (this.provider(this.#options.provider) ?? this.providers[0])?.config.name;
  }

  /** All of them. */
  get providers(): readonly OidcProvider[] {
    return [...this.#providers.values()];
  }

  /**
   * The session that a request to a service shows, if it is alive.
   *
   * @returns a promise only for a cookie that was not opened lately, or a session whose claims are old
   */
  identify(
    fields: readonly Field[],
    site: Site,
  ): SessionRecord | undefined | Promise<SessionRecord | undefined> {
    const cookie = readCookie(fields, cookieNames(site.origin).session);
    if (cookie === undefined) return undefined;
    return this.#identified("session", site.hostname, cookie, site.provider);
  }

  /** The session of a request to the login host. */
  async atLogin(fields: readonly Field[]): Promise<SessionRecord | undefined> {
    const cookie = readCookie(fields, cookieNames(this.loginOrigin).login);
    if (cookie === undefined) return undefined;
    return await this.#identified("login", this.loginHostname, cookie, undefined);
  }

  #identified(
    purpose: "session" | "login",
    hostname: string,
    cookie: string,
    provider: string | undefined,
  ): SessionRecord | undefined | Promise<SessionRecord | undefined> {
    const host = purpose === "session" ? hostname : undefined;
    const opened = this.#opened.open(purpose, hostname, cookie);
    if (opened instanceof Promise) {
      return opened.then((claims) => this.#alive(sessionIn(claims), provider, host));
    }
    return this.#alive(sessionIn(opened), provider, host);
  }

  /** What a program's token says; undefined for any text that is none. */
  openAccess(token: string): JWTPayload | undefined | Promise<JWTPayload | undefined> {
    return this.#opened.open("access", this.loginHostname, token);
  }

  /** The session with an id, if it is alive; its claims are asked for anew when they are old. */
  session(id: string): SessionRecord | undefined | Promise<SessionRecord | undefined> {
    return this.#alive(id, undefined, undefined);
  }

  #alive(
    id: string | undefined,
    provider: string | undefined,
    host: string | undefined,
  ): SessionRecord | undefined | Promise<SessionRecord | undefined> {
    if (id === undefined) return undefined;
    const found = this.context.sessions.find(id);
    return found instanceof Promise
      ? found.then((record) => this.#fresh(record, provider, host))
      : this.#fresh(found, provider, host);
  }

  #fresh(
    record: SessionRecord | undefined,
    provider: string | undefined,
    host: string | undefined,
  ): SessionRecord | undefined | Promise<SessionRecord | undefined> {
    if (!record || !this.#providers.has(record.provider)) return undefined;
    if (provider !== undefined && record.provider !== provider) return undefined;
    const now = this.context.clock.nowMs();
    this.context.sessions.seen(record.id, now, host);
    return now < record.freshUntilMs ? record : this.#refresh(record);
  }

  /** How a session stands later on: what it has begun ends with it. */
  grantOf({ id, expiresMs }: SessionRecord): Grant {
    const isValid = (nowMs: number): boolean => {
      const isAlive = this.current(id, nowMs) !== undefined;
      // What is open is in use, though nothing new is asked for: a terminal, say.
      if (isAlive) this.context.sessions.seen(id, nowMs, undefined);
      return isAlive;
    };
    return { expiresMs, isValid, mayReach: (_cluster, nowMs) => isValid(nowMs) };
  }

  /** A session as it is now; undefined if it has ended. */
  current(id: string, nowMs = this.context.clock.nowMs()): SessionRecord | undefined {
    const record = this.context.sessions.known(id);
    if (!record || !this.#providers.has(record.provider)) return undefined;
    // Nobody waits here: what the provider says ends the session, or it does not.
    if (nowMs >= record.freshUntilMs) void this.#refresh(record);
    return record;
  }

  /** What the policy of a hostname's service says now; undefined if there is none any more. */
  decide(hostname: string, session: SessionRecord, address: string): AccessDecision | undefined {
    const site = this.context.siteOf(hostname);
    if (!site || site.provider !== session.provider) return undefined;
    return this.context.decide(site, session, address);
  }

  /** Asks the provider again, once at a time for each session. Never rejects. */
  #refresh(record: SessionRecord): Promise<SessionRecord | undefined> {
    const running = this.#refreshing.get(record.id);
    if (running) return running;
    const refreshed = this.#refreshed(record).catch((error) => this.#notKept(record, error))
      .finally(() => this.#refreshing.delete(record.id));
    this.#refreshing.set(record.id, refreshed);
    return refreshed;
  }

  /** Nobody may wait for a refresh, and then nobody would take its error: it would end the process. */
  #notKept({ provider, id: session }: SessionRecord, error: unknown): undefined {
    // The message may cite what was to be kept.
    const name = error instanceof Error ? error.name : typeof error;
    this.context.log.error("Could not store a refreshed session; refused the request", {
      provider,
      session,
      error: name,
    });
  }

  async #refreshed(record: SessionRecord): Promise<SessionRecord | undefined> {
    const { clock, log, sessions } = this.context;
    const provider = this.#providers.get(record.provider);
    if (!provider) return undefined;
    // Another relay may have asked meanwhile.
    const mine = await sessions.beginRefresh(record);
    if (mine !== "mine") return mine;
    // Whoever has asked before this relay has got another refresh token.
    const latest = sessions.known(record.id) ?? record;
    const { refreshToken } = latest;
    if (refreshToken === undefined) return await this.#keep(latest, latest.expiresMs);
    try {
      const verified = await provider.refresh(refreshToken, latest);
      const person = this.#personOf(provider, verified);
      if (person instanceof SignInRefusal) throw new ProviderError("ended", person.message);
      await sessions.update({ ...latest, ...person, freshUntilMs: this.#freshUntilMs(person) });
      // A logout may have come while the provider was asked.
      return sessions.known(record.id);
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      const about = { provider: record.provider, session: record.id };
      const { message } = error;
      if (error.kind !== "ended") {
        log.warn("Could not refresh a session; it continues", { ...about, error: message });
        return await this.#keep(latest, clock.nowMs() + retryMs);
      }
      log.info("Ended a session: its provider refused to refresh it", {
        ...about,
        reason: message,
      });
      this.context.audit?.("session_ended", { ...auditedSession(record), reason: message });
      await sessions.end(record.id);
      return undefined;
    }
  }

  async #keep(record: SessionRecord, freshUntilMs: number): Promise<SessionRecord | undefined> {
    const { sessions } = this.context;
    await sessions.update({ ...record, freshUntilMs: Math.min(freshUntilMs, record.expiresMs) });
    return sessions.known(record.id);
  }

  #personOf({ config }: OidcProvider, verified: VerifiedSignIn) {
    const username = config.nameOf(verified.claims);
    if (typeof username !== "string") return new SignInRefusal(username.fault);
    if (!isPrintableName(username) || !isPrintableName(verified.subject)) {
      return new SignInRefusal("the account has a name that is not printable");
    }
    if (JSON.stringify(verified.claims).length > maxClaimUnits) {
      return new SignInRefusal(`the account's claims are over ${maxClaimUnits} characters`);
    }
    const { claims, tokenClaims, refreshToken, providerSession, issuedMs } = verified;
    const person = { username, claims, tokenClaims, refreshToken, issuedMs };
    const proof = this.context.keepsProof?.() ? verified.proof : undefined;
    return { ...person, ...providerSession && { providerSession }, ...proof && { proof } };
  }

  /** An ID token that agents are to verify is renewed before it expires. */
  #freshUntilMs({ proof }: Pick<SessionRecord, "proof">): number {
    const nowMs = this.context.clock.nowMs();
    if (!proof) return nowMs + freshMs;
    const renewMs = Math.max(proof.expiresMs - proofSpareMs, nowMs + retryMs);
    return Math.min(nowMs + freshMs, renewMs);
  }

  /**
   * Begins a session of the login host, always under a new id: whoever knew the one before must not
   * have the new one. The browser's session before ends.
   *
   * @param client The program and machine that signs in for itself, and the hosts that it may use.
   */
  async begin(
    provider: OidcProvider,
    verified: VerifiedSignIn,
    before: SessionRecord | undefined,
    client?: SessionClient,
  ): Promise<SessionRecord | SignInRefusal> {
    const { clock, log, sessions } = this.context;
    const { name, issuer } = provider.config;
    const person = this.#personOf(provider, verified);
    if (person instanceof SignInRefusal) return person;
    const { subject, providerSession, issuedMs } = verified;
    const issued = { issuer, subject, providerSession, issuedMs };
    if (await sessions.isEnded(issued)) return signedOutMeanwhile;
    const now = clock.nowMs();
    const record: SessionRecord = {
      id: randomText(18),
      provider: name,
      issuer,
      subject,
      providerSession: undefined,
      ...person,
      signedInMs: now,
      expiresMs: now + this.#options.sessionMs,
      freshUntilMs: this.#freshUntilMs(person),
      ...client && { client },
    };
    const isSame = before?.provider === name && before.subject === subject;
    if (before && !isSame) await sessions.end(before.id);
    await sessions.put(record, isSame ? before.id : undefined);
    // A logout that came between the first look and now did not find this session.
    if (await sessions.isEnded(issued)) {
      await sessions.end(record.id);
      return signedOutMeanwhile;
    }
    log.info("Signed in", {
      user: record.username,
      provider: name,
      session: record.id,
      skew_s: verified.skewSeconds,
      ...client && { program: client.name, hosts: client.hosts.join(", ") },
    });
    return record;
  }

  /** The `Set-Cookie` of a session: at the login host, or at a service's. */
  async cookieFor(record: SessionRecord, site?: Site): Promise<string> {
    const names = cookieNames(site?.origin ?? this.loginOrigin);
    const lifetimeMs = record.expiresMs - this.context.clock.nowMs();
    const purpose = site ? "session" : "login";
    const hostname = site?.hostname ?? this.loginHostname;
    const claims = { sid: record.id, prv: record.provider };
    const value = await this.context.keys.seal(purpose, hostname, claims, lifetimeMs);
    return setCookie(names, site ? names.session : names.login, value, lifetimeMs);
  }

  /** Whether a request to change something comes from a page of this origin itself. */
  isOwnForm(fields: readonly Field[], origin: string): boolean {
    const site = getField(fields, "sec-fetch-site");
    if (site !== undefined) return site === "same-origin" || site === "none";
    return getField(fields, "origin") === origin;
  }
}
