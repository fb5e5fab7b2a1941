/**
 * Entries of the admin API as they are stored: each is a text in the format of the clusters' and
 * services' files, with what the API has to know of it under the key `admin`. Knows no files.
 */
import { z } from "zod";
import type { EntryBody, EntryKind, StoredEntry } from "../../domain/admin.ts";
import { nameKeys, readBody } from "./api_entries.ts";

const adminSchema = z.object({
  by: z.string(),
  owner: z.string().optional(),
  accepted: z.boolean().default(true),
  leaseSeconds: z.int().min(1).optional(),
  leaseEnds: z.iso.datetime().optional(),
});

const object = z.record(z.string(), z.unknown());

/** The text of an entry. */
export function formatStored({ kind, name, body, by, ...upkeep }: StoredEntry): string {
  const { owner, isAccepted, lease } = upkeep;
  const admin = {
    by,
    ...owner !== undefined && { owner },
    accepted: isAccepted,
    ...lease &&
      { leaseSeconds: lease.seconds, leaseEnds: new Date(lease.endsMs).toISOString() },
  };
  const entry = { [nameKeys[kind].key]: name, ...body };
  return JSON.stringify(kind === "clusters" ? { ...entry, admin } : { [kind]: [entry], admin });
}

/**
 * Reads the text of an entry.
 *
 * @throws {Error} that says what is wrong, without a value
 */
export function parseStored(kind: EntryKind, text: string): StoredEntry {
  const { admin, ...rest } = object.parse(JSON.parse(text));
  const entry = kind === "clusters" ? rest : z.tuple([object]).parse(rest[kind])[0];
  const { key, schema } = nameKeys[kind];
  const { [key]: given, ...body } = entry;
  const name = schema.parse(given);
  // What it holds must be what the API takes.
  readBody(kind, name, body);
  const { by, owner, accepted, leaseSeconds, leaseEnds } = adminSchema.parse(admin);
  const hasLease = leaseSeconds !== undefined && leaseEnds !== undefined;
  return {
    kind,
    name,
    body: body as EntryBody,
    by,
    ...owner !== undefined && { owner },
    isAccepted: accepted,
    ...hasLease && { lease: { seconds: leaseSeconds, endsMs: Date.parse(leaseEnds) } },
  };
}
