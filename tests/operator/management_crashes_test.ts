/** The relay's side of an operator that is killed between any two writes. */
import { clusters, registrationTokens } from "../../lib/operator/api/crds.ts";
import { secrets } from "../../lib/kube/resources.ts";
import { assertSameEnd, assertTwoAgree, type CrashWorld, type Story } from "./crash_stories.ts";
import { conditionsOf, type Wrap } from "./harness.ts";
import { Hub } from "./hub.ts";

/** A hub with two Argo CDs, whose operator keeps what is missing at the relay for long. */
class CrashHub implements CrashWorld {
  readonly hub = new Hub();

  get kube() {
    return this.hub.kube;
  }

  get relay() {
    return this.hub.relay;
  }

  start(wrap: Wrap = {}): ReturnType<CrashWorld["start"]> {
    const settings = { goneMs: 600_000, argocdNamespaces: ["argocd", "other"] };
    const running = this.hub.start(settings, wrap);
    return {
      operator: running.management,
      [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
    };
  }

  /** What the relay has read of its folder, and an agent for it. */
  serve(id: string): void {
    this.relay.clusters.set(id, { source: "configuration" });
    this.connect(id);
  }

  /** A cluster registers, and its agent connects. */
  register(id: string, accepted = true): void {
    this.relay.clusters.set(id, { owner: "edge/main", registeredBy: "edge", accepted });
    this.connect(id);
  }

  connect(id: string): void {
    const agent = { id: `s-${id}`, cluster: id, instance: "pod-a", since: "2026-11-30T00:00:00Z" };
    this.relay.agents = [...this.relay.agents, agent];
  }

  secretIn(namespace: string, id: string): Record<string, string> | undefined {
    return this.hub.secret(namespace, `culvert-cluster-${id}`);
  }

  labelsOf(id: string): Record<string, string> {
    const secret = this.kube.read(secrets, "argocd", `culvert-cluster-${id}`);
    return { ...secret?.metadata.labels };
  }
}

/** Whether all Clusters and RegistrationTokens are ready as they are now, and know who has registered. */
function isReady({ kube, relay }: CrashHub): boolean {
  const registered = [...relay.clusters.values()].filter((it) => it["registeredBy"] === "edge");
  for (const token of kube.all(registrationTokens)) {
    const { used } = (token["status"] ?? {}) as { used?: number };
    if (used !== registered.length) return false;
  }
  return [...kube.all(clusters), ...kube.all(registrationTokens)].every((object) => {
    const { observedGeneration } = (object["status"] ?? {}) as { observedGeneration?: number };
    return observedGeneration === object.metadata.generation &&
      conditionsOf(object).find(({ type }) => type === "Ready")?.status === "True";
  });
}

function story(more: Partial<Story<CrashHub>> & Pick<Story<CrashHub>, "name" | "act">) {
  return {
    cluster: () => new CrashHub(),
    before(world: CrashHub) {
      world.serve("edge-1");
      world.hub.putCluster("edge-1");
    },
    isPrepared: isReady,
    isDone: isReady,
    ...more,
  };
}

/** Stories of a cluster that has registered with a token. */
function registered(
  more: Partial<Story<CrashHub>> & Pick<Story<CrashHub>, "name" | "act">,
  token: Record<string, unknown> = {},
) {
  return story({
    before(world) {
      world.hub.putToken("edge", token);
      world.register("edge-1", token["autoAccept"] !== false);
    },
    isPrepared: (world) => isReady(world) && world.secretIn("argocd", "edge-1") !== undefined,
    ...more,
  });
}

const stories: readonly Story<CrashHub>[] = [
  story({
    name: "a Cluster is made",
    before: (world) => world.serve("edge-1"),
    act: ({ hub }) => hub.putCluster("edge-1"),
  }),
  story({
    name: "a Cluster's tokens and labels change",
    act: ({ hub }) =>
      hub.putCluster("edge-1", {
        tokens: [{ name: "second", sha256: "1".repeat(64) }],
        argocd: { enabled: true, labels: { env: "edge" } },
      }),
    isDone: (world) =>
      isReady(world) && world.labelsOf("edge-1")["env"] === "edge" &&
      JSON.stringify(world.hub.entries()).includes("second"),
  }),
  story({
    name: "a Cluster goes to another Argo CD",
    act: ({ hub }) => hub.putCluster("edge-1", { argocd: { enabled: true, namespace: "other" } }),
    isDone: (world) =>
      isReady(world) && world.secretIn("argocd", "edge-1") === undefined &&
      world.secretIn("other", "edge-1") !== undefined,
  }),
  story({
    name: "a Cluster is deleted",
    act: ({ kube }) => kube.remove(clusters, "hub", "edge-1"),
    isDone: (world) =>
      world.kube.all(clusters).length === 0 && Object.keys(world.hub.entries()).length === 0,
  }),
  story({
    name: "a RegistrationToken is made",
    before() {},
    act: ({ hub }) => hub.putToken("edge"),
    isDone: (world) => isReady(world) && world.hub.adminTokens().length === 2,
  }),
  registered({
    name: "a cluster registers",
    before: ({ hub }) => hub.putToken("edge"),
    isPrepared: isReady,
    act: (world) => world.register("edge-1"),
    isDone: (world) => isReady(world) && world.secretIn("argocd", "edge-1") !== undefined,
  }),
  registered({
    name: "a cluster that waits is accepted",
    isPrepared: ({ kube }) => kube.all(clusters).length === 1,
    act: ({ kube }) => {
      const { metadata, spec } = kube.read(clusters, "hub", "edge-1") as unknown as {
        metadata: { name: string };
        spec: object;
      };
      kube.put(clusters, { metadata, spec: { ...spec, accepted: true } });
    },
    isDone: (world) =>
      isReady(world) && world.relay.clusters.get("edge-1")?.["accepted"] === true &&
      world.secretIn("argocd", "edge-1") !== undefined,
  }, { autoAccept: false }),
  registered({
    name: "a Cluster that has registered is deleted",
    act: (world) => world.kube.remove(clusters, "hub", "edge-1"),
    isDone: (world) => isReady(world) && world.kube.all(clusters).length === 0,
  }),
];

for (const it of stories) {
  Deno.test(`the operator is killed after any write while ${it.name}: the end is the same`, async () => {
    await assertSameEnd(it);
  });
}

for (const it of [stories[0]!, stories[5]!, stories[7]!]) {
  Deno.test(`two operators that act while ${it.name} come to the same end`, async () => {
    await assertTwoAgree(it);
  });
}
