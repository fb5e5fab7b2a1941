/** Records in the form of Cloudflare's API, and how they are found in a zone's list. */
import { type DnsRecord, namesBetween, ownerName } from "./records.ts";

/** A wanted record. With `proxied`, its traffic goes through Cloudflare. */
export interface CloudflareRecord extends DnsRecord {
  readonly proxied?: boolean | undefined;
}

/** A record in the form of the API. */
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

/** The TTL that means "automatic" at Cloudflare. */
export const automaticTtl = 1;
const minTtl = 60;

/** Puts a record into the form of the API. Cloudflare chooses the TTL of a proxied record. */
export function wantedOf({ name, type, target, ttl, proxied = false }: CloudflareRecord) {
  return {
    ...{ type, name, content: target, proxied },
    ttl: proxied ? automaticTtl : Math.max(ttl, minTtl),
  };
}

/** Whether an existing record is the wanted one. */
export function isSame(there: ApiRecord, wanted: ReturnType<typeof wantedOf>): boolean {
  return there.type === wanted.type && isSameTarget(there.content, wanted.content) &&
    there.ttl === wanted.ttl && (there.proxied ?? false) === wanted.proxied;
}

/** Whether two targets are the same, whatever their case and with or without a dot at the end. */
export function isSameTarget(one: string, other: string): boolean {
  const [first, second] = [one, other].map((it) => it.toLowerCase().replace(/\.$/, ""));
  return first === second;
}

/** A name in ASCII and lower case. The API may show an internationalized name in Unicode. */
function asciiName(name: string): string {
  const lower = name.toLowerCase();
  // deno-lint-ignore no-control-regex
  if (/^[\x00-\x7f]*$/.test(lower)) return lower;
  const [, wildcard = "", rest = ""] = /^(\*\.)?(.*)$/.exec(lower) ?? [];
  return wildcard + (URL.parse(`http://${rest}/`)?.hostname ?? rest);
}

/** Whether a zone delegates a name, or one above it, to other name servers. */
export function isDelegated({ byName }: Listing, name: string, zone: string): boolean {
  return [name, ...namesBetween(name, zone)].some((it) =>
    it !== zone && byName.get(it)?.some(({ type }) => type === "NS")
  );
}

/** The records that say what a name points at: A, AAAA and CNAME. */
export function addressesIn({ byName }: Listing, name: string): readonly ApiRecord[] {
  return (byName.get(name) ?? []).filter(({ type }) => ["A", "AAAA", "CNAME"].includes(type));
}

/** The TXT record that names a name's owner. */
export function ownerIn({ byName }: Listing, name: string): ApiRecord | undefined {
  return (byName.get(ownerName(name)) ?? []).find(({ type }) => type === "TXT");
}

/** Whether a TXT record has this text, quoted or not. */
export function isText({ content }: ApiRecord, text: string): boolean {
  return content === text || content === quoted(text);
}

/** Quotes the content of a TXT record as zone files do: in strings of at most 255 characters. */
export function quoted(text: string): string {
  const parts = text.match(/.{1,255}/g) ?? [];
  return parts.map((part) => `"${part}"`).join(" ");
}
