/**
 * Who may call, as files or JSON in their place say it: callers' tokens, and rules for certificates and
 * for the claims of JWTs. Reads text and knows no files, so that any relay can use it.
 */
import { z } from "zod";
import type { CallerToken, CertificateRule, ClaimRule } from "../../domain/callers.ts";
import { expiry, MIN_TOKEN_CHARACTERS, token, tokenSha256 } from "./token_schemas.ts";
import { ConfigError } from "../config_error.ts";
import { entryOf, readEntries } from "./json_entries.ts";

/** Entries and what should not stay about them, one line each. */
export interface CallerTokensRead {
  readonly tokens: readonly CallerToken[];
  readonly warnings: readonly string[];
}

const NAME_EXPECTED = "must be 1 to 253 printable ASCII characters without spaces";
const CLUSTERS_EXPECTED =
  'must be a list of at least one cluster id such as "prod", or beginning such as "prod-*", or "*"';
const CLAIM_EXPECTED = "must be a claim's name, or a list of names that leads to it";
const VALUE_EXPECTED = "must be a string of 1 to 1024 characters";

const name = z.string(NAME_EXPECTED).regex(/^[\x21-\x7e]{1,253}$/, NAME_EXPECTED);

const clusters = z.array(
  z.string(CLUSTERS_EXPECTED).regex(/^(?:\*|[A-Za-z0-9._-]{1,253}\*?)$/, CLUSTERS_EXPECTED),
  CLUSTERS_EXPECTED,
).min(1, CLUSTERS_EXPECTED);

const claimName = z.string(CLAIM_EXPECTED).min(1, CLAIM_EXPECTED).max(253, CLAIM_EXPECTED);

const tokenEntry = entryOf({
  name,
  token: token.optional(),
  tokenSha256: tokenSha256.optional(),
  clusters,
  expires: expiry.optional(),
}, "must be an object with name, token or tokenSha256, and clusters")
  .refine(({ token, tokenSha256 }) => (token === undefined) !== (tokenSha256 === undefined), {
    error: "must have either token or tokenSha256",
  })
  .transform(({ expires, ...entry }): CallerToken =>
    expires === undefined ? entry : { ...entry, expiresMs: expires }
  );

const certificateEntry = entryOf({ name, clusters }, "must be an object with name and clusters");

const claimEntry = entryOf({
  claim: z.union(
    [claimName, z.array(claimName).min(1, CLAIM_EXPECTED).max(16, CLAIM_EXPECTED)],
    CLAIM_EXPECTED,
  ),
  value: z.string(VALUE_EXPECTED).min(1, VALUE_EXPECTED).max(1024, VALUE_EXPECTED),
  clusters,
}, "must be an object with claim, value and clusters");

/**
 * Reads callers' tokens.
 *
 * @param source names the text in messages: `Caller tokens file "x.json"`
 * @throws {ConfigError} naming the entry, by its number, and the key; never with a token in it
 */
export function readCallerTokens(text: string, source: string): CallerTokensRead {
  const tokens = readEntries(text, source, tokenEntry);
  refuseTwins(tokens, source);
  return { tokens, warnings: warningsAbout(tokens, source) };
}

/** Reads rules for certificates. @throws {ConfigError} */
export function readCallerCertificates(text: string, source: string): CertificateRule[] {
  return readEntries(text, source, certificateEntry);
}

/** Reads rules for the claims of JWTs. @throws {ConfigError} */
export function readCallerClaims(text: string, source: string): ClaimRule[] {
  return readEntries(text, source, claimEntry);
}

/** Refuses two entries with the same token: it would be unclear which of them applies. */
function refuseTwins(tokens: readonly CallerToken[], source: string): void {
  const seen = new Map<string, number>();
  for (const [index, { token, tokenSha256 }] of tokens.entries()) {
    const key = token ?? `sha256 ${tokenSha256}`;
    const same = seen.get(key);
    if (same !== undefined) {
      throw new ConfigError(
        `${source}: entries ${same + 1} and ${index + 1} have the same token; each needs its own`,
      );
    }
    seen.set(key, index);
  }
}

function warningsAbout(tokens: readonly CallerToken[], source: string): string[] {
  if (tokens.length === 0) return [`${source} has no entries: no caller has a token`];
  return tokens.flatMap(({ token }, index) =>
    token === undefined || token.length >= MIN_TOKEN_CHARACTERS ? [] : [
      `${source}, entry ${index + 1}: token: is shorter than ${MIN_TOKEN_CHARACTERS} characters ` +
      "and can be guessed",
    ]
  );
}
