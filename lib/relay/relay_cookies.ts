/**
 * Cookies as the relay reads and passes them on. They are read by their bytes: `;` separates, blanks
 * around a pair count for nothing, and nothing is decoded, as every more lenient reading has let
 * somebody set a cookie under another's name.
 */
import { type Field, field } from "../http1/head.ts";

/** The names of the relay's own cookies on one origin. */
export interface CookieNames {
  /** The cookie of a session on a service's host. */
  readonly session: string;
  /** The cookie of a session on the login host. */
  readonly login: string;
  /** What the names of sign-ins under way begin with. */
  readonly transaction: string;
  /** The attributes that all of them have. */
  readonly attributes: string;
}

/**
 * Browsers take a `__Host-` name only over TLS, for one host and all its paths, and a
 * `__Host-Http-` name not from scripts (Chromium; others see the `__Host-` prefix).
 */
const secureNames = namesFrom("__Host-Http-culvert", "Path=/; Secure; HttpOnly; SameSite=Lax");
/** The names for plain HTTP on loopback, where browsers accept no `__Host-` names. */
const loopbackNames = namesFrom("culvert-dev", "Path=/; HttpOnly; SameSite=Lax");

function namesFrom(session: string, attributes: string): CookieNames {
  return { session, login: `${session}-login`, transaction: `${session}-t-`, attributes };
}

/** @param origin of the host that the cookies are for */
export function cookieNames(origin: string): CookieNames {
  return origin.startsWith("https:") ? secureNames : loopbackNames;
}

/** Whether a cookie of this name is one of the relay's. */
function isOwn(name: string): boolean {
  return [secureNames, loopbackNames].some(({ session }) =>
    name === session || name.startsWith(`${session}-`)
  );
}

/** A cookie of a request. */
export interface Cookie {
  readonly name: string;
  readonly value: string;
}

/** The cookies of a request, in their order. */
export function readCookies(fields: readonly Field[]): Cookie[] {
  return fields.filter(({ key }) => key === "cookie")
    .flatMap(({ value }) => value.split(";").map(toCookie));
}

/** What the relay's cookies consist of: JWEs and random text, both in base64url. */
const ownValue = /^[\w.-]{1,4096}$/;

/** The value of one of the relay's cookies; undefined if there is none, or more than one. */
export function readCookie(fields: readonly Field[], name: string): string | undefined {
  let found: string | undefined;
  for (const { key, value } of fields) {
    // Each request of a signed-in person comes through here, mostly with cookies of the app's besides.
    if (key !== "cookie" || !value.includes(name)) continue;
    for (const pair of value.split(";")) {
      if (!pair.includes(name)) continue;
      const cookie = toCookie(pair);
      if (cookie.name !== name) continue;
      if (found !== undefined) return undefined;
      found = cookie.value;
    }
  }
  return found !== undefined && ownValue.test(found) ? found : undefined;
}

function toCookie(pair: string): Cookie {
  const equals = pair.indexOf("=");
  if (equals === -1) return { name: "", value: trimBlanks(pair) };
  return { name: trimBlanks(pair.slice(0, equals)), value: trimBlanks(pair.slice(equals + 1)) };
}

function trimBlanks(text: string): string {
  return text.replace(/^[ \t]+|[ \t]+$/g, "");
}

/**
 * Cloudflare Access keeps the JWT of its header in this cookie as well. A target that had it could show
 * it at other services of the same audience.
 */
const accessCookie = "CF_Authorization";

/** A request's field without the cookies that are credentials for the relay; undefined if nothing is left of it. */
export function withoutOwnCookies(item: Field): Field | undefined {
  if (item.key !== "cookie") return item;
  if (!item.value.includes("culvert") && !item.value.includes(accessCookie)) return item;
  const pairs = item.value.split(";");
  const kept = pairs.filter((pair) => {
    const { name } = toCookie(pair);
    return !isOwn(name) && name !== accessCookie;
  });
  if (kept.length === pairs.length) return item;
  const value = kept.join(";").replace(/^[ \t]+/, "");
  return value === "" ? undefined : field(item.name, value);
}

/** The `Set-Cookie` of one of the relay's cookies. @param maxAgeMs 0 deletes it */
export function setCookie(
  { attributes }: CookieNames,
  name: string,
  value: string,
  maxAgeMs: number,
): string {
  return `${name}=${value}; Max-Age=${Math.ceil(maxAgeMs / 1_000)}; ${attributes}`;
}

/**
 * A field of a target's answer without what would reach the relay's cookies or other hosts':
 * `Set-Cookie` of the relay's names or for a domain above the service's host, and the members
 * `"cookies"` and `"*"` of `Clear-Site-Data`, which browsers apply to the whole domain.
 *
 * @param hostname the service's, without a port
 */
export function withoutForeignEffects(item: Field, hostname: string): Field | undefined {
  if (item.key === "set-cookie") return mayBeSet(item.value, hostname) ? item : undefined;
  if (item.key === "clear-site-data") return narrowed(item);
  return item;
}

function mayBeSet(value: string, hostname: string): boolean {
  const [pair = "", ...attributes] = value.split(";");
  const { name, value: text } = toCookie(pair);
  // Browsers send a cookie without a name as its value alone, which reads as another cookie then.
  if (isOwn(name === "" ? toCookie(text).name || text : name)) return false;
  return attributes.every((attribute) => {
    const { name, value } = toCookie(attribute);
    if (name.toLowerCase() !== "domain") return true;
    const domain = value.toLowerCase().replace(/^\./, "");
    return domain === "" || domain === hostname || domain.endsWith(`.${hostname}`);
  });
}

function narrowed(item: Field): Field | undefined {
  const members = item.value.split(",").map((member) => member.trim());
  const kept = members.filter((member) => member !== '"cookies"' && member !== '"*"');
  if (kept.length === members.length) return item;
  return kept.length === 0 ? undefined : field(item.name, kept.join(", "));
}
