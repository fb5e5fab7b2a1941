/** The relay's side of the operator as a program, with a real API server, a real relay and agents. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { delay } from "../../../lib/kube/delay.ts";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import { type Resource, secrets } from "../../../lib/kube/resources.ts";
import { clusters, registrationTokens } from "../../../lib/operator/api/crds.ts";
import { argocdApplications } from "../../../lib/operator/management/argocd.ts";
import { secretText } from "../../../lib/operator/secret_text.ts";
import { eventually } from "../../support/deadline.ts";
import { startAgent } from "../../support/programs.ts";
import type { AuditEntry } from "./audit_log.ts";
import { OperatorWorld, patienceMs } from "./cluster.ts";
import { assertListedOnce, frozenMs, listsIn } from "./frozen_kube.ts";
import { agentToken, hub, MountedRelay, sha256 } from "./hub.ts";
import { kubeTest, type OwnKube } from "./own_kube.ts";

kubeTest("an edge cluster registers, is accepted, connects and is in Argo CD", async (kube) => {
  await kube.startAudit();
  await using world = await OperatorWorld.start(kube);
  const { client } = world;
  await using relay = await MountedRelay.besideArgocd(world);
  await world.startOperator(["--set", "controllers={clusters}"], relay.operatorOptions);
  await relay.start();
  const put = async (resource: Resource, name: string, spec: unknown): Promise<KubeObject> =>
    await client.apply(resource, { metadata: { name, namespace: hub }, spec });
  const becomes = (resource: Resource, name: string, type: string, reason: string) =>
    world.condition(resource, name, type, reason, hub);
  const argocdSecret = (id: string) =>
    client.find(secrets, { namespace: "argocd", name: `culvert-cluster-${id}` });
  const token = { idPrefixes: ["edge-"], maxClusters: 1, autoAccept: false };
  await put(registrationTokens, "edge", { ...token, argocd: { labels: { env: "edge" } } });
  await becomes(registrationTokens, "edge", "Ready", "Ready");
  const made = await client.get(secrets, { namespace: hub, name: "edge-registration" });
  const secret = secretText(made, "token")!;

  // The relay has to read the new file first.
  await eventually(
    async () => await relay.register("edge-1", secret) === 202,
    "the relay to know the token",
    patienceMs,
  );
  equal(await relay.register("other-1", secret), 403);
  equal(await relay.register("edge-2", secret), 429);
  await becomes(registrationTokens, "edge", "Usable", "UsedUp");
  await becomes(clusters, "edge-1", "Ready", "PendingAcceptance");
  equal(await argocdSecret("edge-1"), undefined);
  await client.merge(clusters, { namespace: hub, name: "edge-1" }, { spec: { accepted: true } });
  await becomes(clusters, "edge-1", "Programmed", "Registered");
  const relayUrl = `ws://${await relay.addressOf("public")}/connect`;
  await using _agent = await startAgent({
    relayUrl,
    token: `${agentToken}-edge-1`,
    target: "127.0.0.1:1",
  });
  await becomes(clusters, "edge-1", "Ready", "Ready");
  equal((await argocdSecret("edge-1"))?.metadata.labels?.["env"], "edge");

  await put(clusters, "by-hand", {
    tokens: [{ name: "first", sha256: sha256(`${agentToken}-by-hand`) }],
    targets: ["127.0.0.1:1"],
    argocd: { enabled: true },
  });
  await using _other = await startAgent({
    relayUrl,
    token: `${agentToken}-by-hand`,
    target: "127.0.0.1:1",
  });
  await becomes(clusters, "by-hand", "Ready", "Ready");
  await outlivesApiServer(world, kube);
  await client.apply(argocdApplications, {
    metadata: { name: "app", namespace: "argocd" },
    spec: { destination: { name: "by-hand" } },
  });
  const byHand = await client.get(clusters, { namespace: hub, name: "by-hand" });
  const isGone = async (name: string) =>
    await client.find(clusters, { namespace: hub, name }) === undefined;
  await client.delete(clusters, byHand.metadata, byHand.metadata.uid!);
  await becomes(clusters, "by-hand", "ArgoCDReady", "InUse");
  ok(await argocdSecret("by-hand"));
  const app = await client.get(argocdApplications, { namespace: "argocd", name: "app" });
  await client.delete(argocdApplications, app.metadata, app.metadata.uid!);
  await eventually(() => isGone("by-hand"), "the Cluster to go", patienceMs);
  equal(await argocdSecret("by-hand"), undefined);

  await client.merge(registrationTokens, { namespace: hub, name: "edge" }, {
    spec: { expires: "2026-01-01T00:00:00Z", maxClusters: 5 },
  });
  await becomes(registrationTokens, "edge", "Ready", "Expired");
  await eventually(
    async () => await relay.register("edge-3", secret) === 403,
    "the relay to know that the token has expired",
    patienceMs,
  );
  deepEqual(neverAllowed(await kube.auditOf()), [], "the chart's rights are enough");
});

/** The API server is frozen and killed: the caches catch up, and nothing goes or is made anew. */
async function outlivesApiServer(world: OperatorWorld, kube: OwnKube): Promise<void> {
  const secretUids = async () => {
    const { items } = await world.client.list(secrets, { namespace: "argocd" });
    return new Map(items.map(({ metadata: { name, uid } }) => [name, uid]));
  };
  const [uids, lists] = [await secretUids(), listsIn(await world.metrics())];
  await kube.freeze();
  await delay(frozenMs);
  await kube.restart();
  await world.client.apply(clusters, {
    metadata: { name: "late", namespace: hub },
    spec: {
      tokens: [{ name: "first", sha256: sha256(`${agentToken}-late`) }],
      targets: ["127.0.0.1:1"],
      argocd: { enabled: true },
    },
  });
  await world.condition(clusters, "late", "ArgoCDReady", "Synced", hub);
  await world.condition(clusters, "late", "Programmed", "Programmed", hub);
  for (const name of ["edge-1", "by-hand"]) {
    await world.condition(clusters, name, "Ready", "Ready", hub);
  }
  assertListedOnce(lists, listsIn(await world.metrics()));
  const known = await secretUids();
  ok(known.delete("culvert-cluster-late"));
  deepEqual(known, uids, "Argo CD's Secrets are the same, and no others");
  const deletions = (await kube.auditOf()).filter(({ verb }) => verb.startsWith("delete"));
  deepEqual(deletions.map(({ requestURI }) => requestURI), []);
}

/** What was refused; an API server that starts refuses some requests until it has read all roles. */
function neverAllowed(requests: readonly AuditEntry[]): readonly string[] {
  const told = (isMeant: (code: number) => boolean) =>
    requests.filter(({ responseStatus }) => isMeant(responseStatus?.code ?? 0))
      .map(({ verb, objectRef }) => `${verb} ${objectRef?.resource} in ${objectRef?.namespace}`);
  const allowed = new Set(told((code) => code > 0 && code < 400));
  return [...new Set(told((code) => code === 403))].filter((it) => !allowed.has(it));
}

kubeTest(
  "the API server refuses Clusters and RegistrationTokens that can't be right",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const digest = sha256("x");
    const tokens = [{ name: "a", sha256: digest }];
    const refusals: readonly [kind: string, spec: unknown, message: RegExp][] = [
      ["Cluster", {}, /tokens is required/],
      ["Cluster", { tokens: [{ name: "a", sha256: "short" }] }, /sha256/],
      ["Cluster", { tokens, registrationToken: "edge" }, /leave tokens out/],
      ["Cluster", { tokens, hosts: ["a.example.com"] }, /hosts and policy go together/],
      [
        "Cluster",
        { tokens, argocd: { labels: { "culvert.dev/owner": "me" } } },
        /are the operator's/,
      ],
      [
        "Cluster",
        { tokens, clusterProfile: { labels: { "x-k8s.io/cluster-manager": "me" } } },
        /are the operator's/,
      ],
      ["Cluster", { tokens, clusterProfile: { accessProvider: "two words" } }, /accessProvider/],
      ["RegistrationToken", { idPrefixes: [] }, /idPrefixes/],
      ["RegistrationToken", { idPrefixes: ["a"], leaseDuration: "5s" }, /from 10s to 720h/],
      ["RegistrationToken", { idPrefixes: ["a"], expires: "soon" }, /expires/],
    ];
    for (const [kind, spec, message] of refusals) {
      const metadata = { name: "test", namespace: hub };
      const said = await world.tryApply({
        apiVersion: "culvert.dev/v1alpha1",
        kind,
        metadata,
        spec,
      });
      ok(message.test(said), `${JSON.stringify(spec)}: ${said}`);
    }
    const metadata = { name: "test", namespace: hub };
    const right = {
      apiVersion: "culvert.dev/v1alpha1",
      kind: "Cluster",
      metadata,
      spec: { tokens },
    };
    equal(await world.tryApply(right), "");
  },
);
