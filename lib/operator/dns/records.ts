/** DNS records of hostnames, whoever keeps them. */

/** One hostname and what its record points at. */
export interface DnsRecord {
  /** Lower case, without a dot at the end; may begin with `*.`. */
  readonly name: string;
  readonly type: "A" | "AAAA" | "CNAME";
  readonly target: string;
  readonly ttl: number;
}

/** What a name points at. */
export type RecordData = Pick<DnsRecord, "type" | "target">;

/** A record that is to go, whichever of these it points at. */
export interface OldRecord extends DnsRecord {
  readonly former?: readonly RecordData[] | undefined;
}

/** The type of the record that points at a name or an address. */
export function recordTypeOf(target: string): DnsRecord["type"] {
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(target)) return "A";
  return target.includes(":") ? "AAAA" : "CNAME";
}

/** Where the record's owner is written: under a label of its own, beside the record. */
export function ownerName(name: string): string {
  return `_culvert.${name.replace(/^\*\./, "_any.")}`;
}

/** The text that says whose a record is. */
export function ownerText(owner: string, resource: string): string {
  return `heritage=culvert,culvert/owner=${owner},culvert/resource=${resource}`;
}
