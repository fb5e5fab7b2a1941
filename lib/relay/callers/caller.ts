/** Who asks for a tunnel, and why somebody does not get one. */
import type { RelayError } from "../relay_error.ts";
import type { VerifiedClaims } from "../../policies/caller_attributes.ts";
import type { CallerKind } from "./caller_methods.ts";
import type { NamePatterns } from "../../domain/name_patterns.ts";

/** A caller that proved who it is, or that nobody asked. */
export interface Caller {
  /** What it proved itself with. */
  readonly kind: CallerKind;
  /** The name for logs, audit, limits and other relays; never a credential. See {@link isPrintableName}. */
  readonly name: string;
  /** The clusters that it may reach. */
  readonly clusters: NamePatterns;
  /** Ends when a list withdraws the credential; absent where no list of this relay can. */
  readonly grant?: Grant | undefined;
  /** What a provider says about it; absent where none does. */
  readonly person?: Person | undefined;
  /** The hosts, and paths `/tunnel/ID`, that its credential is for; absent where it is for all. */
  readonly boundTo?: ReadonlySet<string> | undefined;
  /** The digest of its token, in hexadecimal, if a policy itself has it; absent for all others. */
  readonly tokenSha256?: string | undefined;
  /** The rules of a policy that let it in, in words; absent where no policy was asked. */
  readonly met?: readonly string[] | undefined;
}

/** Somebody, or a program, for whom a provider vouches. */
export interface Person {
  readonly verifiedClaims: VerifiedClaims;
  readonly issuer: string;
  /** The claim `sub`; empty for programs of providers that give them none. */
  readonly subject: string;
  readonly username: string;
  /** Tells its sessions apart in logs; never a credential. */
  readonly sessionId: string;
  /** The provider's own JWT, for agents that verify it themselves. A credential. */
  readonly proof?: string | undefined;
}

/** What a caller's credential allows by the lists as they are now: open requests end with it. */
export interface Grant {
  /** Milliseconds since 1970 from which it is nobody; infinite for never. */
  readonly expiresMs: number;
  /** Whether its credential still counts, whatever it opens. */
  isValid(nowMs: number): boolean;
  /** Whether it may still reach a cluster. */
  mayReach(cluster: string, nowMs: number): boolean;
}

/** Why a caller was denied, for the log and as a metric's label; the caller is not told. */
export type DenialReason =
  /** No credential at all. */
  | "missing"
  /** A credential that can't be read: another scheme than Bearer, two of them, no valid JWT. */
  | "malformed"
  /** A token that is nobody's. */
  | "unknown_token"
  /** A certificate that no rule names. */
  | "unknown_certificate"
  | "expired"
  /** A list has withdrawn the credential while it was being looked at. */
  | "withdrawn"
  /** A JWT before its `nbf`. */
  | "not_yet_valid"
  | "issuer"
  | "audience"
  /** A JWT that is signed with an algorithm that is not accepted, or not at all. */
  | "algorithm"
  /** A JWT's key is not among the issuer's. */
  | "unknown_key"
  | "signature"
  /** A JWT without a claim that must be there, or with one of a wrong type. */
  | "claim"
  /** A JWT or a certificate whose name for its caller can't be written anywhere. */
  | "name"
  /** The issuer's keys can't be fetched, and there are no earlier ones that may still be used. */
  | "keys_unavailable"
  /** A page of another site had a browser send it, and the caller shows nothing that only it has. */
  | "cross_site"
  /** The request names a host that is not among `--hosts`, as after DNS rebinding. */
  | "host"
  /** A policy does not let the caller in. */
  | "policy"
  /** A policy has rules about methods or paths, and a target may see others than the relay does. */
  | "unclear_request"
  /** A known caller asked for a cluster that it may not reach. */
  | "cluster";

/** A caller that is not let in. */
export class Denial {
  readonly reason: DenialReason;
  readonly answer: RelayError;
  /** Details for the log, where the reason does not say enough; never with a credential. */
  readonly detail: string | undefined;

  constructor(reason: DenialReason, answer: RelayError, detail?: string) {
    this.reason = reason;
    this.answer = answer;
    this.detail = detail;
  }
}

/** What came of looking at a caller's credentials. */
export type Identity = Caller | Denial;
