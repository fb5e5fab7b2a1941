/** Plans the DNS records of a binding. */
import { keyOf } from "../../kube/objects.ts";
import type { TunnelSpec } from "../api/tunnel.ts";
import { no, type Verdict } from "../conditions.ts";
import type { CompiledBinding } from "../routes/route_table.ts";
import type { Tunnel } from "../tunnel.ts";
import { type KeptRecord, resourceOf } from "./kept_records.ts";
import { type DnsRecord, isName, ownerName, ownerText, recordDataOf } from "./records.ts";

/** The records that a binding should have. */
export interface DnsPlan {
  readonly provider: "None" | "ExternalDNS" | "RFC2136" | "Cloudflare";
  /** The records for a DNSEndpoint; empty for other providers than external-dns. */
  readonly records: readonly DnsRecord[];
  /** The records that the operator itself makes in a zone; empty with external-dns. */
  readonly kept: readonly KeptRecord[];
  /** Why some hostnames get no record. */
  readonly fault: Verdict | undefined;
  /** Whether it is unknown which records the binding should have. Existing ones stay then. */
  readonly isUndecided?: boolean;
}

/** What planning needs from the operator. */
export interface PlanParts {
  /** Returns the owner that a tunnel's records are marked with. */
  readonly ownerOf: (tunnel: Tunnel) => Promise<string>;
  /** Stores the credentials for the clean-up. @param secret `NAMESPACE/NAME` */
  readonly keepCredentials: (secret: string) => Promise<void>;
}

/** Plans a record for each hostname of the routes that the binding's tunnel accepts. */
export async function planDns(
  { tunnel, routes, object }: CompiledBinding,
  { ownerOf, keepCredentials }: PlanParts,
): Promise<DnsPlan> {
  const dns = tunnel?.spec?.dns;
  const provider = dns?.provider ?? "None";
  if (!tunnel || !dns || provider === "None") {
    return { provider: "None", records: [], kept: [], fault: undefined };
  }
  const undecided = routes.find(({ held, publication }) => held && !publication)?.accepted;
  if (undecided) return { provider, records: [], kept: [], fault: undecided, isUndecided: true };
  const data = recordDataOf(dns.target ?? "");
  if (!data) {
    const message = `dns.target ${dns.target} is neither a name nor an IP address`;
    const fault = no("TargetInvalid", message);
    return { provider, records: [], kept: [], fault, isUndecided: true };
  }
  // If several bindings have routes with the same hostnames, only one of them has the records.
  const own = keyOf(object.metadata);
  const names = routes.filter(({ publication }) => publication?.recordsOf === own)
    .flatMap(({ spec }) => spec.hostnames);
  const records = [...new Set(names)].map((name): DnsRecord => ({ name, ...data, ttl: dns.ttl }));
  if (provider === "ExternalDNS") return { provider, records, kept: [], fault: undefined };
  const secret = `${tunnel.home}/${dns.secretRef?.name}`;
  const owner = ownerText(await ownerOf(tunnel), resourceOf(object.metadata));
  // Credentials for the clean-up are stored before any record exists.
  await keepCredentials(secret);
  return { provider, records: [], ...recordsInZone(records, { dns, provider, secret, owner }) };
}

/**
 * A plan without new records of some hostnames: a zone may have more names than the relay lets the tunnel
 * have. Records that are there already stay.
 *
 * @param there The names that have records.
 * @param untaken The hostnames, with the verdict on their records.
 */
export function withoutNew(
  plan: DnsPlan,
  there: ReadonlySet<string>,
  untaken: ReadonlyMap<string, Verdict>,
): DnsPlan {
  const isLeft = ({ name }: DnsRecord) => untaken.has(name) && !there.has(name);
  const left = [...plan.kept, ...plan.records].find(isLeft);
  if (!left) return plan;
  return {
    ...plan,
    kept: plan.kept.filter((record) => !isLeft(record)),
    records: plan.records.filter((record) => !isLeft(record)),
    fault: plan.fault ?? untaken.get(left.name),
  };
}

/** The records that the tunnel's zone should have, and why it can't have the others. */
function recordsInZone(
  records: readonly DnsRecord[],
  { dns, provider, secret, owner }: {
    readonly dns: NonNullable<TunnelSpec["dns"]>;
    readonly provider: DnsPlan["provider"];
    readonly secret: string;
    readonly owner: string;
  },
): Pick<DnsPlan, "kept" | "fault"> {
  const zone = (dns.zone ?? "").replace(/\.$/, "");
  // An empty server means Cloudflare.
  const server = provider === "RFC2136" ? dns.server ?? "" : "";
  const proxied = provider === "Cloudflare" && dns.proxied && { proxied: true };
  const keep = dns.policy === "UpsertOnly" && { keep: true };
  const faults = records.map((record) => impossible(record, zone, provider));
  return {
    kept: records.filter((_, index) => !faults[index]).map((record) => (
      { ...record, zone, server, secret, owner, ...keep, ...proxied }
    )),
    fault: faults.find((fault) => fault),
  };
}

/** Returns why a zone can't have a record; undefined if it can. */
function impossible(
  { name, type }: DnsRecord,
  zone: string,
  provider: DnsPlan["provider"],
): Verdict | undefined {
  if (name !== zone && !name.endsWith(`.${zone}`)) {
    return no("NotInZone", `${name} is not in the zone ${zone}`);
  }
  if (!isName(ownerName(name))) {
    return no("NameTooLong", `${name} is too long: its owner's record is at ${ownerName(name)}`);
  }
  // Cloudflare resolves such a CNAME itself, and answers with addresses.
  if (name !== zone || type !== "CNAME" || provider === "Cloudflare") return undefined;
  const why = `${name} is the apex of its zone, where a CNAME can't be (RFC 1034 section 3.6.2)`;
  return no("ApexNeedsAddress", `${why}: set dns.target to an IP address`);
}
