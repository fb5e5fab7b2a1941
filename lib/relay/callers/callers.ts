/**
 * Who a caller is. A bearer token, where tokens are configured, decides alone; without one, the client
 * certificate does; and where neither is asked for, everybody is let in who reaches the listener.
 */
import type {
  CallersConfig,
  CallerToken,
  CertificateRule,
  ClaimRule,
  JwtIssuer,
} from "../../domain/callers.ts";
import type { Field } from "../../http1/head.ts";
import type { Peer, PeerCertificate } from "../../net/exchange.ts";
import { isEqualInConstantTime } from "../constant_time.ts";
import { callerForbidden, callerUnknown } from "../errors.ts";
import { type Caller, Denial, type DenialReason, type Identity } from "./caller.ts";
import { anyCertificate, CallerCertificates } from "./certificates.ts";
import { type Clock, systemClock } from "./clock.ts";
import { readCredential } from "./credential.ts";
import { Hosts } from "./hosts.ts";
import { JwtVerifier, looksLikeJwt } from "./jwt.ts";
import { IssuerKeys, type KeysEvents } from "./keys.ts";
import { OpenRequests } from "./open_requests.ts";
import { anything } from "./patterns.ts";
import { CallerTokens, type TokenOwner } from "./tokens.ts";

/** What the surroundings lend. */
export interface CallersContext {
  readonly keysEvents?: KeysEvents;
  readonly clock?: Clock;
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** What of a request says who sends it; an `Exchange` is one. */
export interface CallerRequest {
  readonly head: { readonly fields: readonly Field[] };
  /** The connection: what was found out on it counts for its next request as well. */
  readonly peer: Peer;
}

/** Until a token that a connection showed is looked at again, in milliseconds. */
export const rememberedMs = 60_000;

/** A token that was accepted on a connection. */
interface Remembered extends TokenOwner {
  readonly token: string;
  /** On the monotonic clock. */
  readonly untilMs: number;
  /** The configuration that accepted it. */
  readonly edition: number;
}

const network: Caller = { kind: "network", name: "network", clusters: anything };

/** Identifies callers. */
export class Callers {
  readonly #mode: "open" | "known";
  readonly hosts: Hosts;
  readonly #clock: Clock;
  #tokens: CallerTokens | undefined;
  #certificates: CallerCertificates | undefined;
  #issuer: JwtIssuer | undefined;
  #jwt: JwtVerifier | undefined;
  readonly #keys: IssuerKeys | undefined;
  #edition = 0;
  readonly #remembered = new WeakMap<Peer, Remembered>();
  /** For connections with a certificate, of which the caller stays the same. */
  #byCertificate = new WeakMap<Peer, Caller>();
  /** What callers have begun: it ends when a list withdraws it. */
  readonly open: OpenRequests;

  private constructor(config: CallersConfig, context: CallersContext) {
    const { mode, jwt, certificates } = config;
    this.#mode = mode;
    this.hosts = new Hosts(config.hosts);
    const clock = this.#clock = context.clock ?? systemClock;
    this.open = new OpenRequests(() => clock.nowMs());
    this.#certificates = certificates && new CallerCertificates(certificates);
    if (!jwt) return;
    this.#keys = new IssuerKeys({
      url: jwt.jwksUrl,
      clock: this.#clock,
      events: context.keysEvents ?? { fetched() {}, failed() {} },
      fetch: context.fetch ?? ((url, init) => fetch(url, init)),
    });
    this.#issuer = jwt;
    this.#jwt = new JwtVerifier(jwt, this.#keys, this.#clock, () => this.#jwt);
  }

  /** Hashes the tokens and builds the parts. */
  static async create(config: CallersConfig, context: CallersContext = {}): Promise<Callers> {
    const callers = new Callers(config, context);
    if (config.tokens) callers.#tokens = await callers.#hashed(config.tokens);
    return callers;
  }

  /** Fetches the issuer's keys ahead of the first caller; never throws. */
  async prepare(): Promise<void> {
    await this.#keys?.prepare();
  }

  /** Takes other tokens from now on, on open connections too; what they do not allow any more ends. */
  async replaceTokens(tokens: readonly CallerToken[]): Promise<void> {
    this.#tokens = await this.#hashed(tokens);
    this.#edition++;
    this.open.review();
  }

  #hashed(tokens: readonly CallerToken[]): Promise<CallerTokens> {
    return CallerTokens.from(tokens, () => this.#tokens);
  }

  /** Takes other rules for certificates from now on. */
  replaceCertificates(rules: readonly CertificateRule[]): void {
    this.#certificates = new CallerCertificates(rules);
    this.#byCertificate = new WeakMap();
    this.open.review();
  }

  /** Takes other rules for JWTs' claims from now on. */
  replaceJwtRules(rules: readonly ClaimRule[]): void {
    if (!this.#issuer || !this.#keys) return;
    this.#issuer = { ...this.#issuer, rules };
    this.#jwt = new JwtVerifier(this.#issuer, this.#keys, this.#clock, () => this.#jwt);
    this.#edition++;
    this.open.review();
  }

  /**
   * Says who a request's caller is. It need not be allowed to reach the cluster: see {@link refuseCluster}.
   *
   * @returns a promise only where a token must be looked at that its connection has not shown before
   */
  identify({ head, peer }: CallerRequest): Identity | Promise<Identity> {
    if (this.#mode === "open") return this.#open(peer);
    if (!this.#tokens && !this.#jwt) return this.#byPeer(peer);
    const credential = readCredential(head.fields);
    if (credential.kind === "malformed") return malformed;
    if (credential.kind === "none") return this.#byPeer(peer);
    const { token } = credential;
    return this.#recall(peer, token) ?? this.#byToken(peer, token);
  }

  #open(peer: Peer): Caller {
    return peer.certificate ? this.#certified(peer, anyCertificate) ?? network : network;
  }

  /** Without a token: the certificate's rules decide, or that there is one if nothing else is asked. */
  #byPeer(peer: Peer): Identity {
    if (!peer.certificate) return missing;
    const rules = this.#certificates;
    if (rules) return this.#certified(peer, this.#byRules) ?? unknownCertificate;
    if (this.#tokens || this.#jwt) return missing;
    return this.#certified(peer, anyCertificate) ?? unknownCertificate;
  }

  /** By the rules of now, and with a standing by those of later. */
  readonly #byRules = (certificate: PeerCertificate): Caller | undefined => {
    const caller = this.#certificates?.find(certificate);
    return caller && {
      ...caller,
      standing: {
        expiresMs: Infinity,
        mayReach: (cluster) =>
          this.#certificates?.find(certificate)?.clusters.matches(cluster) ?? false,
      },
    };
  };

  /** The caller of a connection's certificate, found once for each connection. */
  #certified(peer: Peer, find: (certificate: PeerCertificate) => Caller | undefined) {
    const known = this.#byCertificate.get(peer);
    if (known || !peer.certificate) return known;
    const caller = find(peer.certificate);
    if (caller) this.#byCertificate.set(peer, caller);
    return caller;
  }

  async #byToken(peer: Peer, token: string): Promise<Identity> {
    const edition = this.#edition;
    const owner = await this.#ownerOf(token);
    // What has just been withdrawn must not begin: nobody would look at it again.
    if (edition !== this.#edition) return await this.#byToken(peer, token);
    if (owner instanceof Denial) return owner;
    if (this.#clock.nowMs() >= owner.expiresMs) return expired;
    const untilMs = this.#clock.monotonicMs() + rememberedMs;
    this.#remembered.set(peer, { ...owner, token, untilMs, edition });
    return owner.caller;
  }

  async #ownerOf(token: string): Promise<TokenOwner | Denial> {
    const owner = await this.#tokens?.find(token);
    if (owner) return owner;
    if (this.#jwt && looksLikeJwt(token)) return await this.#jwt.verify(token);
    return unknownToken;
  }

  /** The caller, if this very token was accepted on this connection a moment ago. */
  #recall(peer: Peer, token: string): Caller | undefined {
    const last = this.#remembered.get(peer);
    if (!last || last.edition !== this.#edition) return undefined;
    // A proxy may have several callers on one connection.
    if (!isEqualInConstantTime(token, last.token)) return undefined;
    const isOver = this.#clock.monotonicMs() >= last.untilMs ||
      this.#clock.nowMs() >= last.expiresMs;
    return isOver ? undefined : last.caller;
  }
}

/** Why a caller may not reach a cluster, of which it does not matter whether there is one, or nothing. */
export function refuseCluster(caller: Caller, cluster: string): Denial | undefined {
  return caller.clusters.matches(cluster) ? undefined : otherCluster;
}

function refuse(reason: DenialReason): Denial {
  return new Denial(reason, callerUnknown);
}

const missing = refuse("missing");
const malformed = refuse("malformed");
const expired = refuse("expired");
const unknownToken = refuse("unknown_token");
const unknownCertificate = refuse("unknown_certificate");
const otherCluster = new Denial("cluster", callerForbidden);
