/** Clusters outside the operator's namespace: nothing of the relay's is theirs. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { clusters } from "../../lib/operator/api/crds.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { eventually } from "../support/deadline.ts";
import { conditionsOf, digest } from "./harness.ts";
import { Hub, relayUrl } from "./hub.ts";

function putOutside(hub: Hub, name: string, spec: Record<string, unknown>): void {
  hub.kube.put(clusters, { metadata: { name, namespace: "shop" }, spec });
}

/** Waits until a Cluster outside has a condition with this reason. @returns its message */
async function outside(hub: Hub, name: string, type: string, reason: string): Promise<string> {
  const find = () =>
    conditionsOf(hub.kube.read(clusters, "shop", name)).find((it) => it.type === type);
  await eventually(
    () => find()?.reason === reason,
    () => `${type} of ${name} to be ${reason}; it is ${JSON.stringify(find())}`,
    60_000,
  );
  return find()!.message;
}

const bySelf = { tokens: [{ name: "first", sha256: digest("mine") }] };

Deno.test("a Cluster in another namespace gets no Secret in Argo CD, nor takes a server there", async () => {
  for (const argocdServer of [relayUrl, undefined]) {
    const hub = new Hub();
    putOutside(hub, "edge-1", { ...bySelf, argocd: { enabled: true } });
    await using _ = hub.start({ relayAdminUrl: undefined, argocdServer });
    const message = await outside(hub, "edge-1", "ArgoCDReady", "NamespaceNotAllowed");
    match(message, /must be in the operator's namespace, hub/);
    hub.putCluster("edge-1");
    await hub.condition("edge-1", "ArgoCDReady", "Synced");
    const made = hub.kube.all(secrets).filter(({ metadata }) => metadata.namespace === "argocd");
    deepEqual(made.map(({ metadata }) => metadata.name), ["culvert-cluster-edge-1"]);
    match(hub.secret("argocd", "culvert-cluster-edge-1")!["server"]!, /relay\.test|\.hub\.svc/);
  }
});

Deno.test("a Secret that a Cluster in another namespace once got goes, unless Applications use it", async () => {
  const hub = new Hub();
  const ours = {
    "argocd.argoproj.io/secret-type": "cluster",
    "app.kubernetes.io/managed-by": "culvert-operator",
  };
  for (const name of ["used", "unused"]) {
    putOutside(hub, name, { ...bySelf, argocd: { enabled: true } });
    hub.kube.put(secrets, {
      metadata: {
        name: `culvert-cluster-${name}`,
        namespace: "argocd",
        labels: { ...ours, "culvert.dev/owner": `shop.${name}` },
        annotations: { "culvert.dev/owner": `shop/${name}` },
      },
      data: { name: btoa(name), server: btoa(`${relayUrl}/tunnel/${name}`) },
    });
  }
  hub.putApplication("app", { name: "used" });
  await using _ = hub.start({ relayAdminUrl: undefined });
  await outside(hub, "used", "ArgoCDReady", "InUse");
  await eventually(() => !hub.secret("argocd", "culvert-cluster-unused"), "the Secret to go");
  ok(hub.secret("argocd", "culvert-cluster-used"));
});

Deno.test("a Cluster in another namespace neither accepts nor removes what has registered", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  const entry = { owner: "edge/main", registeredBy: "edge", accepted: false };
  hub.relay.clusters.set("edge-1", entry);
  putOutside(hub, "mine", { id: "edge-1", registrationToken: "edge", accepted: true });
  await outside(hub, "mine", "Programmed", "NamespaceNotAllowed");
  hub.kube.remove(clusters, "shop", "mine");
  await eventually(() => !hub.kube.read(clusters, "shop", "mine"), "the Cluster to go");
  deepEqual(hub.relay.clusters.get("edge-1"), entry);
  deepEqual(hub.relay.writes, []);
});

Deno.test("a second Cluster of a registered id does not take the entry with it", async () => {
  const hub = new Hub();
  await using _ = hub.start();
  hub.putToken("edge");
  hub.relay.clusters.set("edge-1", { owner: "edge/main", registeredBy: "edge", accepted: true });
  await hub.condition("edge-1", "Programmed", "Registered");
  hub.kube.put(clusters, {
    metadata: { name: "second", namespace: "hub", creationTimestamp: "2099-01-01T00:00:00Z" },
    spec: { id: "edge-1", registrationToken: "edge", accepted: true },
  });
  await hub.condition("second", "Accepted", "Conflict");
  hub.kube.remove(clusters, "hub", "second");
  await eventually(() => !hub.kube.read(clusters, "hub", "second"), "the Cluster to go");
  equal(hub.relay.clusters.has("edge-1"), true);
});
