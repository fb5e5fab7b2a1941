/** The bearer token that a request came with (RFC 6750 section 2.1). */
import { type Field, listHas } from "../../http1/head.ts";

/** How a WebSocket caller of Kubernetes hands over a bearer token, as it can't set headers. */
export const bearerProtocol = "base64url.bearer.authorization.k8s.io.";

/** What a request says in the place of a token: it, nothing, or what can't be read. */
export type Credential =
  | { readonly kind: "bearer"; readonly token: string }
  | { readonly kind: "none" }
  | { readonly kind: "malformed" };

const none: Credential = { kind: "none" };
const malformed: Credential = { kind: "malformed" };
const scheme = /^Bearer +([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)$/i;

/**
 * What the tokens of those begin with who signed in for a program: they are told from an application's
 * own bearers by it, and found by those who look for secrets in places where none should be.
 */
export const accessTokenPrefix = "culvert_";

/**
 * What the sealed text of such a token is, behind the prefix, or nothing. `relay token` makes tokens of
 * the same beginning for the lists of callers: those have no dots, as JWE has (RFC 7516 section 7.1).
 */
export function sealedIn(token: string): string | undefined {
  return token.startsWith(accessTokenPrefix) && token.includes(".")
    ? token.slice(accessTokenPrefix.length)
    : undefined;
}

/** The field in which a caller can always hand its token to culvert, whoever reads `Authorization`. */
const ownKey = "culvert-authorization";

/**
 * Reads the token from `Culvert-Authorization`, else from `Authorization`, else from the subprotocol by
 * which WebSocket clients of Kubernetes hand it over. More than one of either is malformed: which of them
 * counts would be a guess.
 */
export function readCredential(fields: readonly Field[]): Credential {
  const own = readOwnCredential(fields);
  if (own.kind !== "none") return own;
  const authorization = fromField(fields, "authorization");
  return authorization.kind === "none" ? fromSubprotocol(fields) : authorization;
}

/**
 * Reads the token where an application reads `Authorization`: from `Culvert-Authorization`, and from
 * the other only what the relay itself has issued, as kubectl has no other place for it.
 */
export function readOwnCredential(fields: readonly Field[]): Credential {
  const own = fromField(fields, ownKey);
  if (own.kind !== "none") return own;
  return fields.some(isAccessToken) ? fromField(fields, "authorization") : own;
}

/** Whether a field is `Authorization` with a token of the relay's own, which no application gets. */
export function isAccessToken({ key, value }: Field): boolean {
  return key === "authorization" && accessBearer.test(value);
}

const accessBearer = new RegExp(`^Bearer +${accessTokenPrefix}`, "i");

function fromField(fields: readonly Field[], wanted: string): Credential {
  let authorization: string | undefined;
  for (const { key, value } of fields) {
    if (key !== wanted) continue;
    if (authorization !== undefined) return malformed;
    authorization = value;
  }
  if (authorization === undefined) return none;
  const token = scheme.exec(authorization)?.[1];
  return token === undefined ? malformed : { kind: "bearer", token };
}

function fromSubprotocol(fields: readonly Field[]): Credential {
  // Only a WebSocket handshake has subprotocols (RFC 6455 section 4.1).
  if (!listHas(fields, "upgrade", "websocket")) return none;
  const [bearer, ...others] = fields.filter(({ key }) => key === "sec-websocket-protocol")
    .flatMap(({ value }) => value.split(",")).map((protocol) => protocol.trim())
    .filter((protocol) => protocol.startsWith(bearerProtocol));
  if (bearer === undefined) return none;
  const token = decode(bearer.slice(bearerProtocol.length));
  return token === undefined || others.length > 0 ? malformed : { kind: "bearer", token };
}

/** Base64 as in URLs, without padding; undefined for anything else, and for an empty token. */
function decode(text: string): string | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(text)) return undefined;
  try {
    const token = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(token) ? token : undefined;
  } catch (error) {
    if (error instanceof DOMException) return undefined;
    throw error;
  }
}
