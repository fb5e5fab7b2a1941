/** Keeps the DNSEndpoint of a binding, where external-dns makes its records. */
import { isOwnedBy, keyOf, type KubeObject } from "../../kube/objects.ts";
import { includes, stamped } from "../applied.ts";
import { no, type Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { dnsEndpointName, dnsEndpointOf, dnsEndpoints, stateOf } from "./dns_endpoint.ts";
import type { DnsPlan } from "./dns_plan.ts";

/** How often it is looked whether somebody else's object has gone. */
const conflictMs = 60_000;
/** How often a missing kind is looked for. */
const missingMs = 30_000;

/** What external-dns says, and when to look again. */
export interface EndpointResult {
  readonly verdict: Verdict;
  readonly againMs: number;
}

/** Makes, changes or deletes a binding's DNSEndpoint; undefined where there is none and is to be none. */
export async function syncEndpoint(
  { client, caches, digest }: Context,
  object: KubeObject,
  { provider, records }: DnsPlan,
): Promise<EndpointResult | undefined> {
  const { namespace = "", name } = object.metadata;
  const at = { namespace, name: dnsEndpointName(name) };
  const cached = caches.get("dnsEndpoints", keyOf(at));
  if (provider !== "ExternalDNS" || records.length === 0) {
    if (cached && isOwnedBy(cached, object)) {
      await client.delete(dnsEndpoints, at, cached.metadata.uid!);
    }
    return undefined;
  }
  if (caches.isMissing("dnsEndpoints")) {
    const message = "The cluster has no kind DNSEndpoint; install external-dns' CRD";
    return { verdict: no("CRDMissing", message), againMs: missingMs };
  }
  // The cache lacks others' objects, and those whose label somebody has removed.
  const there = cached ?? await client.find(dnsEndpoints, at);
  if (there && !isOwnedBy(there, object)) {
    const message = `DNSEndpoint ${at.name} is there already and belongs to somebody else`;
    return { verdict: no("Conflict", message), againMs: conflictMs };
  }
  const wanted = stamped(dnsEndpointOf(object, records), digest);
  if (there && includes(there, wanted)) return { verdict: stateOf(there), againMs: Infinity };
  const written = await client.apply(dnsEndpoints, wanted);
  caches.learn("dnsEndpoints", written);
  return { verdict: stateOf(written), againMs: Infinity };
}
