/** Tunnel and ClusterTunnel: a way from a relay into this cluster. */
import { z } from "zod";
import { networkPolicy } from "./network_policy.ts";
import { formerRelay, relay, relayPlace } from "./relay.ts";
import {
  conditions,
  hostnamePattern,
  labelMap,
  objectName,
  passedOn,
  policyName,
  withRules,
} from "./schema.ts";

const roleName = z.string().min(1).max(253).regex(/^[A-Za-z0-9]([A-Za-z0-9:._-]*[A-Za-z0-9])?$/);

const kubernetesApi = withRules(
  z.object({
    serviceAccountName: objectName.optional().describe(
      "The ServiceAccount as which callers of the tunnel reach the API server; without it, the operator makes one",
    ),
    clusterRole: roleName.optional().describe(
      "A ClusterRole that the ServiceAccount is bound to: in the Tunnel's namespace, or in the whole cluster for a ClusterTunnel",
    ),
  }),
  {
    rule: "has(self.serviceAccountName) || has(self.clusterRole)",
    message: "kubernetesApi must have serviceAccountName, clusterRole, or both",
  },
);

const agent = withRules(
  z.object({
    replicas: z.int().min(0).max(100).default(2),
    image: z.string().min(1).max(512).optional().describe("Default: the operator's --agent-image"),
    imagePullPolicy: z.enum(["Always", "IfNotPresent", "Never"]).optional(),
    imagePullSecrets: z.array(z.object({ name: objectName })).max(16).optional(),
    resources: passedOn.optional(),
    nodeSelector: labelMap.optional(),
    tolerations: z.array(passedOn).max(64).optional(),
    affinity: passedOn.optional(),
    topologySpreadConstraints: z.array(passedOn).max(16).optional(),
    priorityClassName: z.string().min(1).max(253).optional(),
    podLabels: labelMap.optional(),
    podAnnotations: labelMap.optional(),
    extraArgs: z.array(z.string().max(4096)).max(64).optional()
      .describe("Further options of the agent"),
    hostNetwork: z.boolean().default(false),
    healthPort: z.int().min(0).max(65535).default(8081)
      .describe("Port of the agent's health listener; 0 is none, and then no probes"),
    pdb: z.boolean().default(true)
      .describe("Make a PodDisruptionBudget when there are two agents or more"),
    networkPolicy: networkPolicy.prefault({}).describe("A NetworkPolicy for the agents' pods"),
  }),
  {
    rule: "!self.hostNetwork || !has(self.networkPolicy) || !self.networkPolicy.enabled",
    message: "agent.networkPolicy has no effect on agents with hostNetwork: use one of the two",
  },
);

const sidecar = z.object({
  healthPort: z.int().min(1).max(65535).default(18081)
    .describe(
      "Port of the health listener; the pod's annotation culvert.dev/health-port takes precedence",
    ),
  resources: passedOn.optional().describe("Default: agent.resources"),
  hostnames: z.array(hostnamePattern).min(1).max(64).optional()
    .describe("Hostnames that pods may ask for with the annotation culvert.dev/hostname"),
});

const allowedBindings = withRules(
  z.object({
    namespaces: z.enum(["Same", "All", "Selector"]).default("Same"),
    selector: z.object({ matchLabels: labelMap }).optional()
      .describe("Labels of the namespaces whose TunnelBindings may use the tunnel"),
    hostnames: z.array(hostnamePattern).max(64).optional()
      .describe("Hostnames that bindings may have; *.example.com is any name below example.com"),
  }),
  {
    rule: "(self.namespaces == 'Selector') == has(self.selector)",
    message: "allowedBindings.selector belongs to namespaces: Selector",
  },
);

const dns = withRules(
  z.object({
    provider: z.enum(["None", "ExternalDNS", "RFC2136", "Cloudflare"]).default("None")
      .describe("Who makes DNS records of the bindings' hostnames"),
    target: z.string().min(1).max(253).regex(/^[A-Za-z0-9.:-]+$/).optional()
      .describe("What records point at: the relay's name, or an IP address"),
    ttl: z.int().min(1).max(86400).default(300),
    zone: z.string().min(1).max(253).regex(/^[a-z0-9.-]+$/).optional()
      .describe("RFC2136, Cloudflare: the zone's name"),
    server: z.string().min(1).max(261).regex(/^\S+:\d+$/).optional()
      .describe("RFC2136: HOST:PORT of the zone's primary"),
    secretRef: z.object({ name: objectName }).optional().describe(
      "RFC2136: a Secret with keyname, secret (base64) and algorithm of a TSIG key; Cloudflare: with token",
    ),
    proxied: z.boolean().default(false)
      .describe("Cloudflare: send the hostnames' traffic through Cloudflare"),
    policy: z.enum(["Sync", "UpsertOnly"]).default("Sync")
      .describe("UpsertOnly never deletes a record"),
  }),
  {
    // A name, whose last label is no number, or an address; IPv6 addresses are read by the operator.
    rule: "!has(self.target) || self.target.matches('^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$') || " +
      "self.target.matches('^([A-Za-z0-9-]+[.])*[A-Za-z0-9-]*[A-Za-z][A-Za-z0-9-]*[.]?$') || " +
      "self.target.matches('^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])([.]|$)){4}$')",
    message: "dns.target must be a hostname, an IPv4 or an IPv6 address",
  },
  {
    rule: "self.provider == 'None' || has(self.target)",
    message: "dns.target is required: what records point at",
  },
  {
    rule:
      "self.provider != 'RFC2136' || (has(self.server) && has(self.zone) && has(self.secretRef))",
    message: "dns.provider RFC2136 needs server, zone and secretRef",
  },
  {
    rule: "self.provider != 'Cloudflare' || (has(self.zone) && has(self.secretRef))",
    message: "dns.provider Cloudflare needs zone and secretRef",
  },
);

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration such as `1h30m`. */
export function durationMs(text: string): number {
  const parts = text.matchAll(/([0-9]+)(s|m|h)/g);
  return [...parts].reduce((sum, [, count, unit]) => sum + Number(count) * unitMs[unit!]!, 0);
}

const goDuration = z.string().min(2).max(16).regex(/^([0-9]+(s|m|h))+$/);

const tokenRotation = withRules(
  z.object({
    every: goDuration.describe("How long a token is used before it is replaced, such as 720h"),
    overlap: goDuration.default("10m")
      .describe("How long, at least, the relay still accepts the previous token"),
  }),
  {
    rule: "duration(self.every) >= duration('1m') && duration(self.every) > duration(self.overlap)",
    message: "tokenRotation.every must be at least 1m, and longer than overlap",
  },
);

/** The spec of both kinds. */
export const tunnelSpec = withRules(
  z.object({
    id: z.string().min(1).max(63).regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/).optional()
      .describe(
        "The cluster's id at the relay; immutable. Default: from prefix, namespace and name",
      ),
    relay,
    kubernetesApi: kubernetesApi.optional()
      .describe("Serve this cluster's API server at the relay's /tunnel/ID/"),
    agent: agent.prefault({}),
    sidecar: sidecar.prefault({})
      .describe("The agent in pods that have the label culvert.dev/inject"),
    allowedBindings: allowedBindings.prefault({ namespaces: "Same" }),
    defaultPolicy: policyName.optional()
      .describe("The relay's policy for routes that name none; public lets everybody in"),
    dns: dns.prefault({ provider: "None" }),
    tokenRotation: tokenRotation.optional()
      .describe("Replace the agents' token on a schedule; no request fails and no agent restarts"),
    deletionPolicy: z.enum(["Delete", "Retain"]).default("Delete")
      .describe("Retain keeps entries at the relay and DNS records when the object is deleted"),
    paused: z.boolean().default(false).describe("Change nothing for this tunnel"),
  }),
  {
    rule: "has(self.id) == has(oldSelf.id) && (!has(self.id) || self.id == oldSelf.id)",
    message: "id is immutable: make another Tunnel for another id",
  },
  {
    rule: "!has(self.tokenRotation) || has(self.relay.registration.api)",
    message: "tokenRotation needs relay.registration.api: the relay must learn of each new token",
  },
  {
    rule: "!has(self.sidecar) || !has(self.sidecar.hostnames) || has(self.defaultPolicy)",
    message: "sidecar.hostnames needs defaultPolicy: who may use them",
  },
);

/** What is known of a tunnel. */
export const tunnelStatus = z.object({
  observedGeneration: z.int().optional(),
  id: z.string().optional(),
  endpoint: z.string().optional().describe("Where the tunnel is registered"),
  place: relayPlace.optional().describe("How the operator reaches it"),
  formerRelays: z.array(formerRelay).max(8).optional()
    .describe("Where the tunnel was registered before, and may still be"),
  clusterRole: z.string().optional()
    .describe("The ClusterRole that the agents' ServiceAccount may be bound to"),
  tokenSecret: z.string().optional(),
  tokenDigests: z.array(z.string()).optional(),
  connectedAgents: z.int().optional(),
  replicas: z.int().optional(),
  selector: z.string().optional(),
  routes: z.int().optional(),
  routesHash: z.string().optional(),
  sidecar: z.object({ routes: passedOn, port: passedOn }).optional()
    .describe("What the MutatingAdmissionPolicy adds to pods; only with --injection policy"),
  conditions: conditions.optional(),
});

export type TunnelSpec = z.output<typeof tunnelSpec>;
export type TunnelStatus = z.output<typeof tunnelStatus>;
