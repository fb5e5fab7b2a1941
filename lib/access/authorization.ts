/** How `access` has somebody sign in: an authorization request with PKCE (RFC 6749, 7636 and 8252). */

/** A sign-in under way. */
export interface Authorization {
  readonly state: string;
  /** The PKCE code verifier, which only this program knows. */
  readonly verifier: string;
  readonly redirectUri: string;
  /** What the browser opens. */
  readonly url: string;
}

/** Who asks, and for what. */
export interface AuthorizationRequest {
  /** `https://HOST[:PORT]` of the host that the user named. */
  readonly origin: string;
  /** The hosts that the token is to be for. */
  readonly hosts: readonly string[];
  readonly program: string;
  readonly machine: string;
}

/** Where this program listens for the browser. */
export const callbackPath = "/callback";

/** Begins a sign-in. @param redirectUri of this program's port on this machine */
export async function beginAuthorization(
  request: AuthorizationRequest,
  redirectUri: string,
): Promise<Authorization> {
  const state = randomText(16);
  const verifier = randomText(32);
  const query = named(request);
  query.set("response_type", "code");
  query.set("code_challenge", await challengeOf(verifier));
  query.set("code_challenge_method", "S256");
  query.set("redirect_uri", redirectUri);
  query.set("state", state);
  return { state, verifier, redirectUri, url: `${request.origin}/.culvert/authorize?${query}` };
}

/** The parameters that say who asks for which hosts. */
export function named({ hosts, program, machine }: AuthorizationRequest): URLSearchParams {
  const query = new URLSearchParams({ program, machine });
  for (const host of hosts) query.append("host", host);
  return query;
}

/** What the browser brought. */
export type Callback =
  | { readonly kind: "code"; readonly code: string }
  /** The person said no, or the relay did. */
  | { readonly kind: "refused" }
  /** Not the answer to this sign-in. */
  | { readonly kind: "foreign" };

/** Reads the request of a browser that comes back. @param target of the request */
export function readCallback(target: string, { state }: Authorization): Callback {
  const url = URL.parse(target, "http://127.0.0.1");
  if (url?.pathname !== callbackPath) return { kind: "foreign" };
  const query = url.searchParams;
  const [given, other] = query.getAll("state");
  if (given !== state || other !== undefined) return { kind: "foreign" };
  if (query.has("error")) return { kind: "refused" };
  const [code, second] = query.getAll("code");
  return code !== undefined && second === undefined ? { kind: "code", code } : { kind: "foreign" };
}

function randomText(bytes: number): string {
  return toText(crypto.getRandomValues(new Uint8Array(bytes)));
}

async function challengeOf(verifier: string): Promise<string> {
  return toText(
    new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))),
  );
}

function toText(bytes: Uint8Array): string {
  return bytes.toBase64({ alphabet: "base64url", omitPadding: true });
}
