/** Makes the DNSEndpoint of a binding whose records external-dns makes. */
import { isOwnedBy, keyOf, type KubeObject } from "../../kube/objects.ts";
import { includes, stamped } from "../applied.ts";
import { no, type Verdict } from "../conditions.ts";
import type { Context } from "../context.ts";
import { dnsEndpointName, dnsEndpointOf, dnsEndpoints, stateOf } from "./dns_endpoint.ts";
import type { DnsPlan } from "./dns_plan.ts";

/** Milliseconds between checks whether a foreign object with the same name is gone. */
const conflictMs = 60_000;
/** Milliseconds between checks whether the kind DNSEndpoint exists by now. */
const missingMs = 30_000;

/** What external-dns says of the records, and after how many milliseconds to check again. */
export interface EndpointResult {
  readonly verdict: Verdict;
  readonly againMs: number;
}

/**
 * Creates, changes or deletes a binding's DNSEndpoint.
 *
 * @returns undefined if the binding needs none.
 */
export async function syncEndpoint(
  context: Context,
  object: KubeObject,
  { provider, records }: DnsPlan,
): Promise<EndpointResult | undefined> {
  const { client, caches, digest } = context;
  if (provider !== "ExternalDNS" || records.length === 0) {
    await removeEndpoint(context, object);
    return undefined;
  }
  if (caches.isMissing("dnsEndpoints")) {
    const message = "The cluster has no kind DNSEndpoint; install external-dns' CRD";
    return { verdict: no("CRDMissing", message), againMs: missingMs };
  }
  const at = endpointPath(object);
  const cached = caches.get("dnsEndpoints", keyOf(at));
  // The cache has only objects with the operator's label.
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

/** The names in the DNSEndpoint that a binding owns. */
export function endpointNames(
  { caches }: Pick<Context, "caches">,
  object: KubeObject,
): readonly string[] {
  const { endpoints = [] } = (ownEndpoint(caches, object)?.["spec"] ?? {}) as {
    endpoints?: readonly { readonly dnsName?: string }[];
  };
  return endpoints.flatMap(({ dnsName }) => dnsName ?? []);
}

/** Deletes the DNSEndpoint that a binding owns, if there is one. */
export async function removeEndpoint(
  { client, caches }: Pick<Context, "client" | "caches">,
  object: KubeObject,
): Promise<void> {
  const own = ownEndpoint(caches, object);
  if (own) await client.delete(dnsEndpoints, endpointPath(object), own.metadata.uid!);
}

function ownEndpoint(caches: Context["caches"], object: KubeObject): KubeObject | undefined {
  const cached = caches.get("dnsEndpoints", keyOf(endpointPath(object)));
  return cached && isOwnedBy(cached, object) ? cached : undefined;
}

function endpointPath({ metadata: { namespace = "", name } }: KubeObject) {
  return { namespace, name: dnsEndpointName(name) };
}
