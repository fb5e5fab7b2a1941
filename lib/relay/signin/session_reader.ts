/** Finds callers by the cookies of their sessions. */
import { anyName } from "../../domain/name_patterns.ts";
import type { ClaimNames } from "../../domain/provider.ts";
import type { VerifiedClaims } from "../../policies/caller_attributes.ts";
import { TokenClaims } from "../../policies/caller_attributes.ts";
import type { PersonRule } from "../../policies/rule.ts";
import type { Caller } from "../callers/caller.ts";
import type { CallerRequest } from "../callers/callers.ts";
import type { SessionRecord } from "./sessions.ts";
import type { SignIn } from "./sign_in.ts";
import type { Site } from "./site.ts";

/** Where the claims of a session's provider say what. */
export type NamesOf = (provider: string) => ClaimNames | undefined;

/** Makes callers of sessions. */
export class SessionReader {
  readonly #signIn: SignIn;
  readonly #siteOf: (request: CallerRequest) => Site | undefined;
  readonly #namesOf: NamesOf;
  /** As long as a session's record stays the same, so does its caller. */
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
  identify(request: CallerRequest): Caller | Promise<Caller> | undefined {
    const site = this.#siteOf(request);
    if (!site) return undefined;
    const found = this.#signIn.identify(request.head.fields, site);
    if (found instanceof Promise) {
      return found.then((record) => record ? this.callerOf(record) : nobody);
    }
    return found && this.callerOf(found);
  }

  /** The caller whose session this is. */
  callerOf(record: SessionRecord): Caller {
    const known = this.#callers.get(record);
    if (known) return known;
    const caller: Caller = {
      kind: "session",
      name: record.username,
      clusters: anyName,
      grant: this.#signIn.grantOf(record),
      person: {
        verifiedClaims: new CurrentClaims(this.#signIn, record, this.#namesOf),
        issuer: record.issuer,
        subject: record.subject,
        username: record.username,
        sessionId: record.id,
      },
    };
    this.#callers.set(record, caller);
    return caller;
  }
}

/** A request whose cookie turned out to be nobody's. */
const nobody: Caller = { kind: "network", name: "network", clusters: anyName };

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
