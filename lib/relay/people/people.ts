/** Who people are, and what policies let them open. */
import type { PolicyEntry } from "../../domain/policy.ts";
import { callerJwtProvider, type JwtHeaderProvider, type Provider } from "../../domain/provider.ts";
import type { Clock } from "../../jwt/clock.ts";
import { IssuerKeys, type KeysEvents } from "../../jwt/keys.ts";
import type { Peer } from "../../net/exchange.ts";
import type { Asked } from "../../policies/asked.ts";
import {
  type CallerAttributes,
  TokenClaims,
  type VerifiedClaims,
} from "../../policies/caller_attributes.ts";
import { Policies } from "../../policies/policies.ts";
import type { Decision, Policy } from "../../policies/policy.ts";
import type { Rule } from "../../policies/rule.ts";
import type { Caller, Identity } from "../callers/caller.ts";
import type { CallerRequest, Digest } from "../callers/callers.ts";
import { type AccessRequirements, attributesOf } from "./access_requirements.ts";
import { HeaderProvider } from "./header_provider.ts";

/** Who vouches for people, and who may open what. */
export interface PeopleConfig {
  readonly providers: readonly Provider[];
  readonly policies: readonly PolicyEntry[];
  /** Where people sign in, which assertions name as their issuer, and who may see the status there. */
  readonly login?: {
    readonly host: { readonly name: string };
    readonly statusPolicy?: string | undefined;
  } | undefined;
}

/** Finds a person by the session that a request's cookie names. */
export interface SessionReader {
  /** @returns undefined if the request has no session */
  identify(
    request: CallerRequest,
    requirements: AccessRequirements,
  ): Identity | Promise<Identity | undefined> | undefined;
}

/** What the surroundings lend. */
export interface PeopleContext {
  readonly clock: Clock;
  readonly digest: Digest;
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
  readonly keysEvents: KeysEvents;
  /** The issuer of `--caller-jwt-issuer`. */
  readonly callerIssuer?: string | undefined;
  /** Providers or policies have changed: what they no longer let in must end. */
  readonly changed: () => void;
}

/** Providers and policies, which the configuration may replace at any time. */
export class People {
  readonly #context: PeopleContext;
  #providers = new Map<string, Provider>();
  #headers = new Map<string, HeaderProvider>();
  #issuer: string | undefined;
  #statusPolicy: string | undefined;
  #callerProvider: string | undefined;
  #headerNames: readonly string[] = [];
  #policies = Policies.none;
  /** The keys of each issuer by URL, so that a change of the configuration does not lose them. */
  readonly #keys = new Map<string, IssuerKeys>();
  /** Sessions of providers at which the relay itself signs people in. */
  sessions: SessionReader | undefined;

  private constructor(context: PeopleContext) {
    this.#context = context;
  }

  /** Makes policies and providers of their entries. */
  static async create(config: PeopleConfig, context: PeopleContext): Promise<People> {
    const people = new People(context);
    await people.#use(config);
    return people;
  }

  /**
   * Uses other providers and policies. What was begun by whom they do not let in ends.
   *
   * @param together What changes in the same moment, such as the services that name the policies.
   */
  async replace(config: PeopleConfig, together?: () => void): Promise<void> {
    await this.#use(config);
    together?.();
    this.#context.changed();
  }

  async #use({ providers, policies, login }: PeopleConfig): Promise<void> {
    const made = await Policies.from(policies, providers.map(({ name }) => name));
    const headers = providers.filter((provider) => provider.kind === "jwt-header");
    this.#issuer = login?.host.name;
    this.#statusPolicy = login?.statusPolicy;
    const { callerIssuer } = this.#context;
    this.#callerProvider = providers.find(({ issuer }) => issuer === callerIssuer)?.name;
    this.#headerNames = headers.map(({ header }) => header.toLowerCase());
    const before = this.#headers;
    const old = this.#providers;
    this.#policies = made;
    this.#providers = new Map(providers.map((provider) => [provider.name, provider]));
    this.#headers = new Map(headers.map((provider) => {
      const isSame = isDeepEqual(old.get(provider.name), provider);
      return [provider.name, isSame ? before.get(provider.name)! : this.#headerProvider(provider)];
    }));
    this.#dropUnusedKeys(headers);
  }

  #headerProvider(provider: JwtHeaderProvider): HeaderProvider {
    const { clock, digest } = this.#context;
    const made: HeaderProvider = new HeaderProvider(provider, {
      keys: this.#keysOf(provider.jwksUrl),
      clock,
      digest,
      isInUse: () => this.#headers.get(provider.name) === made,
    });
    return made;
  }

  #keysOf(url: string): IssuerKeys {
    const known = this.#keys.get(url);
    if (known) return known;
    const { clock, fetch, keysEvents: events } = this.#context;
    const keys = new IssuerKeys({ url, clock, events, fetch, replaced: () => this.#forget() });
    this.#keys.set(url, keys);
    return keys;
  }

  #dropUnusedKeys(headers: readonly JwtHeaderProvider[]): void {
    const used = new Set(headers.map(({ jwksUrl }) => jwksUrl));
    for (const url of this.#keys.keys()) if (!used.has(url)) this.#keys.delete(url);
  }

  #forget(): void {
    for (const provider of this.#headers.values()) provider.forget();
  }

  /** Fetches providers' keys ahead of the first request; never throws. */
  async prepare(): Promise<void> {
    await Promise.all([...this.#keys.values()].map((keys) => keys.prepare()));
  }

  /** The login host; undefined where nobody signs in. */
  get issuer(): string | undefined {
    return this.#issuer;
  }

  /** The policy of those who may see the relay's status on the login host; without one, nobody may. */
  get statusPolicy(): string | undefined {
    return this.#statusPolicy;
  }

  /** Names of the headers that have JWTs, in lower case: no target gets them. */
  get headerNames(): readonly string[] {
    return this.#headerNames;
  }

  /** The provider whose issuer is that of `--caller-jwt-issuer`, if there is one. */
  get callerProvider(): string | undefined {
    return this.#callerProvider;
  }

  /**
   * The provider whose people reach clusters under their paths, by JWTs or by signing in; nothing where
   * there are several, as one name may mean two people then.
   */
  get clusterProviders(): readonly string[] {
    const { callerIssuer } = this.#context;
    const jwt = callerIssuer === undefined ? [] : [this.#callerProvider ?? callerJwtProvider];
    const signingIn = [...this.#providers.values()].filter(({ kind }) => kind === "oidc")
      .map(({ name }) => name);
    const names = [...new Set([...jwt, ...signingIn])];
    return names.length === 1 ? names : [];
  }

  /** A provider by its name. */
  provider(name: string | undefined): Provider | undefined {
    return name === undefined ? undefined : this.#providers.get(name);
  }

  /** The policy of something guarded, or nothing if there is none of this name any more. */
  policyOf({ policy, provider }: AccessRequirements): Policy | undefined {
    return this.#policies.find(policy, provider);
  }

  /**
   * Whom a request's ambient credential names: the JWT of a proxy in front, or the cookie of a session.
   *
   * @returns undefined if it has none that counts here
   */
  ambient(
    request: CallerRequest,
    requirements: AccessRequirements,
  ): Identity | Promise<Identity | undefined> | undefined {
    const provider = this.provider(requirements.provider);
    if (provider?.kind === "jwt-header" && requirements.audience !== undefined) {
      return this.#headers.get(provider.name)?.identify(request, requirements.audience);
    }
    return provider?.kind === "oidc" ? this.sessions?.identify(request, requirements) : undefined;
  }

  /** What is known of a caller at something guarded, and what it asks for. */
  attributes(
    caller: Caller,
    peer: Peer,
    requirements: AccessRequirements,
    asked: Asked,
  ): CallerAttributes {
    const attributes = attributesOf(caller, peer, asked);
    const verifiedClaims = this.verifiedClaims(caller, requirements);
    return verifiedClaims === attributes.verifiedClaims
      ? attributes
      : { ...attributes, verifiedClaims };
  }

  /** What a provider says of a caller at something guarded; undefined where none does. */
  verifiedClaims(caller: Caller, requirements: AccessRequirements): VerifiedClaims | undefined {
    const verifiedClaims = caller.person?.verifiedClaims;
    const provider = this.provider(requirements.provider);
    // Programs may bring JWTs of the very issuer at which people sign in.
    const isSameIssuer = verifiedClaims instanceof TokenClaims &&
      verifiedClaims.provider === callerJwtProvider && provider !== undefined &&
      provider.issuer === this.#context.callerIssuer;
    return isSameIssuer ? verifiedClaims.as(provider.name, provider.claims) : verifiedClaims;
  }

  /** What the policy of something guarded says now; a policy that is gone lets nobody in. */
  decide(requirements: AccessRequirements, attributes: CallerAttributes): Decision {
    return this.policyOf(requirements)?.decide(attributes) ?? { isAllowed: false, missing: [] };
  }

  /** The same without the reasons. */
  allows(requirements: AccessRequirements, attributes: CallerAttributes): boolean {
    return this.policyOf(requirements)?.allows(attributes) ?? false;
  }

  /** Whether it would let them in if they also met those of its rules that could be met. */
  couldAllow(
    requirements: AccessRequirements,
    attributes: CallerAttributes,
    couldBeMet: (rule: Rule) => boolean,
  ): boolean {
    return this.policyOf(requirements)?.couldAllow(attributes, couldBeMet) ?? false;
  }
}

function isDeepEqual(one: Provider | undefined, other: Provider): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
