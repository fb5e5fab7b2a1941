/** What sign-in knows of the services and of who asks for them. */
import type { Field, RequestHead } from "../../http1/head.ts";
import type { SessionRecord } from "./sessions/sessions.ts";

/** A service at one of its hostnames. */
export interface Site {
  readonly service: string;
  readonly kind: "http" | "tcp" | "tls";
  /** The hostname in lower case, without a port. */
  readonly hostname: string;
  /** The origin of its URLs: `https://app.example.com`. */
  readonly origin: string;
  /** The provider of kind `oidc` at which people sign in; undefined if they do not. */
  readonly provider: string | undefined;
}

/** What a policy says about somebody. */
export type AccessDecision =
  | { readonly isAllowed: true; readonly rules: readonly string[] }
  | {
    readonly isAllowed: false;
    /** The rules that are not met, in words: `"platform" in groups`. */
    readonly missing: readonly string[];
    /** Whether the provider told the person's groups at all. */
    readonly tellsGroups: boolean;
    /** The requests with which the policy would let them in: `with GET or HEAD`; undefined for none. */
    readonly otherRequests?: string | undefined;
  };

/** What of a request sign-in looks at. */
export interface SignInRequest {
  readonly head: Pick<RequestHead, "method" | "target"> & { readonly fields: readonly Field[] };
  /** The client's address. */
  readonly address: string;
}

/** Decides whether somebody may open a service, by the policies in force now. */
export type DecideAccess = (site: Site, session: SessionRecord, address: string) => AccessDecision;
