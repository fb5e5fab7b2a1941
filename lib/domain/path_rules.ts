/**
 * Rules that choose by a request's path, as those of Gateway API's HTTPRoute do
 * (https://gateway-api.sigs.k8s.io/reference/spec/#httppathmatch): pure.
 */

/** Which paths a rule is for: one, or all below one, by whole segments. */
export interface PathRule {
  readonly type: "Prefix" | "Exact";
  /** The path as in requests, percent-encoded, with a `/` in front. */
  readonly value: string;
}

/** Characters of a rule's value at most. */
export const maxPathCharacters = 1_024;

/** What a value is made of: `pchar` and `/` of RFC 3986 without `;`, which some servers cut off. */
export const pathPattern = /^\/(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%[0-9A-Fa-f]{2})*$/;
/** What no value has, as servers differ in how they read it. */
export const unclearPath = /\/\/|\/\.\.?(?:\/|$)|%(?:2[EeFf5]|3[Bb]|5[Cc])/;

/** Unreserved characters of RFC 3986 section 2.3, encoded: requests have them as they are. `.` is unclear. */
export const encodedUnreserved = /%(?:2[Dd]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[Ff]|7[Ee])/;

/** What a value that does not fit one of them must be. */
export const pathFaults = {
  start: 'must begin with "/"',
  pattern: 'must be a path as URLs have it, without "?", "#" and ";", and percent-encoded',
  unclear: 'must have no empty segment, no segment "." or "..", and no %2F, %5C, %3B, %2E or %25',
  encoded: 'must have letters, digits, "-", "_" and "~" as they are, not percent-encoded',
} as const;

/** Why a value can't be a rule's, as what it must be; undefined for one that can. */
export function pathFault(value: string): string | undefined {
  if (!value.startsWith("/")) return pathFaults.start;
  if (value.length > maxPathCharacters) return `must have at most ${maxPathCharacters} characters`;
  if (!pathPattern.test(value)) return pathFaults.pattern;
  if (unclearPath.test(value)) return pathFaults.unclear;
  return encodedUnreserved.test(value) ? pathFaults.encoded : undefined;
}

/** What two rules have in common that no request could tell apart. */
export function pathRuleKey({ type, value }: PathRule): string {
  const path = plainPath(value) ?? value;
  return `${type} ${type === "Prefix" ? withoutEndSlash(path) : path}`;
}

type Entry<T> = readonly [rule: PathRule, to: T];

/**
 * Finds what a path leads to: the Exact rule if there is one, else the longest Prefix.
 *
 * Servers differ in what they make of `//`, `;x`, `%2F` and the like, and some resolve `..`. A path
 * leads nowhere if another rule would be for it in plain form, or if it has a segment `..` in any
 * spelling: clients resolve that themselves (RFC 3986 section 5.2.4), and behind `/public/..` there is
 * what is not below `/public`.
 */
export class PathRules<T> {
  readonly #asWritten: Lookup<T>;
  readonly #plain: Lookup<T>;

  constructor(entries: readonly Entry<T>[]) {
    this.#asWritten = new Lookup(entries, (value) => value);
    this.#plain = new Lookup(entries, (value) => plainPath(value)!);
  }

  /** @param path Of a request, without its query; empty for `*`. */
  find(path: string): T | undefined {
    const found = this.#asWritten.find(path);
    if (found === undefined || isPlain(path)) return found?.[1];
    const plain = plainPath(path);
    return plain !== undefined && this.#plain.find(plain) === found ? found[1] : undefined;
  }
}

class Lookup<T> {
  readonly #exact = new Map<string, Entry<T>>();
  /** The longest first, without the `/` at its end. */
  readonly #prefixes: readonly (readonly [string, Entry<T>])[];

  constructor(entries: readonly Entry<T>[], form: (value: string) => string) {
    const prefixes: [string, Entry<T>][] = [];
    for (const entry of entries) {
      const [{ type, value }] = entry;
      if (type === "Exact") this.#exact.set(form(value), entry);
      else prefixes.push([withoutEndSlash(form(value)), entry]);
    }
    this.#prefixes = prefixes.sort(([one], [other]) => other.length - one.length);
  }

  find(path: string): Entry<T> | undefined {
    const exact = this.#exact.get(path);
    if (exact !== undefined) return exact;
    return this.#prefixes.find(([prefix]) =>
      path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/")
    )?.[1];
  }
}

function withoutEndSlash(path: string): string {
  return path.endsWith("/") ? path.slice(0, -1) : path;
}

/** Whether every server reads a path alike. */
function isPlain(path: string): boolean {
  return !/[%\\;]|\/\/|\/\./.test(path);
}

/**
 * A path as a server may read it that decodes it, takes `\` for `/`, cuts parameters off segments
 * (`;x=1`), and drops those that are empty or `.`; undefined where one is `..`. Bytes stay bytes: each
 * is one character.
 */
function plainPath(path: string): string | undefined {
  if (isPlain(path)) return path;
  const segments = path
    .replace(/%([0-9A-Fa-f]{2})/g, (_all, hex: string) => String.fromCharCode(parseInt(hex, 16)))
    .split(/[/\\]/).map((segment) => segment.split(";", 1)[0]!);
  if (segments.includes("..")) return undefined;
  const kept = segments.filter((segment) => segment !== "" && segment !== ".");
  const isFolder = kept.length > 0 && ["", "."].includes(segments.at(-1)!);
  return `/${kept.join("/")}${isFolder ? "/" : ""}`;
}
