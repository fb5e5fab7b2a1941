/** ClusterProfiles on a real API server, whose kind comes later than the operator. */
import { deepEqual, doesNotMatch, equal } from "node:assert/strict";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import { namespaces, secrets } from "../../../lib/kube/resources.ts";
import { clusters } from "../../../lib/operator/api/crds.ts";
import { clusterProfiles } from "../../../lib/operator/management/cluster_profile.ts";
import { eventually } from "../../support/deadline.ts";
import { startAgent } from "../../support/programs.ts";
import { OperatorWorld, patienceMs } from "./cluster.ts";
import { agentToken, clusterProfileKind, hub, MountedRelay, sha256 } from "./hub.ts";
import { kubeTest } from "./own_kube.ts";

const fleet = "fleet";

kubeTest("a Cluster is published once the kind ClusterProfile is installed", async (kube) => {
  await using world = await OperatorWorld.start(kube);
  const { client } = world;
  await client.create(namespaces, { metadata: { name: fleet } });
  await client.create(secrets, {
    metadata: { name: "relay-tls", namespace: hub },
    stringData: { "ca.crt": "a CA", serverName: "relay.internal", token: "caller-token" },
  });
  await using relay = await MountedRelay.besideArgocd(world);
  await world.startOperator(
    ["--set", `controllers={clusters},clusterProfileNamespaces={${fleet}}`],
    [
      ...relay.operatorOptions,
      ...["--cluster-profile-namespaces", fleet, "--relay-secret", "relay-tls"],
    ],
  );
  await relay.start();
  const put = (name: string, clusterProfile: Record<string, unknown>) =>
    client.apply(clusters, {
      metadata: { name, namespace: hub },
      spec: {
        tokens: [{ name: "first", sha256: sha256(`${agentToken}-${name}`) }],
        targets: ["127.0.0.1:1"],
        clusterProfile,
      },
    });
  const profile = (name: string) => client.find(clusterProfiles, { namespace: fleet, name });
  const becomes = (name: string, reason: string) =>
    world.condition(clusters, name, "ClusterProfileReady", reason, hub);
  await put("edge-1", { labels: { env: "edge" } });
  await becomes("edge-1", "CRDMissing");
  await world.apply(JSON.stringify(clusterProfileKind));
  await becomes("edge-1", "Published");
  await using _agent = await startAgent({
    relayUrl: `ws://${await relay.addressOf("public")}/connect`,
    token: `${agentToken}-edge-1`,
    target: "127.0.0.1:1",
  });
  const health = "ControlPlaneHealthy";
  await world.condition(clusterProfiles, "edge-1", health, "AgentConnected", fleet);
  const made = (await profile("edge-1"))! as KubeObject & { spec: unknown; status: Status };
  equal(made.metadata.labels?.["x-k8s.io/cluster-manager"], "culvert");
  equal(made.metadata.labels?.["env"], "edge");
  deepEqual(made.spec, { clusterManager: { name: "culvert" }, displayName: "edge-1" });
  deepEqual(made.status.accessProviders, [{
    name: "culvert",
    cluster: {
      server: "https://relay.test:8080/tunnel/edge-1",
      "certificate-authority-data": btoa("a CA"),
      "tls-server-name": "relay.internal",
      extensions: [{
        name: "client.authentication.k8s.io/exec",
        extension: { clusterName: "edge-1" },
      }],
    },
  }]);

  const foreign = {
    metadata: { name: "edge-2", namespace: fleet },
    spec: { clusterManager: { name: "another" } },
  };
  const { metadata } = await client.create(clusterProfiles, foreign);
  await put("edge-2", {});
  await becomes("edge-2", "Conflict");
  equal((await profile("edge-2"))?.metadata.resourceVersion, metadata.resourceVersion);
  await client.delete(clusterProfiles, metadata, metadata.uid!);
  await becomes("edge-2", "Published");

  const cluster = await client.get(clusters, { namespace: hub, name: "edge-1" });
  await client.delete(clusters, cluster.metadata, cluster.metadata.uid!);
  await eventually(async () => !await profile("edge-1"), "the ClusterProfile to go", patienceMs);
  const refused = /kube_requests_total.*code="403"/;
  doesNotMatch(await world.metrics(), refused, "the chart's rights are enough");
});

interface Status {
  readonly accessProviders: unknown;
}
