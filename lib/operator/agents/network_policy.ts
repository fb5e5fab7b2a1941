/**
 * The NetworkPolicy of a tunnel's agents: what they need, as far as it is known. A policy applies to the
 * pod that a connection reaches, so rules for a Service select its pods.
 */
import type { KubeObject } from "../../kube/objects.ts";
import type { Backend } from "../routes/route_resolution.ts";
import type { TunnelTable } from "../routes/route_table.ts";
import type { ReadableTunnel } from "../tunnel.ts";
import { metadataOf, namesOf, podLabels } from "./agent_metadata.ts";

type Port = { readonly protocol: "TCP" | "UDP"; readonly port: number | string };
type Peer = Readonly<Record<string, unknown>>;

interface EgressRule {
  readonly ports: readonly Port[];
  /** Default: everybody. */
  readonly to?: readonly Peer[];
}

const dnsPort = 53;
/** A policy sees the API server's own port, not that of its Service. */
const apiServerPorts: readonly number[] = [443, 6443];

/**
 * The policy; undefined where the tunnel asks for none.
 *
 * @param proxy What agents reach the relay through.
 */
export function networkPolicy(
  tunnel: ReadableTunnel,
  { backends }: Pick<TunnelTable, "backends">,
  proxy?: { readonly port: number },
): KubeObject | undefined {
  const { agent: { networkPolicy: wanted, healthPort }, relay, kubernetesApi } = tunnel.spec;
  if (!wanted.enabled) return undefined;
  const { ingressFrom, relayCIDRs, apiServerCIDRs, egress = [] } = wanted;
  return {
    metadata: metadataOf(tunnel, namesOf(tunnel).agent),
    spec: {
      podSelector: { matchLabels: podLabels(tunnel) },
      policyTypes: ["Ingress", "Egress"],
      // Probes, metrics, and the operator, which asks which table the agent serves.
      ...healthPort > 0 && {
        ingress: [{ ports: [tcp(healthPort)], ...ingressFrom && { from: ingressFrom } }],
      },
      egress: [
        { ports: [{ protocol: "UDP", port: dnsPort }, tcp(dnsPort)] },
        { ports: [tcp(proxy?.port ?? portOf(relay.url))], ...toBlocks(relayCIDRs) },
        ...kubernetesApi ? [{ ports: apiServerPorts.map(tcp), ...toBlocks(apiServerCIDRs) }] : [],
        ...rulesOf(backends),
        ...egress,
      ],
    },
  };
}

function tcp(port: number | string): Port {
  return { protocol: "TCP", port };
}

function toBlocks(cidrs: readonly string[] | undefined): Pick<EgressRule, "to"> {
  return cidrs ? { to: cidrs.map((cidr) => ({ ipBlock: { cidr } })) } : {};
}

/** The port of a WebSocket URL. */
function portOf(url: string): number {
  const { port, protocol } = new URL(url);
  return port === "" ? protocol === "wss:" ? 443 : 80 : Number(port);
}

/** One rule for all ports of the same pods. */
function rulesOf(backends: readonly Backend[]): EgressRule[] {
  const rules = new Map<
    string,
    { readonly peer: Peer | undefined; readonly ports: Set<number | string> }
  >();
  for (const backend of backends) {
    const peer = peerOf(backend);
    const key = JSON.stringify(peer) ?? "";
    const rule = rules.get(key) ?? { peer, ports: new Set() };
    rule.ports.add(backend.port);
    rules.set(key, rule);
  }
  return [...rules].sort(([one], [other]) => one < other ? -1 : 1).map(([_, { peer, ports }]) => ({
    ports: [...ports].sort((a, b) => String(a) < String(b) ? -1 : 1).map(tcp),
    ...peer && { to: [peer] },
  }));
}

/** The pods of a Service; undefined where they may be anywhere. */
function peerOf({ namespace, selector }: Backend): Peer | undefined {
  if (!selector) return undefined;
  return {
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } },
    podSelector: { matchLabels: selector },
  };
}
