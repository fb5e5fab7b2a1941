/** Records as Cloudflare's API has them, and what of a zone's list is ours. */
import { type DnsRecord, namesBetween, ownerName } from "./records.ts";

/** A record as it is to be; `proxied` sends its traffic through Cloudflare. */
export interface CloudflareRecord extends DnsRecord {
  readonly proxied?: boolean | undefined;
}

/** A record as the API has it. */
export interface ApiRecord {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  readonly content: string;
  readonly ttl?: number;
  readonly proxied?: boolean;
}

/** All records of a zone. */
export interface Listing {
  readonly byName: ReadonlyMap<string, readonly ApiRecord[]>;
}

/** Groups records by their names. */
export function listingOf(records: Iterable<ApiRecord>): Listing {
  return { byName: Map.groupBy(records, ({ name }) => asciiName(name)) };
}

/** Cloudflare's word for "automatic". */
export const automaticTtl = 1;
const minTtl = 60;

/** A record in the form in which the API takes it; the TTL of a proxied one is Cloudflare's. */
export function wantedOf({ name, type, target, ttl, proxied = false }: CloudflareRecord) {
  return {
    ...{ type, name, content: target, proxied },
    ttl: proxied ? automaticTtl : Math.max(ttl, minTtl),
  };
}

/** Whether a record is as it is to be. */
export function isSame(there: ApiRecord, wanted: ReturnType<typeof wantedOf>): boolean {
  return there.type === wanted.type && isSameTarget(there.content, wanted.content) &&
    there.ttl === wanted.ttl && (there.proxied ?? false) === wanted.proxied;
}

/** Names have no upper case that counts, and may be shown with a dot at their end. */
export function isSameTarget(one: string, other: string): boolean {
  const [first, second] = [one, other].map((it) => it.toLowerCase().replace(/\.$/, ""));
  return first === second;
}

/** A name as it is asked for: the API may show one with letters of other alphabets. */
function asciiName(name: string): string {
  const lower = name.toLowerCase();
  // deno-lint-ignore no-control-regex
  if (/^[\x00-\x7f]*$/.test(lower)) return lower;
  const [, wildcard = "", rest = ""] = /^(\*\.)?(.*)$/.exec(lower) ?? [];
  return wildcard + (URL.parse(`http://${rest}/`)?.hostname ?? rest);
}

/** Whether a zone has given a name, or one above it, to other name servers. */
export function isDelegated({ byName }: Listing, name: string, zone: string): boolean {
  return [name, ...namesBetween(name, zone)].some((it) =>
    it !== zone && byName.get(it)?.some(({ type }) => type === "NS")
  );
}

/** What a name points at. */
export function addressesIn({ byName }: Listing, name: string): readonly ApiRecord[] {
  return (byName.get(name) ?? []).filter(({ type }) => ["A", "AAAA", "CNAME"].includes(type));
}

/** The record that says whose a name is. */
export function ownerIn({ byName }: Listing, name: string): ApiRecord | undefined {
  return (byName.get(ownerName(name)) ?? []).find(({ type }) => type === "TXT");
}

/** Whether a TXT record has a text, in quotes or without. */
export function isText({ content }: ApiRecord, text: string): boolean {
  return content === text || content === quoted(text);
}

/** The API wants a TXT record's content as zone files have it: strings of at most 255 in quotes. */
export function quoted(text: string): string {
  const parts = text.match(/.{1,255}/g) ?? [];
  return parts.map((part) => `"${part}"`).join(" ");
}
