/**
 * The clusters file: which agents may connect, and with which token. Reads text and knows no files,
 * so that a relay without a file system can use it too.
 */
import { z } from "zod";
import { parseTargetAddress } from "./address.ts";
import { ConfigError } from "./config_error.ts";
import { findJsonFault } from "./json_fault.ts";
import { parsedBy, TARGET_EXPECTED } from "./kinds.ts";
import { nearestName } from "./suggestion.ts";

/** One cluster that a relay serves. */
export interface ClusterEntry {
  /** In the path `/tunnel/{id}/…`: 1 to 253 of `A-Z a-z 0-9 . _ -`, but neither "." nor "..". */
  readonly id: string;
  /** What the cluster's agent shows to the relay; unique among the entries. A secret. */
  readonly token: string;
  /** `HOST:PORT` that the relay asks the agent to dial, as it stands in the file. */
  readonly targetAddr: string;
  /** Whether a caller's `Impersonate-*` headers are dropped or reach the target. */
  readonly impersonation: "strip" | "forward";
}

/** What a clusters file holds. */
export interface Clusters {
  readonly clusters: readonly ClusterEntry[];
  /** One line each, about what works but should not stay. */
  readonly warnings: readonly string[];
}

/** A token of fewer characters can be guessed; it works, with a warning. */
const MIN_TOKEN_CHARACTERS = 16;

/**
 * A token as it can stand behind `Authorization: Bearer`. HTTP drops spaces at the ends of a header,
 * so that a token with such could never be matched.
 */
export const TOKEN_PATTERN = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/** What a token must be, for messages. */
export const TOKEN_EXPECTED = "must be printable ASCII with no space at either end";

const ID_EXPECTED = 'must be 1 to 253 letters, digits, ".", "_" or "-", and neither "." nor ".."';
const TOKEN_REQUIRED = "must be a non-empty string";

const clusterSchema = z.strictObject({
  // A client removes "." and ".." from a path before it is sent, so no request could reach them.
  id: z.string(ID_EXPECTED).regex(/^(?!\.\.?$)[A-Za-z0-9._-]{1,253}$/, ID_EXPECTED),
  token: z.string(TOKEN_REQUIRED).min(1, { error: TOKEN_REQUIRED, abort: true })
    .regex(TOKEN_PATTERN, TOKEN_EXPECTED),
  targetAddr: z.string(TARGET_EXPECTED).pipe(
    parsedBy((text) => parseTargetAddress(text) && text, TARGET_EXPECTED),
  ),
  impersonation: z.enum(["strip", "forward"], 'must be "strip" or "forward"').default("strip"),
}, {
  error: (issue) =>
    issue.code === "unrecognized_keys"
      ? unknownKey(issue.keys)
      : "must be an object with id, token and targetAddr",
});

/** The clusters file's schema; the messages of its issues never hold a value. */
export const clustersSchema = z.array(clusterSchema, "must be a JSON array of clusters")
  .superRefine((entries, context) => {
    const message = twinFault(entries);
    if (message !== undefined) context.addIssue({ code: "custom", message });
  });

/**
 * Reads the text of a clusters file.
 *
 * @param source names the text in messages: `Clusters file "x.json"`
 * @throws {ConfigError} naming the entry, by number and id, and the key; never with a token in it
 */
export function readClusters(text: string, source: string): Clusters {
  const entries = parseJson(text.replace(/^\ufeff/, ""), source);
  const result = clustersSchema.safeParse(entries);
  if (!result.success) throw new ConfigError(`${source}${describe(result.error.issues, entries)}`);
  return { clusters: result.data, warnings: warningsAbout(result.data, source) };
}

function parseJson(text: string, source: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The engine's own message quotes the text, and with it perhaps a token.
    const fault = findJsonFault(text);
    const place = fault === undefined ? "" : ` at line ${fault.line}, column ${fault.column}`;
    const hint = text.trim() === "" ? "it is empty" : `it is not JSON${place}`;
    throw new ConfigError(`${source}: ${hint}; it must be a JSON array of clusters`);
  }
}

/** Tells one issue, and how many others there are. */
function describe(issues: readonly z.core.$ZodIssue[], entries: unknown): string {
  // A mistyped key is also a missing one; the typing error explains both.
  const first = issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0];
  if (first === undefined) return ": is invalid";
  const [index, ...keys] = first.path;
  const entry = typeof index === "number" ? `, entry ${numbered(entries, index)}` : "";
  const parts = [entry, ...keys.map(String), first.message].join(": ");
  return issues.length === 1 ? parts : `${parts} (and ${issues.length - 1} more)`;
}

function numbered(entries: unknown, index: number): string {
  const entry: unknown = Array.isArray(entries) ? entries[index] : undefined;
  const id = typeof entry === "object" && entry !== null && "id" in entry ? entry.id : undefined;
  const isShown = clusterSchema.shape.id.safeParse(id).success;
  return isShown ? `${index + 1} ("${id}")` : `${index + 1}`;
}

function unknownKey(keys: readonly string[]): string {
  const key = (keys[0] ?? "").slice(0, 64);
  const nearest = nearestName(key, Object.keys(clusterSchema.shape));
  const remedy = nearest === undefined
    ? `known are ${Object.keys(clusterSchema.shape).join(", ")}`
    : `did you mean "${nearest}"?`;
  return `unknown key ${JSON.stringify(key)}; ${remedy}`;
}

/** Two entries with one id, or with one token, cannot be told apart. */
function twinFault(entries: readonly { id: string; token: string }[]): string | undefined {
  const byId = new Map<string, number>();
  const byToken = new Map<string, number>();
  for (const [index, { id, token }] of entries.entries()) {
    const sameId = byId.get(id);
    if (sameId !== undefined) {
      return `entries ${sameId + 1} and ${index + 1} have the same id "${id}"`;
    }
    const sameToken = byToken.get(token);
    if (sameToken !== undefined) {
      const first = numbered(entries, sameToken);
      return `entries ${first} and ${numbered(entries, index)} have the same token; ` +
        "each needs its own";
    }
    byId.set(id, index);
    byToken.set(token, index);
  }
  return undefined;
}

function warningsAbout(clusters: readonly ClusterEntry[], source: string): string[] {
  if (clusters.length === 0) return [`${source} has no entries: no agent can connect`];
  return clusters.flatMap(({ id, token }, index) =>
    token.length >= MIN_TOKEN_CHARACTERS ? [] : [
      `${source}, entry ${index + 1} ("${id}"): token: is shorter than ` +
      `${MIN_TOKEN_CHARACTERS} characters and can be guessed`,
    ]
  );
}
