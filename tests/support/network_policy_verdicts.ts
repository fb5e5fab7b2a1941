/**
 * What a NetworkPolicy allows, for tests on clusters that enforce none. It judges by the pod that a
 * connection reaches, as policies are defined:
 * https://kubernetes.io/docs/concepts/services-networking/network-policies/
 */
import type { KubeObject } from "../../lib/kube/objects.ts";

type Labels = Readonly<Record<string, string>>;

/** A pod, or with an address alone something outside the cluster. */
export interface Endpoint {
  readonly ip: string;
  readonly namespace?: string;
  readonly labels?: Labels;
  /** Ports that its containers name. */
  readonly ports?: Readonly<Record<string, number>>;
}

interface Selector {
  readonly matchLabels?: Labels;
  readonly matchExpressions?: readonly Expression[];
}

interface Expression {
  readonly key: string;
  readonly operator: string;
  readonly values: readonly string[];
}

interface Peer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly ipBlock?: { readonly cidr: string };
}

interface Port {
  readonly protocol: string;
  /** Every port where it is left out. */
  readonly port?: number | string;
}

interface Rule {
  readonly ports?: readonly Port[];
  readonly to?: readonly Peer[];
  readonly from?: readonly Peer[];
}

interface PolicySpec {
  readonly podSelector: Selector;
  readonly policyTypes: readonly string[];
  readonly ingress?: readonly Rule[];
  readonly egress?: readonly Rule[];
}

function specOf(policy: KubeObject): PolicySpec {
  return policy["spec"] as PolicySpec;
}

function isSelected(
  { matchLabels = {}, matchExpressions = [], ...other }: Selector,
  labels: Labels,
): boolean {
  const unknown = matchExpressions.filter(({ operator }) => operator !== "In");
  const rest = [...Object.keys(other), ...unknown.map(({ operator }) => operator)];
  if (rest.length > 0) throw new Error(`Not evaluated here: ${rest}`);
  return Object.entries(matchLabels).every(([label, value]) => labels[label] === value) &&
    matchExpressions.every(({ key, values }) => values.includes(labels[key] ?? ""));
}

/** Whether a policy is about a pod of its namespace. */
export function isAbout(policy: KubeObject, labels: Labels): boolean {
  return isSelected(specOf(policy).podSelector, labels);
}

/** Whether pods that the policy is about may connect to a port of an endpoint. */
export function allowsTo(
  policy: KubeObject,
  endpoint: Endpoint,
  port: number,
  protocol = "TCP",
): boolean {
  const { policyTypes, egress = [] } = specOf(policy);
  if (!policyTypes.includes("Egress")) return true;
  return egress.some(({ to, ports }) =>
    hasPeer(to, endpoint, policy) && hasPort(ports, endpoint, port, protocol)
  );
}

/** Whether an endpoint may connect to a port of pods that the policy is about. */
export function allowsFrom(policy: KubeObject, endpoint: Endpoint, port: number): boolean {
  const { policyTypes, ingress = [] } = specOf(policy);
  if (!policyTypes.includes("Ingress")) return true;
  return ingress.some(({ from, ports }) =>
    hasPeer(from, endpoint, policy) && hasPort(ports, { ip: "" }, port, "TCP")
  );
}

function hasPeer(
  peers: readonly Peer[] | undefined,
  { ip, namespace, labels = {} }: Endpoint,
  policy: KubeObject,
): boolean {
  if (!peers || peers.length === 0) return true;
  return peers.some(({ podSelector, namespaceSelector, ipBlock }) => {
    if (ipBlock) return contains(ipBlock.cidr, ip);
    if (namespace === undefined) return false;
    const isInNamespace = namespaceSelector
      ? isSelected(namespaceSelector, { "kubernetes.io/metadata.name": namespace })
      : namespace === policy.metadata.namespace;
    return isInNamespace && (!podSelector || isSelected(podSelector, labels));
  });
}

function hasPort(
  ports: readonly Port[] | undefined,
  endpoint: Endpoint,
  port: number,
  protocol: string,
): boolean {
  if (!ports || ports.length === 0) return true;
  return ports.some((allowed) => {
    if (allowed.protocol !== protocol) return false;
    if (allowed.port === undefined) return true;
    const number = typeof allowed.port === "string" ? endpoint.ports?.[allowed.port] : allowed.port;
    return number === port;
  });
}

/** IPv4 alone. */
function contains(cidr: string, ip: string): boolean {
  const [network = "", bits = ""] = cidr.split("/");
  const binary = (address: string) =>
    address.split(".").map((part) => Number(part).toString(2).padStart(8, "0")).join("")
      .slice(0, Number(bits));
  return binary(network) === binary(ip);
}
