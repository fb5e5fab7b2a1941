/** Each field of a Tunnel has an effect: none is accepted and ignored. */
import assert from "node:assert/strict";
import { z } from "zod";
import { selectorOf } from "../../lib/operator/agents/agent_metadata.ts";
import { agentDeployment, disruptionBudget } from "../../lib/operator/agents/agent_objects.ts";
import { tunnels } from "../../lib/operator/api/crds.ts";
import { tunnelSpec as schema } from "../../lib/operator/api/tunnel.ts";
import { sidecarsOf } from "../../lib/operator/injection/sidecar.ts";
import { networkPolicy } from "../../lib/operator/agents/network_policy.ts";
import { idOf, isReadable, type ReadableTunnel, readTunnel } from "../../lib/operator/tunnel.ts";
import { dnsEndpoints } from "../../lib/operator/dns/dns_endpoint.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, endpoint, route, tunnelSpec } from "./harness.ts";

const image = "culvert-agent:test";

/** A Tunnel with some fields besides those that it must have; `a.b.c` is a path. */
function tunnelWith(fields: Readonly<Record<string, unknown>>): ReadableTunnel {
  const spec = structuredClone(tunnelSpec()) as Record<string, unknown>;
  for (const [path, value] of Object.entries(fields)) {
    const keys = path.split(".");
    const last = keys.pop()!;
    const parent = keys.reduce<Record<string, unknown>>(
      (object, key) => (object[key] ??= {}) as Record<string, unknown>,
      spec,
    );
    parent[last] = value;
  }
  const object = { metadata: { name: "home", namespace: "apps", uid: "uid-1" }, spec };
  const tunnel = readTunnel(tunnels, object, "ops");
  assert.ok(isReadable(tunnel), JSON.stringify(schema.safeParse(spec).error?.issues));
  return tunnel;
}

interface Container {
  readonly image: string;
  readonly args: readonly string[];
  readonly env?: readonly { readonly name: string }[];
  readonly ports?: readonly { readonly containerPort: number }[];
  readonly imagePullPolicy?: string;
  readonly resources?: unknown;
}

interface PodTemplate {
  readonly metadata: { labels: Record<string, string>; annotations?: Record<string, string> };
  readonly spec: Record<string, unknown> & {
    readonly containers: readonly Container[];
    readonly volumes: readonly Record<string, unknown>[];
  };
}

function deployment(tunnel: ReadableTunnel) {
  const { spec } = agentDeployment(tunnel, { image: tunnel.spec.agent.image ?? image });
  return spec as { replicas: number; template: PodTemplate };
}

type Look = (tunnel: ReadableTunnel) => unknown;

const template: Look = (tunnel) => deployment(tunnel).template;
const pod: Look = (tunnel) => deployment(tunnel).template.spec;
const agent = (tunnel: ReadableTunnel) => deployment(tunnel).template.spec.containers[0]!;
const args: Look = (tunnel) => agent(tunnel).args;
const volumes: Look = (tunnel) => deployment(tunnel).template.spec.volumes;
const policy: Look = (tunnel) => networkPolicy(tunnel, { backends: [] } as never)?.["spec"];
const sidecar: Look = (tunnel) => sidecarsOf(tunnel, image);

/** What a field changes: the field with a value, others that it needs, where it is seen, and how. */
interface Effect {
  readonly value: unknown;
  readonly besides?: Readonly<Record<string, unknown>>;
  readonly look: Look;
  /** A part of what is seen, as JSON; and not without the field. */
  readonly shows: string;
}

const toleration = { key: "dedicated", operator: "Exists" };
const peer = { podSelector: { matchLabels: { app: "prometheus" } } };
const constraint = { maxSkew: 1, topologyKey: "zone", whenUnsatisfiable: "ScheduleAnyway" };
const affinity = { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [] } };
const isEnabled = { "agent.networkPolicy.enabled": true };
const serves = { kubernetesApi: { serviceAccountName: "argocd" } };

const effects: Readonly<Record<string, Effect>> = {
  "id": { value: "own-id", look: (it) => idOf(it, ""), shows: "own-id" },
  "relay.url": {
    value: "wss://other.test/connect",
    look: args,
    shows: "--server=wss://other.test/connect",
  },
  "relay.caRef.kind": {
    value: "Secret",
    besides: { "relay.caRef.name": "ca" },
    look: volumes,
    shows: `"secret":{"secretName":"ca"`,
  },
  "relay.caRef.name": { value: "ca", look: volumes, shows: `"configMap":{"name":"ca"` },
  "relay.caRef.key": {
    value: "root.pem",
    besides: { "relay.caRef.name": "ca" },
    look: volumes,
    shows: `{"key":"root.pem","path":"ca.crt"}`,
  },
  "relay.serverName": {
    value: "relay.internal",
    look: args,
    shows: "--server-name=relay.internal",
  },
  "relay.clientCertRef.name": { value: "tls", look: volumes, shows: `{"secretName":"tls"}` },
  "relay.proxyRef.kind": {
    value: "ConfigMap",
    besides: { "relay.proxyRef.name": "net" },
    look: volumes,
    shows: `"configMap":{"name":"net","items":[{"key":"proxy","path":"proxy"}]}`,
  },
  "relay.proxyRef.name": {
    value: "net",
    look: volumes,
    shows: `{"secretName":"net","items":[{"key":"proxy","path":"proxy"}]}`,
  },
  "relay.proxyRef.key": {
    value: "url",
    besides: { "relay.proxyRef.name": "net" },
    look: volumes,
    shows: `{"secretName":"net","items":[{"key":"url","path":"proxy"}]}`,
  },
  "relay.allowInsecure": {
    value: true,
    besides: { "relay.url": "ws://relay.test/connect" },
    look: args,
    shows: "--allow-insecure-server",
  },
  "kubernetesApi.serviceAccountName": {
    value: "argocd",
    look: pod,
    shows: `"serviceAccountName":"argocd"`,
  },
  "kubernetesApi.clusterRole": {
    value: "view",
    look: pod,
    shows: `"serviceAccountName":"home-agent"`,
  },
  "agent.replicas": { value: 3, look: (it) => deployment(it).replicas, shows: "3" },
  "agent.image": { value: "own:1", look: (it) => agent(it).image, shows: "own:1" },
  "agent.imagePullPolicy": { value: "Always", look: agent, shows: `"imagePullPolicy":"Always"` },
  "agent.imagePullSecrets": {
    value: [{ name: "registry" }],
    look: pod,
    shows: `"imagePullSecrets":[{"name":"registry"}]`,
  },
  "agent.resources": {
    value: { limits: { memory: "64Mi" } },
    look: agent,
    shows: `"resources":{"limits":{"memory":"64Mi"}}`,
  },
  "agent.nodeSelector": {
    value: { zone: "a" },
    look: pod,
    shows: `"nodeSelector":{"zone":"a"}`,
  },
  "agent.tolerations": {
    value: [toleration],
    look: pod,
    shows: `"tolerations":[${JSON.stringify(toleration)}]`,
  },
  "agent.affinity": { value: affinity, look: pod, shows: `"affinity":${JSON.stringify(affinity)}` },
  "agent.topologySpreadConstraints": {
    value: [constraint],
    look: pod,
    shows: `"topologySpreadConstraints":[${JSON.stringify(constraint)}]`,
  },
  "agent.priorityClassName": { value: "high", look: pod, shows: `"priorityClassName":"high"` },
  "agent.podLabels": { value: { team: "a" }, look: template, shows: `"team":"a"` },
  "agent.podAnnotations": { value: { note: "b" }, look: template, shows: `"note":"b"` },
  "agent.extraArgs": { value: ["--max-conns=7"], look: args, shows: "--max-conns=7" },
  "agent.hostNetwork": { value: true, look: pod, shows: `"hostNetwork":true` },
  "agent.healthPort": { value: 9001, look: agent, shows: `"containerPort":9001` },
  "agent.pdb": {
    value: false,
    look: (it) => disruptionBudget(it) ?? "no budget",
    shows: "no budget",
  },
  "agent.networkPolicy.enabled": {
    value: true,
    look: policy,
    shows: `"policyTypes":["Ingress","Egress"]`,
  },
  "agent.networkPolicy.relayCIDRs": {
    value: ["203.0.113.1/32"],
    besides: isEnabled,
    look: policy,
    shows: `"cidr":"203.0.113.1/32"`,
  },
  "agent.networkPolicy.apiServerCIDRs": {
    value: ["203.0.113.2/32"],
    besides: { ...isEnabled, ...serves },
    look: policy,
    shows: `"cidr":"203.0.113.2/32"`,
  },
  "agent.networkPolicy.ingressFrom": {
    value: [peer],
    besides: isEnabled,
    look: policy,
    shows: `"from":[${JSON.stringify(peer)}]`,
  },
  "agent.networkPolicy.egress": {
    value: [{ to: [peer] }],
    besides: isEnabled,
    look: policy,
    shows: `{"to":[${JSON.stringify(peer)}]}`,
  },
  "sidecar.healthPort": { value: 19_001, look: sidecar, shows: `"containerPort":19001` },
  "sidecar.resources": {
    value: { limits: { memory: "32Mi" } },
    look: sidecar,
    shows: `"resources":{"limits":{"memory":"32Mi"}}`,
  },
};

for (const [field, { value, besides = {}, look, shows }] of Object.entries(effects)) {
  Deno.test(`${field} of a Tunnel is seen in what is made for it`, () => {
    const seen = (fields: Readonly<Record<string, unknown>>) =>
      JSON.stringify(look(tunnelWith(fields)) ?? null);
    const after = seen({ ...besides, [field]: value });
    assert.ok(after.includes(shows), `${after} shows ${shows}`);
    assert.equal(seen(besides).includes(shows), false, "without the field, too");
  });
}

/** Fields whose effect is not in the agents' objects: a test that shows it, by its file and name. */
const elsewhere: Readonly<Record<string, readonly [file: string, name: string]>> = {
  "relay.registration.api.endpoint": [
    "moved_tunnels_test.ts",
    "a Tunnel that moves leaves nothing at the relay before, once its agents are at the new one",
  ],
  "relay.registration.api.tokenRef": [
    "tunnel_test.ts",
    "a quota, an unknown token and a wait for acceptance each have a reason",
  ],
  "relay.registration.api.caRef": [
    "relay_references_test.ts",
    "of the admin API that is ${reason}",
  ],
  "relay.registration.api.clientCertRef": [
    "relay_references_test.ts",
    "agents mount their client certificate, and the operator shows its own to the admin API",
  ],
  "relay.registration.api.proxyRef": [
    "relay_references_test.ts",
    "agents read the proxy from a file, its Secret's; only Secrets have the password",
  ],
  "relay.registration.secret": [
    "tunnel_test.ts",
    "a Tunnel can write its entry to a Secret, with no token in it",
  ],
  "relay.registration.existing": [
    "tunnel_test.ts",
    "a Tunnel with a token that the relay knows is not registered",
  ],
  "sidecar.hostnames": [
    "tunnel_fields_test.ts",
    "the entry at the relay has what pods may ask for",
  ],
  "allowedBindings.namespaces": [
    "binding_test.ts",
    "a binding of another namespace needs the tunnel's permission, which a label can give",
  ],
  "allowedBindings.selector": [
    "binding_test.ts",
    "a binding of another namespace needs the tunnel's permission, which a label can give",
  ],
  "allowedBindings.hostnames": [
    "binding_test.ts",
    "a hostname outside the tunnel's is refused here, and one outside the token's by the relay",
  ],
  "defaultPolicy": ["binding_test.ts", "a route without a policy is not published"],
  "dns.provider": [
    "external_dns_test.ts",
    "hostnames become a DNSEndpoint that the binding owns, and DNSReady follows it",
  ],
  "dns.target": ["tunnel_fields_test.ts", "target and ttl are those of the records"],
  "dns.ttl": ["tunnel_fields_test.ts", "target and ttl are those of the records"],
  "dns.zone": [
    "cloudflare_test.ts",
    "a binding's hostnames get records at Cloudflare, and lose them with it",
  ],
  "dns.server": [
    "kube/binding_dns_test.ts",
    "records stay when their name server is called by another address",
  ],
  "dns.secretRef": [
    "cloudflare_test.ts",
    "a binding's hostnames get records at Cloudflare, and lose them with it",
  ],
  "dns.proxied": [
    "cloudflare_test.ts",
    "a binding's hostnames get records at Cloudflare, and lose them with it",
  ],
  "dns.policy": ["kube/binding_dns_test.ts", "a Tunnel that only adds records leaves them"],
  "tokenRotation.every": [
    "tunnel_test.ts",
    "a token is replaced by schedule: relay, Secret, agents, and the old digest goes last",
  ],
  "tokenRotation.overlap": [
    "tunnel_test.ts",
    "a token is replaced by schedule: relay, Secret, agents, and the old digest goes last",
  ],
  "deletionPolicy": [
    "tunnel_test.ts",
    "a Tunnel with deletionPolicy Retain leaves its entry, and a new one of its name takes it",
  ],
  "paused": ["tunnel_test.ts", "a paused Tunnel is left as it is"],
};

interface Schema {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
}

/** The paths of all fields that have no fields themselves. */
function leaves({ properties }: Schema, path = ""): string[] {
  if (!properties || Object.keys(properties).length === 0) return [path];
  return Object.entries(properties).flatMap(([name, inner]) =>
    leaves(inner, path === "" ? name : `${path}.${name}`)
  );
}

Deno.test("every field of a Tunnel is named here, and no other", () => {
  const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as Schema;
  const named = [...Object.keys(effects), ...Object.keys(elsewhere)];
  const isCovered = (leaf: string) =>
    named.some((field) => leaf === field || leaf.startsWith(`${field}.`));
  const all = leaves(json);
  assert.deepEqual(all.filter((leaf) => !isCovered(leaf)), [], "fields without an effect");
  const isThere = (field: string) =>
    all.some((leaf) => leaf === field || leaf.startsWith(`${field}.`));
  assert.deepEqual(named.filter((field) => !isThere(field)), [], "fields that are not there");
});

Deno.test("tests that are said to show a field's effect are there", async () => {
  for (const [field, [file, name]] of Object.entries(elsewhere)) {
    const text = await Deno.readTextFile(new URL(file, import.meta.url));
    assert.ok(text.includes(name), `${field}: ${file} has no test "${name}"`);
  }
});

Deno.test("target and ttl are those of the records", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ dns: { provider: "ExternalDNS", target: "relay.example.net", ttl: 77 } });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  const found = () => cluster.kube.all(dnsEndpoints)[0]?.["spec"];
  await eventually(() => found() !== undefined, "the DNSEndpoint");
  const endpoint = {
    dnsName: "shop.example.com",
    recordType: "CNAME",
    targets: ["relay.example.net"],
    recordTTL: 77,
  };
  const { endpoints: [record] } = found() as { endpoints: Record<string, unknown>[] };
  for (const [key, value] of Object.entries(endpoint)) assert.deepEqual(record![key], value, key);
});

Deno.test("the entry at the relay has what pods may ask for", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ sidecar: { hostnames: ["*.example.com"] } });
  await using _ = cluster.start();
  await cluster.ready();
  const { hostnames, policy } = cluster.relay.clusters.get("apps-home")!;
  assert.deepEqual([hostnames, policy], [["*.example.com"], "staff"]);
});

Deno.test("a Tunnel's selector is that of its pods", () => {
  const tunnel = tunnelWith({});
  const { labels } = deployment(tunnel).template.metadata;
  for (const term of selectorOf(tunnel).split(",")) {
    const [label = "", value] = term.split("=");
    assert.equal(labels[label], value);
  }
  assert.equal(tunnel.spec.relay.registration.api?.endpoint, endpoint);
});
