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
import { digestToken } from "../digests.ts";
import { callerForbidden, callerUnknown } from "../caller_errors.ts";
import { type Caller, Denial, type DenialReason, type Identity } from "./caller.ts";
import { anyCertificate, CallerCertificates } from "./certificates.ts";
import { type Clock, systemClock } from "../../jwt/clock.ts";
import { type Credential, readCredential, sealedIn } from "./credential.ts";
import { Hosts } from "./hosts.ts";
import { looksLikeJwt } from "../../jwt/verify.ts";
import { JwtVerifier } from "./jwt.ts";
import { IssuerKeys, type KeysEvents } from "../../jwt/keys.ts";
import { OpenRequests } from "./open_requests.ts";
import { anyName } from "../../domain/name_patterns.ts";
import { CallerTokens, type TokenOwner } from "./tokens.ts";
import { VerifiedTokens } from "./verified_tokens.ts";

/** What the surroundings lend. */
export interface CallersContext {
  readonly keysEvents?: KeysEvents | undefined;
  readonly clock?: Clock | undefined;
  readonly fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
  /** SHA-256 of a token; without one, that of Web Crypto, for which each request has to wait. */
  readonly digest?: Digest | undefined;
}

/** The digest of a token's bytes. */
export type Digest = (token: string) => Uint8Array | Promise<Uint8Array>;

/** What of a request says who sends it; an `Exchange` is one. */
export interface CallerRequest {
  readonly head: { readonly fields: readonly Field[] };
  readonly peer: Peer;
}

/** Finds people by the tokens of programs for which they signed in. */
export interface SignedInPeople {
  /** @param token without its prefix */
  identifyToken(token: string): Identity | Promise<Identity>;
}

/** Looks for one kind of credential; undefined if the request has none of it. */
type CredentialReader = (request: CallerRequest) => Identity | Promise<Identity> | undefined;

const network: Caller = { kind: "network", name: "network", clusters: anyName };

/** Identifies callers. */
export class Callers {
  readonly hosts: Hosts;
  readonly #clock: Clock;
  readonly #digest: Digest;
  /** The readers in the order in which they are asked. The first that finds its credential decides alone. */
  readonly #readers: readonly CredentialReader[];
  readonly #asksForTokens: boolean;
  /** Those who signed in for a program; undefined where nobody signs in. */
  signedIn: SignedInPeople | undefined;
  #tokens: CallerTokens | undefined;
  #certificates: CallerCertificates | undefined;
  #issuer: JwtIssuer | undefined;
  #jwt: JwtVerifier | undefined;
  readonly #keys: IssuerKeys | undefined;
  /** Counts changes of lists, rules and keys. */
  #edition = 0;
  readonly #verified = new VerifiedTokens();
  /** A connection's certificate stays the same, and so does whom it names. */
  #byCertificate = new WeakMap<PeerCertificate, Identity>();
  /** What callers have begun: it ends when a list withdraws it. */
  readonly open: OpenRequests;

  private constructor(config: CallersConfig, context: CallersContext) {
    const { mode, tokens, jwt, certificates } = config;
    this.hosts = new Hosts(config.hosts);
    const clock = this.#clock = context.clock ?? systemClock;
    this.#digest = context.digest ?? digestToken;
    this.open = new OpenRequests(() => clock.nowMs());
    this.#certificates = certificates && new CallerCertificates(certificates);
    this.#asksForTokens = mode === "known" && (tokens !== undefined || jwt !== undefined);
    this.#readers = this.#readersOf(mode);
    if (!jwt) return;
    this.#keys = new IssuerKeys({
      url: jwt.jwksUrl,
      clock: this.#clock,
      events: context.keysEvents ?? { fetched() {}, failed() {} },
      fetch: context.fetch ?? ((url, init) => fetch(url, init)),
      replaced: () => this.#lookAnew(),
    });
    this.#issuer = jwt;
    this.#jwt = new JwtVerifier(jwt, this.#keys, this.#clock, () => this.#jwt);
  }

  #readersOf(mode: CallersConfig["mode"]): CredentialReader[] {
    const certificate: CredentialReader = ({ peer }) =>
      peer.certificate && this.#certified(peer.certificate);
    const signedIn: CredentialReader = ({ head }) => this.#signedIn(readCredential(head.fields));
    if (mode === "open") return [signedIn, certificate, () => network];
    if (!this.#asksForTokens) return [signedIn, certificate];
    return [(request) => this.#byBearer(request), certificate];
  }

  #signedIn(credential: Credential): Identity | Promise<Identity> | undefined {
    if (credential.kind !== "bearer" || !this.signedIn) return undefined;
    const sealed = sealedIn(credential.token);
    return sealed === undefined ? undefined : this.signedIn.identifyToken(sealed);
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
    this.#lookAnew();
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
    this.#lookAnew();
    this.open.review();
  }

  /** What was found out about tokens before counts no longer, nor what is being found out. */
  #lookAnew(): void {
    this.#edition++;
    this.#verified.clear();
  }

  /**
   * Says who a request's caller is. It need not be allowed to reach the cluster: see {@link refuseCluster}.
   *
   * @returns a promise only where a token must be verified that was not in the last minute
   */
  identify(request: CallerRequest): Identity | Promise<Identity> {
    for (const read of this.#readers) {
      const identity = read(request);
      if (identity) return identity;
    }
    return missing;
  }

  /** A certificate's rules decide, or that there is one if nothing else is asked for. */
  #certified(certificate: PeerCertificate): Identity | undefined {
    const rules = this.#certificates;
    if (!rules && this.#asksForTokens) return undefined;
    const known = this.#byCertificate.get(certificate);
    if (known) return known;
    const identity = rules ? this.#byRules(rules, certificate) : anyCertificate(certificate);
    this.#byCertificate.set(certificate, identity);
    return identity;
  }

  /** Decides by the present rules; the grant follows later ones. */
  #byRules(rules: CallerCertificates, certificate: PeerCertificate): Identity {
    const caller = rules.find(certificate);
    if (!caller) return unknownCertificate;
    return {
      ...caller,
      grant: {
        expiresMs: Infinity,
        isValid: () => this.#certificates?.find(certificate) !== undefined,
        mayReach: (cluster) =>
          this.#certificates?.find(certificate)?.clusters.matches(cluster) ?? false,
      },
    };
  }

  #byBearer({ head }: CallerRequest): Identity | Promise<Identity> | undefined {
    return this.byCredential(readCredential(head.fields));
  }

  /** The digest by which a token is looked for. */
  digest(token: string): Uint8Array | Promise<Uint8Array> {
    return this.#digest(token);
  }

  /**
   * Says whose token a request came with, whatever else callers are asked for.
   *
   * @returns undefined if there is none
   */
  byCredential(credential: Credential): Identity | Promise<Identity> | undefined {
    if (credential.kind === "malformed") return malformed;
    if (credential.kind === "none") return undefined;
    const signedIn = this.#signedIn(credential);
    if (signedIn) return signedIn;
    const { token } = credential;
    const digest = this.#digest(token);
    if (!(digest instanceof Promise)) return this.#recall(digest) ?? this.#verify(token, digest);
    return digest.then((digest) => this.#recall(digest) ?? this.#verify(token, digest));
  }

  /** The caller, if this token was accepted a moment ago. */
  #recall(digest: Uint8Array): Caller | undefined {
    const owner = this.#verified.find(digest.toHex(), this.#clock.monotonicMs());
    return owner && this.#clock.nowMs() < owner.expiresMs ? owner.caller : undefined;
  }

  async #verify(token: string, digest: Uint8Array): Promise<Identity> {
    const edition = this.#edition;
    const owner = await this.#ownerOf(token, digest);
    // What has just been withdrawn must not begin: nobody would look at it again.
    if (edition !== this.#edition) return await this.#verify(token, digest);
    if (owner instanceof Denial) return owner;
    if (this.#clock.nowMs() >= owner.expiresMs) return expired;
    this.#verified.add(digest.toHex(), owner, this.#clock.monotonicMs());
    return owner.caller;
  }

  async #ownerOf(token: string, digest: Uint8Array): Promise<TokenOwner | Denial> {
    const owner = this.#tokens?.find(digest);
    if (owner) return owner;
    if (this.#jwt && looksLikeJwt(token)) return await this.#jwt.verify(token);
    return unknownToken;
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
/** The denial of a caller whose credential was withdrawn since it was checked. */
export const withdrawn = refuse("withdrawn");
const otherCluster = new Denial("cluster", callerForbidden);
