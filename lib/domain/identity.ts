/** What applications and clusters are told about who came. */

/** What a plain header can say of somebody. */
export const identityValues = ["username", "sub", "groups", "provider"] as const;

/** One of {@link identityValues}. */
export type IdentityValue = typeof identityValues[number];

/** What of somebody's identity a service's target gets. */
export interface IdentityRules {
  /** Whether the target gets a signed assertion. */
  readonly assertion: boolean;
  /** Plain headers, by their names. */
  readonly headers: readonly (readonly [name: string, value: IdentityValue])[];
  /** Whom the agent is to impersonate at a Kubernetes API server. */
  readonly impersonate?: ImpersonationMap | undefined;
}

/** Whom of a cluster's users and groups callers stand for. */
export interface ImpersonationMap {
  /**
   * The identity providers whose people it maps: two providers may have the same name for two people.
   * Undefined where only one could be meant.
   */
  readonly providers?: readonly string[] | undefined;
  /** The prefix of the names of callers whom no entry names. */
  readonly prefix: string;
  /** The cluster's users, by people's names. */
  readonly users: Readonly<Record<string, string>>;
  /** The cluster's groups, by the provider's. */
  readonly groups: Readonly<Record<string, readonly string[]>>;
  /** The cluster's users and groups for callers without a provider, by `token:NAME` or `certificate:NAME`. */
  readonly callers: Readonly<Record<string, MappedCaller>>;
}

/** A user of a cluster, and its groups. */
export interface MappedCaller {
  /** Without it, the prefix and then `token:NAME` or `certificate:NAME`, which is no person's name. */
  readonly user?: string | undefined;
  readonly groups: readonly string[];
}

/** How an agent learns whom to impersonate. */
export const proofKinds = ["assertion", "provider"] as const;

/** One of {@link proofKinds}. */
export type ProofKind = typeof proofKinds[number];

/** What an agent demands before it impersonates somebody at a target. */
export interface ImpersonationDemands {
  /** The relay's assertion, or the provider's own JWT. */
  readonly proof: ProofKind;
  readonly issuer: string;
  /** The proof must be for one of these. */
  readonly audience: readonly string[];
  /** Where the public keys are: in a file (JWKS or PEM), or at a URL. */
  readonly keys: { readonly file: string } | { readonly url: string };
  /** What the names of all users that it impersonates begin with. */
  readonly prefix: string;
  /** The groups that it impersonates, and no others. */
  readonly groups: readonly string[];
  /** Claims of which the first that is there names somebody, for `proof: provider`. */
  readonly username: readonly string[];
  /** How an e-mail address comes to count there. */
  readonly verifiedEmail: "always" | { readonly claim: string };
}

/** Headers in which identities travel from relays to agents and applications. */
export const identityNames = {
  /** The relay's assertion. */
  assertion: "Culvert-Identity",
  /** The provider's own JWT, for agents that verify it. */
  proof: "Culvert-Proof",
  /** The cluster's groups beside that, percent-encoded, with commas between. */
  groups: "Culvert-Groups",
} as const;

/** Whether a user or group is one that Kubernetes itself gives rights to. */
export function isSystemName(name: string): boolean {
  return name.startsWith("system:");
}
