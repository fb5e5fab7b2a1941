/** DNSEndpoints, from which external-dns makes records. */
import type { Condition, KubeObject } from "../../kube/objects.ts";
import type { Resource } from "../../kube/resources.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { DnsRecord } from "./records.ts";

export const dnsEndpoints: Resource = {
  group: "externaldns.k8s.io",
  version: "v1alpha1",
  kind: "DNSEndpoint",
  plural: "dnsendpoints",
  isNamespaced: true,
};

/** A DNSEndpoint with a binding's records. Kubernetes deletes it with the binding. */
export function dnsEndpointOf(
  { apiVersion, kind, metadata }: KubeObject,
  records: readonly DnsRecord[],
): KubeObject {
  const { name, namespace = "", uid = "" } = metadata;
  return {
    metadata: {
      name: dnsEndpointName(name),
      namespace,
      labels: { [managedByLabel]: manager },
      ownerReferences: [{
        ...{ apiVersion: apiVersion ?? "culvert.dev/v1alpha1", kind: kind ?? "TunnelBinding" },
        ...{ name, uid, controller: true },
      }],
    },
    spec: {
      endpoints: records.map(({ name, type, target, ttl }) => ({
        dnsName: name,
        recordType: type,
        targets: [target],
        recordTTL: ttl,
      })),
    },
  };
}

export function dnsEndpointName(binding: string): string {
  return `culvert-${binding}`.slice(0, 253);
}

/**
 * What external-dns says of an object. Since version 0.23 it sets the conditions Accepted and Ready; older
 * versions only set `observedGeneration`.
 */
export function stateOf({ metadata, ...rest }: KubeObject): Verdict {
  const { observedGeneration, conditions = [] } = (rest["status"] ?? {}) as {
    observedGeneration?: number;
    conditions?: readonly Condition[];
  };
  const { generation = 0 } = metadata;
  const own = conditions.filter(({ type }) => ["Accepted", "Ready"].includes(type));
  const current = own.filter(({ observedGeneration: of = observedGeneration }) =>
    of === undefined || of >= generation
  );
  const fault = current.find(({ status }) => status === "False") ??
    current.find(({ status }) => status === "Unknown");
  if (fault) {
    const { reason, message, status } = fault;
    const verdict = status === "False" ? no : unknown;
    return verdict(reason || "NotReady", `external-dns: ${message || fault.type}`);
  }
  const isReady = own.length > 0
    ? current.some(({ type }) => type === "Ready")
    : observedGeneration !== undefined && observedGeneration >= generation;
  return isReady
    ? yes("RecordsMade")
    : unknown("Pending", "external-dns has not looked at the records yet");
}
