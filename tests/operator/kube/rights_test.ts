/** Rights of the operator's chart: all are needed, and nothing else is asked for. */
import assert from "node:assert/strict";
import {
  clusterRoleBindings,
  networkPolicies,
  podDisruptionBudgets,
  pods,
  type Resource,
  roleBindings,
  secrets,
  serviceAccounts,
  services,
} from "../../../lib/kube/resources.ts";
import {
  accessPolicies,
  clusters,
  clusterTunnels,
  registrationTokens,
  tunnelBindings,
  tunnels,
} from "../../../lib/operator/api/crds.ts";
import { dnsEndpoints } from "../../../lib/operator/dns/dns_endpoint.ts";
import { eventually } from "../../support/deadline.ts";
import type { AuditEntry } from "./audit_log.ts";
import { hasBind } from "./bind.ts";
import { namespace, patienceMs } from "./cluster.ts";
import { Everything, other } from "./everything.ts";
import { rightsOf, unusedRights } from "./granted_rights.ts";
import { hub } from "./hub.ts";
import { kubeTest, operatorAccount, type OwnKube } from "./own_kube.ts";

/** external-dns's kind, without its schema. */
const endpointsKind = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: {
    name: "dnsendpoints.externaldns.k8s.io",
    annotations: {
      "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/external-dns/pull/2007",
    },
  },
  spec: {
    group: "externaldns.k8s.io",
    scope: "Namespaced",
    names: { plural: "dnsendpoints", singular: "dnsendpoint", kind: "DNSEndpoint" },
    versions: [{
      name: "v1alpha1",
      ...{ served: true, storage: true, subresources: { status: {} } },
      schema: {
        openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      },
    }],
  },
};
const definitions: Resource = {
  ...{ group: "apiextensions.k8s.io", version: "v1", kind: "CustomResourceDefinition" },
  ...{ plural: "customresourcedefinitions", isNamespaced: false },
};

/** All that an operator does in its life. */
async function live(all: Everything): Promise<void> {
  const { client } = all.world;
  const exists = (resource: Resource, name: string, isWanted = true) =>
    eventually(
      async () => (await client.find(resource, { namespace, name }) !== undefined) === isWanted,
      () =>
        `${resource.kind} ${name} to be ${isWanted ? "there" : "gone"}\n${
          all.world.operator!.logText()
        }`,
      patienceMs,
    );
  const change = (resource: Resource, name: string, patch: unknown, at = namespace) =>
    client.merge(resource, { namespace: at, name }, patch);

  await change(tunnels, "main", {
    spec: { agent: { replicas: 2, networkPolicy: { enabled: true } } },
  });
  await exists(podDisruptionBudgets, "main-agent");
  await exists(networkPolicies, "main-agent");
  await change(tunnels, "main", { spec: { agent: { replicas: 1, networkPolicy: null } } });
  await exists(podDisruptionBudgets, "main-agent", false);
  await exists(networkPolicies, "main-agent", false);

  await change(tunnels, "cloud", { spec: { dns: { provider: "ExternalDNS" } } });
  await exists(dnsEndpoints, "culvert-cloud");
  await change(tunnels, "cloud", { spec: { dns: { provider: "Cloudflare" } } });
  await exists(dnsEndpoints, "culvert-cloud", false);

  const token = await all.token(namespace, "main-agent-token");
  await change(secrets, "main-agent-token", {
    metadata: { annotations: { "culvert.dev/token-since": "2020-01-01T00:00:00.000Z" } },
  });
  await eventually(
    async () => await all.token(namespace, "main-agent-token") !== token,
    "another token",
    patienceMs,
  );
  await all.settle();

  await change(tunnels, "cloud", {
    spec: { kubernetesApi: { clusterRole: "view" } },
  });
  await exists(roleBindings, "cloud-agent");
  await change(tunnels, "cloud", { spec: { kubernetesApi: null } });
  await exists(roleBindings, "cloud-agent", false);
  await exists(serviceAccounts, "cloud-agent", false);

  // Somebody takes a label off.
  const label = { labels: { "culvert.dev/tunnel": null } };
  await change(secrets, "main-agent-token", { metadata: label });
  await eventually(
    async () => {
      const { metadata } = await client.get(secrets, { namespace, name: "main-agent-token" });
      return metadata.labels?.["culvert.dev/tunnel"] === "main";
    },
    "the label to be back",
    patienceMs,
  );

  // A relay's pods have to read what is new.
  await client.create(serviceAccounts, { metadata: { namespace: hub, name: "default" } });
  const labels = { "app.kubernetes.io/name": "culvert-relay" };
  const pod = await client.create(pods, {
    metadata: { namespace: hub, name: "relay", labels },
    spec: { containers: [{ name: "relay", image: "culvert-relay:1" }] },
  });
  await change(clusters, "by-hand", { spec: { targets: ["127.0.0.1:2"] } }, hub);
  await eventually(
    async () => (await client.get(pods, pod.metadata)).metadata.annotations !== undefined,
    "the relay's pod to be told",
    patienceMs,
  );

  await change(services, "web", { metadata: { annotations: { "culvert.dev/tunnel": null } } });
  await exists(tunnelBindings, "service-web", false);
}

/** What there is in the whole cluster alone. */
async function liveWide({ world }: Everything): Promise<void> {
  const { client } = world;
  const { data } = await client.get(secrets, { namespace, name: "relay-api" }) as unknown as {
    data: unknown;
  };
  await client.create(secrets, { metadata: { namespace: hub, name: "relay-api" }, data });
  const { spec } = world.tunnel() as unknown as { spec: Record<string, unknown> };
  const kubernetesApi = { clusterRole: "view" };
  await client.apply(clusterTunnels, {
    metadata: { name: "wide" },
    spec: { ...spec, id: "apps-wide", agent: { replicas: 0 }, kubernetesApi },
  });
  const bound = { name: "culvert-cluster-wide-agent" };
  const isBound = async () => await client.find(clusterRoleBindings, bound) !== undefined;
  await eventually(isBound, "the ClusterRoleBinding", patienceMs);
  await client.merge(clusterTunnels, { name: "wide" }, { spec: { kubernetesApi: null } });
  await eventually(async () => !await isBound(), "the ClusterRoleBinding to go", patienceMs);
  const { metadata } = await client.get(clusterTunnels, { name: "wide" });
  await client.delete(clusterTunnels, { name: "wide" }, metadata.uid!);
  await eventually(
    async () => await client.find(clusterTunnels, { name: "wide" }) === undefined,
    "the ClusterTunnel to go",
    patienceMs,
  );
}

/** Deletes everything, and waits until it is gone. */
async function end(all: Everything): Promise<void> {
  const { client } = all.world;
  const kinds = [tunnelBindings, accessPolicies, tunnels, clusters, registrationTokens];
  for (const resource of kinds) {
    for (const { metadata } of (await client.list(resource)).items) {
      await client.delete(resource, metadata, metadata.uid!);
    }
    await eventually(
      async () => (await client.list(resource)).items.length === 0,
      () => `${resource.plural} to be gone\n${all.world.operator!.logText()}`,
      patienceMs,
    );
  }
  for (const at of [namespace, other]) {
    const name = `culvert-operator-kept-${at}`;
    await eventually(
      async () => await client.find(secrets, { namespace: "culvert", name }) === undefined,
      `${name} to be gone`,
      patienceMs,
    );
  }
}

/** What a story of minutes does not come to in either mode, and when it is needed. */
const unused = [
  // An object that is missing from a list counts as gone when the API server confirms it.
  "culvert-operator-argocd: get applications.argoproj.io",
  "culvert-operator: get accesspolicies.culvert.dev",
  "culvert-operator: get pods",
  "culvert-operator: get services",
  // The relay has not had a registered cluster for a quarter of an hour.
  "culvert-operator: delete clusters.culvert.dev",
  // The API server looks at it when a binding is made.
  "culvert-operator: bind clusterroles.rbac.authorization.k8s.io view",
];

/** What differs between the modes. */
interface Mode {
  readonly watched: readonly string[];
  /** Requests for what is no object; everybody may ask for the version. */
  readonly paths: readonly string[];
  readonly moreUnused: readonly string[];
}

/** Asserts of a whole life what is the same in both modes. @returns the requests */
async function assertRights(
  kube: OwnKube,
  { watched, paths, moreUnused }: Mode,
): Promise<readonly AuditEntry[]> {
  await kube.startAudit();
  const { client, close } = kube.client();
  await client.create(definitions, endpointsKind);
  await using all = await Everything.start(kube, { watched, resync: "2s" });
  await live(all);
  if (watched.length === 0) await liveWide(all);
  await end(all);
  const rights = await rightsOf(client, operatorAccount);
  close();
  const requests = await kube.auditOf();
  assert.deepEqual(told(requests, ({ responseStatus }) => responseStatus?.code === 403), []);
  assert.deepEqual(told(requests, ({ objectRef }) => !objectRef), paths);
  const lists = told(
    requests,
    ({ verb, objectRef }) => ["list", "watch"].includes(verb) && objectRef?.resource === "secrets",
  );
  const path = "/api/v1/namespaces/argocd/secrets";
  assert.deepEqual(lists, [`list ${path}`, `watch ${path}`]);
  assert.deepEqual(unusedRights(rights, requests), [...unused, ...moreUnused].sort());
  return requests;
}

/** Some of the requests, each once. */
function told(
  requests: readonly AuditEntry[],
  isMeant: (entry: AuditEntry) => boolean,
): readonly string[] {
  const lines = requests.filter(isMeant)
    .map(({ verb, requestURI }) => `${verb} ${requestURI.split("?")[0]}`);
  return [...new Set(lines)].sort();
}

kubeTest(
  "in namespaced mode nothing is asked for outside the namespaces, and all rights are needed",
  async (kube) => {
    const requests = await assertRights(kube, {
      watched: [namespace, other, hub],
      paths: [],
      // There is no Tunnel in the operator's own namespace.
      moreUnused: ["culvert-operator: get namespaces culvert"],
    });
    assert.deepEqual(told(requests, ({ objectRef }) => objectRef?.namespace === undefined), []);
  },
  hasBind,
);

kubeTest("in the whole cluster all rights are needed", async (kube) => {
  await assertRights(kube, {
    watched: [],
    paths: ["get /version"],
    // The webhook is called at a URL here: there is no Service whose replicas are looked for.
    moreUnused: ["culvert-operator-webhook: list endpointslices.discovery.k8s.io"],
  });
}, hasBind);
