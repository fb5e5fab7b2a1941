/**
 * The clusters file: which agents may connect, and with which tokens. Reads text and knows no files,
 * so that a relay without a file system can use it too.
 */
import { z } from "zod";
import { type ClusterEntry, type ClusterToken, impersonations } from "../../domain/cluster.ts";
import { ConfigError } from "../config_error.ts";
import { hostnames, overlaps } from "./hostnames.ts";
import { impersonationSchema } from "./identity.ts";
import { policyName } from "./policies.ts";
import { expiry, MIN_TOKEN_CHARACTERS, token, tokenSha256 } from "./token_schemas.ts";
import { entryOf, parseJson } from "./json_entries.ts";
import { duration } from "../options/kinds.ts";
import { targetName } from "./target_name.ts";

/** What a clusters file holds. */
export interface Clusters {
  readonly clusters: readonly ClusterEntry[];
  /** One line each, about what works but should not stay. */
  readonly warnings: readonly string[];
}

/** A text with clusters. */
export interface ClustersText {
  readonly text: string;
  /** Names the text in messages: `Clusters file "x.json"`. */
  readonly source: string;
}

/** What the relay that reads the clusters is like. */
export interface ClustersContext {
  /** Whether agents must show a client certificate at all: without, `certificateName` says nothing. */
  readonly demandsCertificate: boolean;
}

/** The name of a token that stands in the entry itself. */
export const DEFAULT_TOKEN_NAME = "default";

/** Two are enough for a rotation; what is much more than that is a mistake. */
const MAX_TOKENS = 32;

const ID_EXPECTED = 'must be 1 to 253 letters, digits, ".", "_" or "-", and neither "." nor ".."';
const NAME_EXPECTED = 'must be 1 to 64 letters, digits, ".", "_" or "-"';
const TOKENS_EXPECTED = `must be a list of 1 to ${MAX_TOKENS} tokens`;
const CERTIFICATE_EXPECTED =
  "must be a name in the agent's certificate (subject CN, DNS or URI), or a list of such";

const POLICY_EXPECTED =
  'is missing: beside hostnames it must be "public", which lets everybody in, or the name of a policy';

/** The keys of which an entry has one. */
const SECRET_KEYS = ["token", "tokenSha256", "tokens"] as const;

const tokenSchema = entryOf({
  name: z.string(NAME_EXPECTED).regex(/^[A-Za-z0-9._-]{1,64}$/, NAME_EXPECTED),
  token: token.optional(),
  tokenSha256: tokenSha256.optional(),
  expires: expiry.optional(),
}, "must be an object with name, and token or tokenSha256").superRefine((entry, context) => {
  haveOne(entry, ["token", "tokenSha256"], context);
});

const certificateName = z.string(CERTIFICATE_EXPECTED).min(1, CERTIFICATE_EXPECTED);

const COUNT_EXPECTED = "must be a whole number, 0 for no limit";
const RATE_EXPECTED = "must be a number of at least 0, 0 for no limit";

/** What a timeout of an entry must be, for messages. */
export const TIMEOUT_EXPECTED = 'must be a duration with its unit, such as "10m"; "0" is no limit';

/** Bounds that replace the relay's. */
export const limitsSchema = entryOf({
  requestsPerSecond: z.number(RATE_EXPECTED).min(0, RATE_EXPECTED).exactOptional(),
  openRequests: z.int(COUNT_EXPECTED).min(0, COUNT_EXPECTED).exactOptional(),
  bytesPerSecond: z.int(COUNT_EXPECTED).min(0, COUNT_EXPECTED).exactOptional(),
}, "must be an object with requestsPerSecond, openRequests or bytesPerSecond");

/**
 * A cluster's id. A client removes "." and ".." from a path before it is sent, so no request could
 * reach them.
 */
export const clusterIdSchema: z.ZodType<string, string> = z.string(ID_EXPECTED)
  .regex(/^(?!\.\.?$)[A-Za-z0-9._-]{1,253}$/, ID_EXPECTED);

/** The keys of an entry. */
export const clusterShape = {
  id: clusterIdSchema,
  token: token.optional(),
  tokenSha256: tokenSha256.optional(),
  tokens: z.array(tokenSchema, TOKENS_EXPECTED).min(1, TOKENS_EXPECTED)
    .max(MAX_TOKENS, TOKENS_EXPECTED).optional(),
  targetAddr: targetName.exactOptional(),
  impersonation: z.enum(impersonations, 'must be "refuse", "strip" or "forward"').default("refuse"),
  limits: limitsSchema.optional(),
  responseTimeout: z.string(TIMEOUT_EXPECTED).pipe(duration({ min: "0" }).schema).exactOptional(),
  certificateName: z.union([
    certificateName,
    z.array(certificateName).min(1, CERTIFICATE_EXPECTED),
  ], CERTIFICATE_EXPECTED).optional(),
  hostnames: hostnames.exactOptional(),
  policy: z.string(POLICY_EXPECTED).min(1, POLICY_EXPECTED).exactOptional(),
  callerPolicy: policyName.exactOptional(),
  impersonate: impersonationSchema.exactOptional(),
};

/** What the keys of an entry must be together. */
export function checkClusterKeys(
  entry: ClusterKeys,
  context: z.core.$RefinementCtx,
): void {
  haveOne(entry, SECRET_KEYS, context);
  havePolicy(entry, context);
  const names = (entry.tokens ?? []).map(({ name }) => name);
  const twin = names.find((name, index) => names.indexOf(name) !== index);
  if (twin === undefined) return;
  const message = `has two tokens with the name ${JSON.stringify(twin)}`;
  context.addIssue({ code: "custom", message });
}

const clusterSchema = entryOf(
  {
    ...clusterShape,
    // What the admin API has written beside an entry says nothing here.
    admin: z.unknown().optional(),
  },
  "must be an object with id, token and targetAddr",
  ["admin"],
).superRefine(checkClusterKeys);

/** An entry's keys, read. */
export type ClusterKeys = z.output<z.ZodObject<typeof clusterShape, z.core.$strict>>;

/** An entry and where it stands, for messages. */
interface PlacedEntry {
  readonly entry: ClusterEntry;
  readonly source: string;
  /** The entry's number, from 1; undefined in a text that has only one entry. */
  readonly number: number | undefined;
}

/**
 * Reads the text of a clusters file: a JSON array of entries.
 *
 * @throws {ConfigError} naming the entry, by number and id, and the key; never with a token in it
 */
export function readClusters(
  text: string,
  source: string,
  context: ClustersContext = { demandsCertificate: false },
): Clusters {
  return together(parseEntries({ text, source }, false), source, context);
}

/**
 * Reads the texts of a directory's files, each a JSON array of entries or one entry alone.
 *
 * @throws {ConfigError} as {@link readClusters} does, and for what two files both have
 */
export function readClustersTexts(
  texts: readonly ClustersText[],
  source: string,
  context: ClustersContext,
): Clusters {
  return together(texts.flatMap((text) => parseEntries(text, true)), source, context);
}

function together(
  placed: readonly PlacedEntry[],
  source: string,
  context: ClustersContext,
): Clusters {
  refuseTwins(placed);
  refuseOverlaps(placed);
  if (!context.demandsCertificate) refuseCertificateNames(placed);
  const clusters = placed.map(({ entry }) => entry);
  const warnings = clusters.length > 0
    ? placed.flatMap(warningsAbout)
    : [`${source} has no entries: no agent can connect`];
  return { clusters, warnings };
}

function parseEntries({ text, source }: ClustersText, takesOne: boolean): PlacedEntry[] {
  const value = parseJson(text, source, "a JSON array of clusters");
  const isOne = takesOne && typeof value === "object" && value !== null && !Array.isArray(value);
  const schema = z.array(clusterSchema, "must be a JSON array of clusters");
  const result = schema.safeParse(isOne ? [value] : value);
  if (!result.success) {
    throw new ConfigError(`${source}${describe(result.error.issues, value, isOne)}`);
  }
  return result.data.map((entry, index) => ({
    entry: toClusterEntry(entry),
    source,
    number: isOne ? undefined : index + 1,
  }));
}

/** The cluster that an entry's keys describe. */
export function toClusterEntry(
  { admin: _, ...entry }: ClusterKeys & { admin?: unknown },
): ClusterEntry {
  const { token, tokenSha256, tokens, certificateName, responseTimeout, ...others } = entry;
  const { hostnames, policy, ...rest } = others;
  const named = tokens ?? [{ name: DEFAULT_TOKEN_NAME, token, tokenSha256, expires: undefined }];
  return {
    ...rest,
    tokens: named.map(({ expires, ...entry }) => dropUndefined({ ...entry, expiresMs: expires })),
    ...responseTimeout !== undefined && { responseTimeoutMs: responseTimeout },
    ...certificateName !== undefined && { certificateNames: [certificateName].flat() },
    ...hostnames && policy !== undefined && { claims: { hostnames, policy } },
  };
}

function dropUndefined(entry: ClusterToken): ClusterToken {
  const kept = Object.entries(entry).filter(([, value]) => value !== undefined);
  return { name: entry.name, ...Object.fromEntries(kept) };
}

/** Tells one issue, and how many others there are. */
function describe(
  issues: readonly z.core.$ZodIssue[],
  value: unknown,
  isOne: boolean,
): string {
  // A mistyped key is also a missing one; the typing error explains both.
  const first = issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0];
  if (first === undefined) return ": is invalid";
  const [index, ...keys] = first.path;
  const isNumbered = typeof index === "number" && !isOne;
  const entry = isNumbered ? `, entry ${numbered(index + 1, idIn(value, index))}` : "";
  const names = keys.map((key) => typeof key === "number" ? `entry ${key + 1}` : String(key));
  const parts = [entry, ...names, first.message].join(": ");
  return issues.length === 1 ? parts : `${parts} (and ${issues.length - 1} more)`;
}

/** The id of an entry that is not valid, if at least that is. */
function idIn(entries: unknown, index: number): string | undefined {
  const entry: unknown = Array.isArray(entries) ? entries[index] : undefined;
  const id = typeof entry === "object" && entry !== null && "id" in entry ? entry.id : undefined;
  const result = clusterSchema.shape.id.safeParse(id);
  return result.success ? result.data : undefined;
}

function numbered(number: number, id: string | undefined): string {
  return id === undefined ? String(number) : `${number} ("${id}")`;
}

function haveOne<Key extends string>(
  entry: { readonly [key in Key]?: unknown },
  keys: readonly Key[],
  context: z.core.$RefinementCtx,
): void {
  const given = keys.filter((key) => entry[key] !== undefined);
  if (given.length === 1) return;
  const choice = `${keys.slice(0, -1).join(", ")} or ${keys.at(-1)}`;
  const message = given.length === 0
    ? `needs ${choice}`
    : `has ${given.join(" and ")}; give one of them`;
  context.addIssue({ code: "custom", message });
}

/** A hostname must not be open by accident, and a policy must guard something. */
function havePolicy(
  { hostnames, policy }: { hostnames?: unknown; policy?: string },
  context: z.core.$RefinementCtx,
): void {
  if (hostnames !== undefined && policy === undefined) {
    context.addIssue({ code: "custom", path: ["policy"], message: POLICY_EXPECTED });
  }
  if (hostnames === undefined && policy !== undefined) {
    const message = "guards the entry's hostnames, and it has none";
    context.addIssue({ code: "custom", path: ["policy"], message });
  }
}

/** Two entries with one id, or with one token, cannot be told apart. */
function refuseTwins(placed: readonly PlacedEntry[]): void {
  const byId = new Map<string, PlacedEntry>();
  const byToken = new Map<string, PlacedEntry>();
  for (const here of placed) {
    const sameId = byId.get(here.entry.id);
    if (sameId) {
      throw new ConfigError(`${both(sameId, here, false)} the same id "${here.entry.id}"`);
    }
    byId.set(here.entry.id, here);
    for (const { token, tokenSha256 } of here.entry.tokens) {
      const secret = token === undefined ? `digest ${tokenSha256}` : `token ${token}`;
      const sameToken = byToken.get(secret);
      if (sameToken === here) {
        throw new ConfigError(`${placeOf(here)}: has one token twice`);
      }
      if (sameToken) {
        throw new ConfigError(`${both(sameToken, here, true)} the same token; each needs its own`);
      }
      byToken.set(secret, here);
    }
  }
}

/** Two clusters' agents must not claim one hostname. */
function refuseOverlaps(placed: readonly PlacedEntry[]): void {
  const claimed = placed.flatMap((here) =>
    (here.entry.claims?.hostnames ?? []).map(({ name }) => ({ here, name }))
  );
  for (const [index, { here, name }] of claimed.entries()) {
    const other = claimed.slice(0, index)
      .find((before) => before.here !== here && overlaps(before.name, name));
    if (!other) continue;
    throw new ConfigError(
      `${both(other.here, here, true)} overlapping hostnames: ${JSON.stringify(other.name)} and ` +
        JSON.stringify(name),
    );
  }
}

function both(first: PlacedEntry, second: PlacedEntry, showsId: boolean): string {
  if (first.source !== second.source) return `${placeOf(first)} and ${placeOf(second)} have`;
  const [a, b] = [first, second].map(({ number, entry }) =>
    numbered(number ?? 1, showsId ? entry.id : undefined)
  );
  return `${first.source}: entries ${a} and ${b} have`;
}

/** `Clusters file "x.json", entry 1 ("prod")`. */
function placeOf({ source, number, entry }: PlacedEntry): string {
  return number === undefined ? source : `${source}, entry ${numbered(number, entry.id)}`;
}

function refuseCertificateNames(placed: readonly PlacedEntry[]): void {
  const bound = placed.find(({ entry }) => entry.certificateNames !== undefined);
  if (!bound) return;
  throw new ConfigError(
    `${placeOf(bound)}: certificateName: needs --tls-client-ca, without which agents show ` +
      "no certificate",
  );
}

function warningsAbout(placed: PlacedEntry): string[] {
  const { entry: { tokens } } = placed;
  return tokens.flatMap(({ name, token, expiresMs }) => {
    // The entry's own token has no name that the reader would know.
    const which = name === DEFAULT_TOKEN_NAME ? "token" : `token "${name}"`;
    const isShort = token !== undefined && token.length < MIN_TOKEN_CHARACTERS;
    const hasExpired = expiresMs !== undefined && expiresMs <= Date.now();
    return [
      ...(isShort ? [`is shorter than ${MIN_TOKEN_CHARACTERS} characters and can be guessed`] : []),
      ...(hasExpired ? [`has expired, at ${new Date(expiresMs).toISOString()}`] : []),
    ].map((what) => `${placeOf(placed)}: ${which}: ${what}`);
  });
}
