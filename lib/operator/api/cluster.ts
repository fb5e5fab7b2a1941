/** Cluster: a cluster that a relay admits, its entry in Argo CD, and its ClusterProfile. */
import { z } from "zod";
import {
  conditions,
  hostnamePattern,
  labelMap,
  mapByName,
  objectName,
  policyName,
  withRules,
} from "./schema.ts";

/** Labels and annotations of Argo CD's Secrets that are not the user's to set. */
const reserved =
  "!self.exists(key, key.startsWith('culvert.dev/') || key == 'argocd.argoproj.io/secret-type')";

/** What Argo CD is to have of a cluster. */
export const argocdSpec = z.object({
  enabled: z.boolean().default(true).describe("Make a cluster Secret for Argo CD"),
  namespace: objectName.optional()
    .describe("Argo CD's namespace: one of --argocd-namespaces; default: the first of them"),
  project: z.string().min(1).max(253).optional()
    .describe("The only AppProject whose Applications may use the cluster"),
  labels: withRules(labelMap.meta({ maxProperties: 64 }), {
    rule: reserved,
    message: "labels of culvert.dev and argocd.argoproj.io/secret-type are the operator's",
  }).optional().describe("Labels of the Secret, for ApplicationSets"),
  annotations: withRules(labelMap.meta({ maxProperties: 64 }), {
    rule: "!self.exists(key, key.startsWith('culvert.dev/'))",
    message: "annotations of culvert.dev are the operator's",
  }).optional(),
  namespaces: z.array(objectName).max(256).optional()
    .describe("Argo CD manages these namespaces alone; default: all"),
  clusterResources: z.boolean().default(false)
    .describe("With namespaces: whether Argo CD may manage cluster-wide resources too"),
  keepWhileInUse: z.boolean().default(true)
    .describe(
      "Keep Secret, entry and ClusterProfile of a deleted Cluster until no Application uses it",
    ),
});

/** Labels of ClusterProfiles that are not the user's to set. */
const reservedOfProfiles =
  "!self.exists(key, key.startsWith('culvert.dev/') || key == 'x-k8s.io/cluster-manager' || key == 'app.kubernetes.io/managed-by')";

/** How a cluster is in the cluster inventory. */
export const clusterProfileSpec = z.object({
  enabled: z.boolean().default(true).describe("Publish the cluster as a ClusterProfile"),
  namespace: objectName.optional().describe(
    "Where the ClusterProfile is: one of --cluster-profile-namespaces; default: the first of them",
  ),
  displayName: z.string().min(1).max(253).optional()
    .describe("A name for people; default: the Cluster's name"),
  labels: withRules(labelMap.meta({ maxProperties: 64 }), {
    rule: reservedOfProfiles,
    message:
      "labels of culvert.dev, app.kubernetes.io/managed-by and x-k8s.io/cluster-manager are the operator's",
  }).optional().describe("Labels of the ClusterProfile, to select clusters by"),
  accessProvider: z.string().min(1).max(63).regex(/^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/)
    .default("culvert").describe(
      "Name in status.accessProviders, by which clients find the credential plugin to use",
    ),
});

const token = z.object({
  name: z.string().min(1).max(64).regex(/^[A-Za-z0-9._-]+$/),
  sha256: z.string().min(64).max(64).regex(/^[0-9a-f]{64}$/)
    .describe("SHA-256 of the agents' token, in hexadecimal"),
  expires: z.string().max(64).meta({ format: "date-time" }).optional(),
});

const id = z.string().min(1).max(200).regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);

/** What the relay and Argo CD are to have. */
export const clusterSpec = withRules(
  z.object({
    id: id.optional().describe("The cluster's id at the relay; immutable. Default: the name"),
    accepted: z.boolean().default(true)
      .describe("Whether the relay admits the cluster's agents"),
    registrationToken: objectName.optional().describe(
      "Set by the operator: the RegistrationToken with which the cluster was registered at the relay's admin API, which has its tokens",
    ),
    tokens: mapByName(z.array(token).max(32)).optional()
      .describe("Digests of the tokens that agents may have; never the tokens"),
    targets: z.array(z.string().min(1).max(253)).max(1000).optional().describe(
      "Targets of the agents, as the agents name them; the first is what /tunnel/ID/ leads to",
    ),
    hosts: z.array(hostnamePattern).max(64).optional()
      .describe("Hostnames that the cluster's agents may claim"),
    policy: policyName.optional()
      .describe("Who may use hosts: a policy of the relay; public lets everybody in"),
    callerPolicy: policyName.optional()
      .describe("A policy of the relay that says who may use /tunnel/ID/"),
    certificateNames: z.array(z.string().min(1).max(253)).min(1).max(16).optional()
      .describe("Names of which the agents' client certificate must have one"),
    impersonation: z.enum(["refuse", "strip", "forward"]).optional()
      .describe("What happens to requests with Impersonate- headers; default: refuse"),
    limits: z.object({
      requestsPerSecond: z.number().min(0).optional(),
      openRequests: z.int().min(0).optional(),
      bytesPerSecond: z.int().min(0).optional(),
    }).optional().describe("In place of the relay's limits; 0 is no limit"),
    argocd: argocdSpec.prefault({ enabled: false }).describe("What Argo CD is to have of it"),
    clusterProfile: clusterProfileSpec.prefault({ enabled: false })
      .describe("How it is in the cluster inventory (multicluster.x-k8s.io)"),
  }),
  {
    rule: "has(self.tokens) && size(self.tokens) > 0 || has(self.registrationToken)",
    message: "tokens is required: name and sha256 of at least one token",
  },
  {
    rule: "!has(self.registrationToken) || !has(self.tokens)",
    message: "a cluster with registrationToken has its tokens at the relay: leave tokens out",
  },
  {
    rule: "has(self.id) == has(oldSelf.id) && (!has(self.id) || self.id == oldSelf.id)",
    message: "id is immutable: make another Cluster for another id",
  },
  {
    rule:
      "has(self.registrationToken) == has(oldSelf.registrationToken) && (!has(self.registrationToken) || self.registrationToken == oldSelf.registrationToken)",
    message: "registrationToken is immutable",
  },
  {
    rule: "has(self.hosts) == has(self.policy)",
    message: "hosts and policy go together: policy says who may use the hosts",
  },
);

/** What is known of a cluster. */
export const clusterStatus = z.object({
  observedGeneration: z.int().optional(),
  id: z.string().optional(),
  argocdNamespace: z.string().optional().describe("Where the Argo CD Secret is"),
  argocdSecret: z.string().optional(),
  clusterProfile: z.string().optional().describe("The ClusterProfile: NAMESPACE/NAME"),
  agents: z.array(z.object({
    name: z.string(),
    version: z.string().optional(),
    since: z.string().optional(),
  })).max(100).optional().describe("Agents that are connected"),
  connectedAgents: z.int().optional(),
  lastConnected: z.string().meta({ format: "date-time" }).optional()
    .describe("When agents were last seen to come or go; written at most every five minutes"),
  conditions: conditions.optional(),
});

export type ClusterSpec = z.output<typeof clusterSpec>;
export type ClusterStatus = z.output<typeof clusterStatus>;
export type ArgocdSpec = z.output<typeof argocdSpec>;
export type ClusterProfileSpec = z.output<typeof clusterProfileSpec>;
