/**
 * Entries of the admin API: the bodies of its requests, which have the keys of the files' entries, and
 * what is stored of them. Reads values and knows neither files nor requests.
 */
import { z } from "zod";
import type { EntryBody, EntryKind } from "../../domain/admin.ts";
import type { ClusterEntry } from "../../domain/cluster.ts";
import type { PolicyEntry } from "../../domain/policy.ts";
import { checkClusterKeys, type ClusterKeys, clusterShape, toClusterEntry } from "./clusters.ts";
import { entryOf } from "./json_entries.ts";
import { checkPolicyKeys, policyName, policyShape } from "./policies.ts";
import { checkServiceKeys, type ServiceKeys, serviceShape } from "./service_schema.ts";

/** Bounds of a lease, in seconds. */
export const MIN_LEASE_SECONDS = 10;
export const MAX_LEASE_SECONDS = 30 * 24 * 3_600;

const OWNER_EXPECTED = "must be 1 to 253 printable ASCII characters without spaces at the ends";
export const LEASE_EXPECTED =
  `must be a whole number of seconds from ${MIN_LEASE_SECONDS} to ${MAX_LEASE_SECONDS}`;
const BODY_EXPECTED = "must be an object";

const upkeepShape = {
  owner: z.string(OWNER_EXPECTED).regex(/^[\x21-\x7e](?:[\x20-\x7e]{0,251}[\x21-\x7e])?$/, {
    error: OWNER_EXPECTED,
  }).exactOptional()
    .describe("Who looks after the entry: requests with another owner get 409"),
  leaseSeconds: z.int(LEASE_EXPECTED).min(MIN_LEASE_SECONDS, LEASE_EXPECTED)
    .max(MAX_LEASE_SECONDS, LEASE_EXPECTED).exactOptional()
    .describe("The entry goes unless its lease is renewed within so many seconds"),
};

/** The bodies of PUT, by kind; the id or name is in the path, and may be in the body as well. */
export const bodySchemas = {
  clusters: entryOf({
    ...clusterShape,
    ...upkeepShape,
    accepted: z.boolean("must be true or false").exactOptional()
      .describe("False for a cluster that is stored and not used until it is accepted"),
  }, BODY_EXPECTED).superRefine(checkClusterKeys),
  services: entryOf({ ...serviceShape, ...upkeepShape }, BODY_EXPECTED)
    .superRefine(checkServiceKeys),
  policies: entryOf({ ...policyShape, ...upkeepShape }, BODY_EXPECTED)
    .superRefine(checkPolicyKeys),
} as const;

/** The keys by which the kinds of entries are told apart, and what they must be. */
export const nameKeys = {
  clusters: { key: "id", schema: clusterShape.id },
  services: { key: "name", schema: policyName },
  policies: { key: "name", schema: policyShape.name },
} as const satisfies Record<EntryKind, { key: string; schema: z.ZodType<string> }>;

/** What is in a body beside the entry's own keys. */
export interface Upkeep {
  readonly owner?: string | undefined;
  readonly leaseSeconds?: number | undefined;
  readonly accepted?: boolean | undefined;
}

/** An entry as the relay uses it. */
export interface UsableEntries {
  readonly clusters: ClusterEntry;
  readonly services: ServiceKeys;
  readonly policies: PolicyEntry;
}

/** A body that is wrong. */
export class BodyFault extends Error {
  override readonly name = "BodyFault";
  /** The key, as `tokens.0.expires`; empty for the whole body. */
  readonly field: string;

  constructor(field: string, message: string) {
    super(field === "" ? message : `${field}: ${message}`);
    this.field = field;
  }
}

/** A body, read. */
export interface ReadBody<Kind extends EntryKind = EntryKind> {
  readonly usable: UsableEntries[Kind];
  /** What is stored: as it was given, without name and upkeep. */
  readonly body: EntryBody;
  readonly upkeep: Upkeep;
}

/**
 * Reads the body of a PUT.
 *
 * @param name from the path
 * @throws {BodyFault} that names the key
 */
export function readBody<Kind extends EntryKind>(
  kind: Kind,
  name: string,
  value: unknown,
): ReadBody<Kind> {
  const { key, schema } = nameKeys[kind];
  const nameFault = schema.safeParse(name).error?.issues[0]?.message;
  if (nameFault !== undefined) throw new BodyFault(key, nameFault);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new BodyFault("", `the body ${BODY_EXPECTED}`);
  }
  const given = (value as Record<string, unknown>)[key];
  if (given !== undefined && given !== name) {
    throw new BodyFault(key, `must be ${JSON.stringify(name)}, as the path has it`);
  }
  const result = bodySchemas[kind].safeParse({ ...value, [key]: name });
  if (!result.success) throw faultOf(result.error.issues);
  const { owner, leaseSeconds, accepted, ...keys } = result.data as
    & Upkeep
    & Record<string, unknown>;
  const { [key]: _name, owner: _owner, leaseSeconds: _lease, accepted: _accepted, ...body } =
    value as Record<string, unknown>;
  return {
    usable: usableOf(kind, keys) as UsableEntries[Kind],
    body,
    upkeep: { owner, leaseSeconds, accepted },
  };
}

function usableOf(kind: EntryKind, keys: unknown): UsableEntries[EntryKind] {
  return kind === "clusters"
    ? toClusterEntry(keys as ClusterKeys)
    : keys as ServiceKeys | PolicyEntry;
}

/** A mistyped key is also a missing one; the typing error explains both. */
function faultOf(issues: readonly z.core.$ZodIssue[]): BodyFault {
  const unknown = issues.find((issue) => issue.code === "unrecognized_keys");
  const first = unknown ?? issues[0];
  if (!first) return new BodyFault("", "the body is invalid");
  const path = first.path.map(String);
  const keys = unknown ? [...path, unknown.keys[0] ?? ""] : path;
  const field = keys.join(".").slice(0, 256);
  return new BodyFault(field, first.message);
}
