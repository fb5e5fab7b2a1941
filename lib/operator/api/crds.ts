/** CustomResourceDefinitions of our kinds, from the schemas that this program reads objects with. */
import { z } from "zod";
import type { Resource } from "../../kube/resources.ts";
import { accessPolicySpec, accessPolicyStatus } from "./access_policy.ts";
import { clusterSpec, clusterStatus } from "./cluster.ts";
import { registrationTokenSpec, registrationTokenStatus } from "./registration_token.ts";
import { bindingSpec, bindingStatus } from "./tunnel_binding.ts";
import { group, type Rule, version } from "./schema.ts";
import { tunnelSpec, tunnelStatus } from "./tunnel.ts";

/** A kind of ours. */
export interface OwnKind {
  readonly resource: Resource;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly description: string;
  readonly spec: z.ZodType;
  readonly status: z.ZodType;
  /** Rules about the object as a whole. */
  readonly rules: readonly Rule[];
  readonly columns: readonly Column[];
  readonly scale?: Readonly<Record<string, string>>;
}

interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  readonly jsonPath: string;
  readonly priority?: number;
}

function resource(kind: string, plural: string, isNamespaced = true): Resource {
  return { group, version, kind, plural, isNamespaced };
}

export const tunnels: Resource = resource("Tunnel", "tunnels");
export const clusterTunnels: Resource = resource("ClusterTunnel", "clustertunnels", false);
export const tunnelBindings: Resource = resource("TunnelBinding", "tunnelbindings");
export const accessPolicies: Resource = resource("AccessPolicy", "accesspolicies");
export const clusters: Resource = resource("Cluster", "clusters");
export const registrationTokens: Resource = resource("RegistrationToken", "registrationtokens");

const ready: readonly Column[] = [
  { name: "Ready", type: "string", jsonPath: '.status.conditions[?(@.type=="Ready")].status' },
  {
    name: "Reason",
    type: "string",
    jsonPath: '.status.conditions[?(@.type=="Ready")].reason',
    priority: 1,
  },
];
const age: Column = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };

const tunnelParts = {
  spec: tunnelSpec,
  status: tunnelStatus,
  // Names of what is made for it have to fit.
  rules: [{
    rule: "size(self.metadata.name) <= 50",
    message: "metadata.name must be at most 50 characters",
  }],
  columns: [
    ...ready,
    { name: "ID", type: "string", jsonPath: ".status.id" },
    { name: "Agents", type: "integer", jsonPath: ".status.connectedAgents" },
    { name: "Routes", type: "integer", jsonPath: ".status.routes" },
    age,
  ] as const,
  scale: {
    specReplicasPath: ".spec.agent.replicas",
    statusReplicasPath: ".status.replicas",
    labelSelectorPath: ".status.selector",
  },
};

/** All of them. */
export const ownKinds: readonly OwnKind[] = [
  {
    ...tunnelParts,
    resource: tunnels,
    singular: "tunnel",
    shortNames: ["tun"],
    description: "A tunnel from a relay into this cluster, with its agents",
  },
  {
    ...tunnelParts,
    resource: clusterTunnels,
    singular: "clustertunnel",
    shortNames: ["ctun"],
    description: "A tunnel for several namespaces; its agents run in the operator's",
  },
  {
    resource: tunnelBindings,
    singular: "tunnelbinding",
    shortNames: ["tb"],
    description: "Publishes Services of its namespace at hostnames, through a tunnel",
    spec: bindingSpec,
    status: bindingStatus,
    rules: [],
    columns: [
      ...ready,
      { name: "Tunnel", type: "string", jsonPath: ".spec.tunnelRef.name" },
      { name: "Hostnames", type: "string", jsonPath: ".status.hostnames" },
      age,
    ],
  },
  {
    resource: accessPolicies,
    singular: "accesspolicy",
    shortNames: [],
    description: "Says who may use routes of TunnelBindings in its namespace",
    spec: accessPolicySpec,
    status: accessPolicyStatus,
    rules: [],
    columns: [...ready, age],
  },
  {
    resource: clusters,
    singular: "cluster",
    shortNames: [],
    description:
      "A cluster that the relay admits, its entry in Argo CD and its ClusterProfile; on the relay's side",
    spec: clusterSpec,
    status: clusterStatus,
    rules: [{
      rule: "size(self.metadata.name) <= 200",
      message: "metadata.name must be at most 200 characters",
    }],
    columns: [
      ...ready,
      { name: "ID", type: "string", jsonPath: ".status.id" },
      { name: "Agents", type: "integer", jsonPath: ".status.connectedAgents" },
      {
        name: "ArgoCD",
        type: "string",
        jsonPath: '.status.conditions[?(@.type=="ArgoCDReady")].reason',
      },
      age,
    ],
  },
  {
    resource: registrationTokens,
    singular: "registrationtoken",
    shortNames: [],
    description: "Lets other clusters register at the relay; on the relay's side",
    spec: registrationTokenSpec,
    status: registrationTokenStatus,
    rules: [{
      rule: "size(self.metadata.name) <= 46 && self.metadata.name != 'culvert-operator'",
      message:
        "metadata.name must be at most 46 characters, and culvert-operator is the operator's own",
    }],
    columns: [
      ...ready,
      { name: "Used", type: "integer", jsonPath: ".status.used" },
      { name: "Secret", type: "string", jsonPath: ".status.secretRef.name" },
      // Of type date, kubectl shows how long ago: nothing that is still to come.
      { name: "Expires", type: "string", jsonPath: ".spec.expires" },
      age,
    ],
  },
];

/** The definition of a kind as an object of the API. */
export function crdOf(kind: OwnKind): Record<string, unknown> {
  const { resource: { plural, isNamespaced }, scale } = kind;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}`, labels: { "app.kubernetes.io/part-of": "culvert" } },
    spec: {
      group,
      scope: isNamespaced ? "Namespaced" : "Cluster",
      names: {
        plural,
        singular: kind.singular,
        kind: kind.resource.kind,
        shortNames: kind.shortNames,
        categories: ["culvert"],
      },
      versions: [{
        name: version,
        served: true,
        storage: true,
        schema: { openAPIV3Schema: rootSchema(kind) },
        subresources: { status: {}, ...scale && { scale } },
        additionalPrinterColumns: kind.columns,
      }],
    },
  };
}

function rootSchema(kind: OwnKind): unknown {
  return {
    type: "object",
    description: kind.description,
    required: ["spec"],
    properties: {
      apiVersion: { type: "string" },
      kind: { type: "string" },
      metadata: { type: "object" },
      spec: structural(kind.spec),
      status: structural(kind.status),
    },
    ...kind.rules.length > 0 && { "x-kubernetes-validations": kind.rules },
  };
}

/** A schema in the subset of JSON Schema that CustomResourceDefinitions have. */
function structural(schema: z.ZodType): unknown {
  return cleaned(
    z.toJSONSchema(schema, { io: "input", target: "openapi-3.0", unrepresentable: "any" }),
  );
}

/** zod's output without what structural schemas must not have. */
function cleaned(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(cleaned);
  if (typeof value !== "object" || value === null) return value;
  const { $schema: _s, propertyNames: _p, ...rest } = value as Record<string, unknown>;
  if (rest["x-kubernetes-int-or-string"]) {
    const { description } = rest;
    return { "x-kubernetes-int-or-string": true, ...description !== undefined && { description } };
  }
  if (rest["x-kubernetes-preserve-unknown-fields"]) delete rest["additionalProperties"];
  if (rest["additionalProperties"] === false) delete rest["additionalProperties"];
  if (rest["maximum"] === Number.MAX_SAFE_INTEGER) delete rest["maximum"];
  if (rest["minimum"] === Number.MIN_SAFE_INTEGER) delete rest["minimum"];
  return Object.fromEntries(
    Object.entries(rest).map(([key, inner]) => [
      key,
      // A property may have any name, so only schemas are looked into.
      key === "properties"
        ? Object.fromEntries(
          Object.entries(inner as object).map(([name, it]) => [name, cleaned(it)]),
        )
        : key === "default" || key === "x-kubernetes-validations" || key === "required"
        ? inner
        : cleaned(inner),
    ]),
  );
}
