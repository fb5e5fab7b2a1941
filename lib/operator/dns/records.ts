/** DNS records of hostnames, for all providers. */

/** The longest name as text. In a message it has two bytes more, up to 255 (RFC 1035 section 2.3.4). */
const maxNameLength = 253;
const maxLabelLength = 63;

/** One hostname and what its record points at. */
export interface DnsRecord {
  /** The hostname in lower case, without a dot at the end. It may begin with `*.`. */
  readonly name: string;
  readonly type: "A" | "AAAA" | "CNAME";
  readonly target: string;
  readonly ttl: number;
}

/** What a name points at. */
export type RecordData = Pick<DnsRecord, "type" | "target">;

/** A record to delete. It may still point at one of its `former` targets. */
export interface OldRecord extends DnsRecord {
  readonly former?: readonly RecordData[] | undefined;
}

/** The type and target of a record that points at a name or an IP address; undefined for other texts. */
export function recordDataOf(target: string): RecordData | undefined {
  if (target.includes(":")) {
    const host = URL.parse(`http://[${target}]/`)?.hostname;
    return host === undefined ? undefined : { type: "AAAA", target: host.slice(1, -1) };
  }
  const name = target.toLowerCase().replace(/\.$/, "");
  // No top-level domain is a number.
  if (!/(?:^|\.)\d+$/.test(name)) return isName(name) ? { type: "CNAME", target: name } : undefined;
  const parts = name.split(".");
  const isAddress = parts.length === 4 &&
    parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
  return isAddress ? { type: "A", target: name } : undefined;
}

/** Whether a name fits into DNS (RFC 1035 section 2.3.4). */
export function isName(name: string): boolean {
  const labels = name.split(".");
  return name.length <= maxNameLength &&
    labels.every((label) => label.length >= 1 && label.length <= maxLabelLength);
}

/** The names between a name and its zone's apex, without these two. Any of them may be delegated. */
export function namesBetween(name: string, zone: string): readonly string[] {
  if (!name.endsWith(`.${zone}`)) return [];
  const labels = name.slice(0, -zone.length - 1).split(".");
  return labels.slice(1).map((_, index) => `${labels.slice(index + 1).join(".")}.${zone}`);
}

/** The name of the TXT record that names a record's owner. */
export function ownerName(name: string): string {
  return `_culvert.${name.replace(/^\*\./, "_any.")}`;
}

/** The text that names a record's owner. */
export function ownerText(owner: string, resource: string): string {
  return `heritage=culvert,culvert/owner=${owner}${ofResource(resource)}`;
}

/** Whether an owner's text names a resource. Neither owners nor resources contain commas. */
export function isOwnedBy(text: string, resource: string): boolean {
  return text.endsWith(ofResource(resource));
}

function ofResource(resource: string): string {
  return `,culvert/resource=${resource}`;
}
