/** What the relay's side sees of the relay: changes at once, and nothing is asked while there are none. */
import { equal, ok } from "node:assert/strict";
import { clusters, registrationTokens } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { conditionsOf } from "./harness.ts";
import { Hub } from "./hub.ts";

const agent = { id: "s1", cluster: "edge-1", instance: "pod-a", since: "2026-11-30T00:00:00Z" };
const registered = { owner: "edge/main", registeredBy: "edge", accepted: true };

/** Waits while the operator goes on to look at its Secrets. */
async function awhile({ kube }: Hub): Promise<void> {
  const looks = () => kube.requests.filter(({ path }) => path.includes("/secrets/")).length;
  const before = looks();
  await eventually(() => looks() > before + 30, "more looks at the Secrets");
}

/** Waits until the relay is asked no more. */
async function rest(hub: Hub): Promise<void> {
  let before = -1;
  await eventually(async () => {
    const isAtRest = before === hub.relay.calls.length && hub.relay.watches.size === 1;
    before = hub.relay.calls.length;
    await awhile(hub);
    return isAtRest;
  }, "the relay to be asked no more");
}

/** One relay, with a Cluster of its file and one that has registered. */
async function started(hub: Hub, settings: Parameters<Hub["start"]>[0] = {}) {
  hub.relay.relays = 1;
  hub.putToken("edge");
  hub.putCluster("edge-1");
  hub.relay.clusters.set("edge-1", { source: "configuration" });
  hub.relay.clusters.set("edge-2", registered);
  const running = hub.start(settings);
  await hub.condition("edge-1", "Ready", "NotConnected");
  await hub.condition("edge-2", "Programmed", "Registered");
  await rest(hub);
  return running;
}

Deno.test("an idle operator asks the relay nothing, and sees what changes there", async () => {
  const hub = new Hub();
  await using _ = await started(hub);
  const asked = hub.relay.calls.length;
  await awhile(hub);
  equal(hub.relay.calls.length, asked);
  hub.relay.agents = [agent];
  hub.relay.tell("ADDED", "agents", agent);
  await hub.condition("edge-1", "Ready", "Ready");
  hub.relay.agents = [];
  hub.relay.tell("DELETED", "agents", agent);
  await hub.condition("edge-1", "Ready", "NotConnected");
  hub.relay.clusters.set("edge-3", registered);
  hub.relay.tell("ADDED", "clusters", { id: "edge-3" });
  await hub.condition("edge-3", "Programmed", "Registered");
});

Deno.test("an entry that the relay is to read from its files is looked for until it is there", async () => {
  const hub = new Hub();
  await using _ = await started(hub);
  hub.putCluster("edge-4");
  await hub.condition("edge-4", "Programmed", "Programming");
  await awhile(hub);
  // Nothing is told of what a relay reads from its files.
  hub.relay.clusters.set("edge-4", { source: "configuration" });
  await hub.condition("edge-4", "Programmed", "Programmed");
  await rest(hub);
});

Deno.test("agents of other relays, of which no watch tells, are asked for", async () => {
  const hub = new Hub();
  await using _ = await started(hub);
  hub.relay.relays = 2;
  hub.relay.tell("MODIFIED", "clusters", { id: "edge-1" });
  await eventually(async () => {
    const before = hub.relay.calls.length;
    await awhile(hub);
    return hub.relay.calls.length > before;
  }, "the relay to be asked again and again");
  hub.relay.agents = [agent];
  await hub.condition("edge-1", "Ready", "Ready");
});

Deno.test("a relay that goes away is noticed, and so is its return", async () => {
  const hub = new Hub();
  await using _ = await started(hub);
  hub.relay.isAway = true;
  hub.relay.endWatches();
  await hub.condition("edge-1", "Connected", "RelayUnreachable");
  await hub.condition("edge-2", "Programmed", "RelayUnreachable");
  hub.relay.isAway = false;
  await hub.condition("edge-2", "Programmed", "Registered");
  await rest(hub);
});

Deno.test("a relay that starts empty costs no Cluster: clusters have time to register again", async () => {
  const hub = new Hub();
  await using _ = await started(hub, { goneMs: 600_000 });
  const { relay } = hub;
  relay.isAway = true;
  relay.endWatches();
  await hub.condition("edge-2", "Programmed", "RelayUnreachable");
  relay.clusters.delete("edge-2");
  relay.isExpired = true;
  relay.isAway = false;
  await hub.condition("edge-2", "Programmed", "NotRegistered");
  await rest(hub);
  const { deletionTimestamp } = hub.kube.read(clusters, "hub", "edge-2")!.metadata;
  equal(deletionTimestamp, undefined);
  ok(hub.secret("argocd", "culvert-cluster-edge-2"), "Argo CD keeps it");
  relay.clusters.set("edge-2", registered);
  relay.tell("ADDED", "clusters", { id: "edge-2" });
  await hub.condition("edge-2", "Programmed", "Registered");
  ok(relay.calls.every((call) => call.startsWith("GET")), "nothing was written to the relay");
  const ready = conditionsOf(hub.kube.read(registrationTokens, "hub", "edge"));
  equal(ready.find(({ type }) => type === "Ready")?.status, "True");
});
