/** The file of admin tokens: who may use the admin API, and for what. Reads text and knows no files. */
import { z } from "zod";
import type { AdminToken } from "../../domain/admin.ts";
import { ConfigError } from "../config_error.ts";
import { entryOf, readEntries } from "./json_entries.ts";
import { LEASE_EXPECTED, MAX_LEASE_SECONDS, MIN_LEASE_SECONDS } from "./api_entries.ts";
import { expiry, MIN_TOKEN_CHARACTERS, token, tokenSha256 } from "./token_schemas.ts";

/** Tokens and what should not stay about them, one line each. */
export interface AdminTokensRead {
  readonly tokens: readonly AdminToken[];
  readonly warnings: readonly string[];
}

const NAME_EXPECTED = 'must be 1 to 64 letters, digits, ".", "_" or "-"';
const CLUSTERS_EXPECTED =
  'must be a list of cluster ids such as "prod", or beginnings such as "prod-*", or "*"';
const HOSTNAMES_EXPECTED =
  'must be a list of hostnames such as "a.example.com" or "*.a.example.com", or "*"';
const COUNT_EXPECTED = "must be a whole number of at least 1";

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const HOSTNAME = new RegExp(`^(?:\\*|(?:\\*\\.)?${LABEL}(?:\\.${LABEL})*)$`);

const tokenEntry = entryOf({
  name: z.string(NAME_EXPECTED).regex(/^[A-Za-z0-9._-]{1,64}$/, NAME_EXPECTED),
  token: token.optional(),
  tokenSha256: tokenSha256.optional(),
  clusters: z.array(
    z.string(CLUSTERS_EXPECTED).regex(/^(?:\*|[A-Za-z0-9._-]{1,253}\*?)$/, CLUSTERS_EXPECTED),
    CLUSTERS_EXPECTED,
  ).default([]),
  hostnames: z.array(
    z.string(HOSTNAMES_EXPECTED).transform((name) => name.toLowerCase())
      .pipe(z.string().regex(HOSTNAME, HOSTNAMES_EXPECTED)),
    HOSTNAMES_EXPECTED,
  ).default([]),
  maxClusters: z.int(COUNT_EXPECTED).min(1, COUNT_EXPECTED).exactOptional(),
  expires: expiry.exactOptional(),
  people: z.boolean("must be true or false").default(false),
  autoAccept: z.boolean("must be true or false").default(true),
  leaseSeconds: z.int(LEASE_EXPECTED).min(MIN_LEASE_SECONDS, LEASE_EXPECTED)
    .max(MAX_LEASE_SECONDS, LEASE_EXPECTED).exactOptional(),
}, "must be an object with name, token or tokenSha256, clusters and hostnames")
  .refine(({ token, tokenSha256 }) => (token === undefined) !== (tokenSha256 === undefined), {
    error: "must have either token or tokenSha256",
  })
  .transform(({ expires, ...entry }): AdminToken =>
    expires === undefined ? entry : { ...entry, expiresMs: expires }
  );

/**
 * Reads admin tokens.
 *
 * @param source names the text in messages: `Admin tokens file "x.json"`
 * @throws {ConfigError} naming the entry, by its number, and the key; never with a token in it
 */
export function readAdminTokens(text: string, source: string): AdminTokensRead {
  const tokens = readEntries(text, source, tokenEntry);
  refuseTwins(tokens, source);
  return { tokens, warnings: warningsAbout(tokens, source) };
}

/** Policies and the audit log go by names, and of two entries with one token, only one could count. */
function refuseTwins(tokens: readonly AdminToken[], source: string): void {
  const seen = new Map<string, number>();
  for (const [index, { name, token, tokenSha256 }] of tokens.entries()) {
    for (const [what, key] of [["name", `name ${name}`], ["token", `${token} ${tokenSha256}`]]) {
      const same = seen.get(key!);
      if (same !== undefined) {
        throw new ConfigError(
          `${source}: entries ${same + 1} and ${
            index + 1
          } have the same ${what}; each needs its own`,
        );
      }
      seen.set(key!, index);
    }
  }
}

function warningsAbout(tokens: readonly AdminToken[], source: string): string[] {
  if (tokens.length === 0) return [`${source} has no entries: nobody can use the admin API`];
  return tokens.flatMap(({ token }, index) =>
    token === undefined || token.length >= MIN_TOKEN_CHARACTERS ? [] : [
      `${source}, entry ${index + 1}: token: is shorter than ${MIN_TOKEN_CHARACTERS} characters ` +
      "and can be guessed",
    ]
  );
}
