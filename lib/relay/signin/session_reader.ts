/** Finds callers by the cookies of their sessions, and by the tokens of programs' sessions. */
import type { JWTPayload } from "jose";
import { anyName, NamePatterns } from "../../domain/name_patterns.ts";
import type { ClaimNames } from "../../domain/provider.ts";
import type { VerifiedClaims } from "../../policies/caller_attributes.ts";
import { TokenClaims } from "../../policies/caller_attributes.ts";
import type { PersonRule } from "../../policies/rule.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import { callerUnknown } from "../caller_errors.ts";
import type { SessionRecord } from "./sessions/sessions.ts";
import type { SignIn } from "./sign_in.ts";
import type { Site } from "./site.ts";

/** Where the claims of a session's provider say what. */
export type NamesOf = (provider: string) => ClaimNames | undefined;

/** Makes callers of sessions. */
export class SessionReader {
  readonly #signIn: SignIn;
  readonly #siteOf: (request: CallerRequest) => Site | undefined;
  readonly #namesOf: NamesOf;
  /** The caller of each session's record, for as long as the record stays the same. */
  readonly #callers = new WeakMap<SessionRecord, Caller>();

  /** @param siteOf the service at the host that a request names */
  constructor(
    signIn: SignIn,
    siteOf: (request: CallerRequest) => Site | undefined,
    namesOf: NamesOf,
  ) {
    this.#signIn = signIn;
    this.#siteOf = siteOf;
    this.#namesOf = namesOf;
  }

  /** @returns undefined if the request has no session that is alive */
  identify(request: CallerRequest): Caller | Promise<Caller | undefined> | undefined {
    const site = this.#siteOf(request);
    if (!site) return undefined;
    const found = this.#signIn.identify(request.head.fields, site);
    if (found instanceof Promise) {
      return found.then((record) => record && this.callerOf(record));
    }
    return found && this.callerOf(found);
  }

  /** Finds whoever signed in for the program that shows a token. @param token without its prefix */
  identifyToken(token: string): Identity | Promise<Identity> {
    const opened = this.#signIn.openAccess(token);
    if (opened instanceof Promise) return opened.then((claims) => this.#ofToken(claims));
    return this.#ofToken(opened);
  }

  #ofToken(claims: JWTPayload | undefined): Identity | Promise<Identity> {
    if (!claims) return unknownToken;
    const found = this.#signIn.session(claims["sid"] as string);
    if (found instanceof Promise) return found.then((record) => this.#ofSession(record));
    return this.#ofSession(found);
  }

  /** Browsers' sessions have cookies, and no tokens. */
  #ofSession(record: SessionRecord | undefined): Identity {
    return record?.client ? this.callerOf(record) : unknownToken;
  }

  /** The caller whose session this is. */
  callerOf(record: SessionRecord): Caller {
    const known = this.#callers.get(record);
    if (known) return known;
    const { client, proof } = record;
    const { clock } = this.#signIn.context;
    const caller: Caller = {
      kind: client ? "access" : "session",
      name: record.username,
      clusters: client ? clustersIn(client.hosts) : anyName,
      ...client && { boundTo: new Set(client.hosts) },
      grant: this.#signIn.grantOf(record),
      person: {
        verifiedClaims: new CurrentClaims(this.#signIn, record, this.#namesOf),
        issuer: record.issuer,
        subject: record.subject,
        username: record.username,
        sessionId: record.id,
        get proof() {
          return proof && clock.nowMs() < proof.expiresMs ? proof.jwt : undefined;
        },
      },
    };
    this.#callers.set(record, caller);
    return caller;
  }
}

function clustersIn(hosts: readonly string[]): NamePatterns {
  const prefix = "/tunnel/";
  return new NamePatterns(
    hosts.filter((host) => host.startsWith(prefix)).map((host) => host.slice(prefix.length)),
  );
}

/** A token of another relay's, one that is too old, or of a session that has ended. */
const unknownToken = new Denial("unknown_token", callerUnknown);

/** What the provider says of somebody now, though it was asked again since the request began. */
class CurrentClaims implements VerifiedClaims {
  readonly provider: string;
  readonly #signIn: SignIn;
  readonly #namesOf: NamesOf;
  #record: SessionRecord;
  #names: ClaimNames | undefined;
  #claims: TokenClaims | undefined;

  constructor(signIn: SignIn, record: SessionRecord, namesOf: NamesOf) {
    this.provider = record.provider;
    this.#signIn = signIn;
    this.#record = record;
    this.#namesOf = namesOf;
  }

  get tellsGroups(): boolean {
    return this.#current?.tellsGroups ?? false;
  }

  meets(rule: PersonRule): boolean {
    return this.#current?.meets(rule) ?? false;
  }

  groupsFor(rules: readonly PersonRule[], wanted: ReadonlySet<string>): readonly string[] {
    return this.#current?.groupsFor(rules, wanted) ?? [];
  }

  get #current(): TokenClaims | undefined {
    const record = this.#signIn.current(this.#record.id) ?? this.#record;
    const names = this.#namesOf(record.provider);
    if (!names) return undefined;
    if (record !== this.#record || names !== this.#names || !this.#claims) {
      this.#record = record;
      this.#names = names;
      this.#claims = new TokenClaims(record.provider, record.claims, names);
    }
    return this.#claims;
  }
}
