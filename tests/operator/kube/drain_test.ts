/** An operator's end, with a real API server: nothing of it hangs, in whichever order things go. */
import assert from "node:assert/strict";
import { leases, secrets } from "../../../lib/kube/resources.ts";
import { clusters, registrationTokens } from "../../../lib/operator/api/crds.ts";
import { secretText } from "../../../lib/operator/secret_text.ts";
import { eventually } from "../../support/deadline.ts";
import { Program } from "../../support/programs.ts";
import { entriesAt } from "../../support/relay_entries.ts";
import {
  adminToken,
  namespace,
  OperatorWorld,
  patienceMs,
  tunnelBindings,
  tunnels,
} from "./cluster.ts";
import { hub, MountedRelay } from "./hub.ts";
import { kubeTest } from "./own_kube.ts";

const deleting = ["--set", "drain.policy=Delete"];

/** A Tunnel and the binding of an annotated Service, both ready. */
async function published(world: OperatorWorld): Promise<void> {
  world.startKubelet();
  await world.putTunnel();
  await world.putService("web", 80, {
    "culvert.dev/tunnel": "main",
    "culvert.dev/hostname": "web.example.com",
  });
  await world.condition(tunnels, "main", "Ready", "Ready");
  await world.condition(tunnelBindings, "service-web", "Ready", "Ready");
}

/** What the relay has. */
async function atRelay({ adminUrl }: OperatorWorld): Promise<readonly string[]> {
  return await entriesAt(adminUrl, adminToken);
}

async function finalizers(world: OperatorWorld): Promise<string> {
  const format = "jsonpath={range .items[*]}{.metadata.finalizers}{end}";
  return await world.kubectl("get", "tunnels,tunnelbindings", "-A", "-o", format);
}

kubeTest(
  "a drain that deletes ends all beside a running operator, which stays paused",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const operator = await world.startOperator(deleting);
    await published(world);
    assert.notDeepEqual(await atRelay(world), []);
    await using dry = world.drain(["--policy", "delete", "--dry-run"]);
    assert.equal(await dry.ended(patienceMs), 0);
    assert.notEqual(await finalizers(world), "", "a dry run changes nothing");
    await using drain = world.drain(["--policy", "delete"]);
    assert.equal(await drain.ended(patienceMs), 0);
    assert.deepEqual(await atRelay(world), []);
    assert.equal(await world.kubectl("get", "tunnels,tunnelbindings", "-A", "-o", "name"), "");
    await operator.waitForLog(({ message }) => message.startsWith("No longer the leader"));
    const lease = await world.client.get(leases, {
      namespace: "culvert",
      name: "culvert-operator",
    });
    assert.equal((lease["spec"] as { leaseDurationSeconds: number }).leaseDurationSeconds, 120);
  },
);

kubeTest(
  "after a drain that retains, kinds can be deleted though no operator is there",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const operator = await world.startOperator();
    await published(world);
    const before = await atRelay(world);
    await using drain = world.drain([]);
    assert.equal(await drain.ended(patienceMs), 0);
    assert.equal(await finalizers(world), "");
    assert.deepEqual(await atRelay(world), before);
    await operator.stop();
    // As Helm does, and then installs another one.
    await world.kubectl("-n", "culvert", "delete", "lease", "culvert-operator");
    const next = await world.startOperator();
    const both = /(culvert\.dev\/registered.*){2}/;
    await eventually(
      async () => both.test(await finalizers(world)),
      "the finalizers to be back",
      patienceMs,
    );
    await using last = world.drain([]);
    assert.equal(await last.ended(patienceMs), 0);
    await next.stop();
    const crds = (await world.kubectl("get", "crds", "-o", "name")).trim().split("\n");
    await world.kubectl("delete", ...crds, "--timeout=280s");
    await using again = world.drain([]);
    assert.equal(await again.ended(patienceMs), 0, "there is nothing to drain without the kinds");
  },
);

kubeTest(
  "kinds that are deleted while the operator runs take everything with them",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await world.startOperator();
    await published(world);
    const crds = (await world.kubectl("get", "crds", "-o", "name")).trim().split("\n");
    await world.kubectl("delete", ...crds, "--timeout=280s");
    await eventually(
      async () => (await atRelay(world)).length === 0,
      "the relay to be empty",
      patienceMs,
    );
    assert.equal(
      await world.owned(),
      "",
      "nothing is left to a garbage collector, which runs nowhere",
    );
    await using drain = world.drain([]);
    assert.equal(await drain.ended(patienceMs), 0);
  },
);

kubeTest(
  "a drain whose time is over says what is left, and lets it go if it is forced",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const operator = await world.startOperator(deleting);
    await published(world);
    // The relay refuses from now on: the token is another one.
    const token = btoa("not the relay's token, but as long");
    await world.kubectl(
      "-n",
      namespace,
      "patch",
      "secret",
      "relay-api",
      "-p",
      `{"data":{"token":"${token}"}}`,
    );
    await using interrupted = world.drain(["--policy", "delete"]);
    await interrupted.waitForLog(({ message }) => message === "Waiting for an object");
    assert.equal(await interrupted.stop(), 1);
    const said = (await interrupted.completeLog()).at(-1)!.message;
    assert.equal(said, "operator: Interrupted; the operator continues");
    await operator.waitForLogs(2, ({ message }) => message === "Became the leader", {
      timeoutMs: patienceMs,
    });
    await using drain = world.drain(["--policy", "delete", "--timeout", "40s"]);
    assert.equal(await drain.ended(patienceMs), 1);
    const last = (await drain.completeLog()).at(-1)!.message;
    assert.match(last, /^operator: Timed out; these objects are left: .*Tunnel apps\/main/);
    await using forced = world.drain(["--policy", "delete", "--timeout", "40s", "--force"]);
    assert.equal(await forced.ended(patienceMs), 0);
    assert.equal(await world.kubectl("get", "tunnels,tunnelbindings", "-A", "-o", "name"), "");
    const events = await world.kubectl("get", "events", "-A", "-o", "jsonpath={.items[*].reason}");
    assert.match(events, /Orphaned/);
  },
);

kubeTest(
  "beside a relay, a drain that deletes leaves nothing at the relay and in Argo CD",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const { client } = world;
    await using relay = await MountedRelay.besideArgocd(world);
    const values = ["--set", "controllers={clusters}", ...deleting];
    const options = relay.operatorOptions;
    await world.startOperator(values, options);
    await relay.start();
    await client.apply(registrationTokens, {
      metadata: { name: "edge", namespace: hub },
      spec: { idPrefixes: ["edge-"], argocd: { enabled: true } },
    });
    const secretIn = (namespace: string, name: string) => client.find(secrets, { namespace, name });
    await eventually(
      async () => {
        const token = secretText(await secretIn(hub, "edge-registration"), "token");
        return token !== undefined && await relay.register("edge-1", token) === 201;
      },
      "the relay to know the token",
      patienceMs,
    );
    await client.apply(clusters, {
      metadata: { name: "by-hand", namespace: hub },
      spec: {
        tokens: [{ name: "first", sha256: "0".repeat(64) }],
        targets: ["127.0.0.1:1"],
        argocd: { enabled: true },
      },
    });
    for (const id of ["edge-1", "by-hand"]) {
      await eventually(
        async () => await secretIn("argocd", `culvert-cluster-${id}`) !== undefined,
        `Argo CD's Secret of ${id}`,
        patienceMs,
      );
    }
    const own = secretText(await secretIn(hub, "culvert-relay-operator-token"), "token")!;
    assert.ok((await entriesAt(relay.adminUrl, own)).includes("clusters/edge-1"));
    await using drain = world.drain(["--policy", "delete", ...options]);
    assert.equal(await drain.ended(patienceMs), 0, drain.logText());
    assert.equal((await entriesAt(relay.adminUrl, own)).includes("clusters/edge-1"), false);
    const kinds = "clusters.culvert.dev,registrationtokens,secrets";
    const left = await world.kubectl("get", kinds, "-n", hub, "-o", "name");
    // Its owner takes it along where there is a controller manager.
    assert.equal(left.trim(), "secret/edge-registration");
    assert.equal(await world.kubectl("get", "secrets", "-n", "argocd", "-o", "name"), "");
  },
);

kubeTest(
  "a Tunnel that a backup has brought back with its finalizer can be deleted",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    const restored = world.tunnel();
    const finalizers = ["culvert.dev/registered"];
    await world.client.apply(tunnels, {
      ...restored,
      metadata: { ...restored.metadata, finalizers },
    });
    await world.startOperator();
    await world.condition(tunnels, "main", "Registered", "Registered");
    await world.kubectl("-n", namespace, "delete", "tunnel", "main", "--timeout=280s");
    assert.deepEqual(await atRelay(world), []);
  },
);

kubeTest(
  "a watched namespace that went with the operator's Role is cleaned up by somebody with the rights",
  async (kube) => {
    kube.startControllers(["namespace-controller"]);
    await using world = await OperatorWorld.start(kube);
    const values = ["--set", `watchNamespaces={${namespace}}`];
    const operator = await world.startOperator(values, ["--watch-namespaces", namespace]);
    await published(world);
    await operator.kill();
    await world.kubectl("delete", "namespace", namespace, "--wait=false");
    await eventually(
      async () => await world.kubectl("-n", namespace, "get", "roles", "-o", "name") === "",
      "the Role to go",
      patienceMs,
    );
    await using drain = Program.start("operator.ts", [
      ...["drain", "--kubeconfig", kube.kubeconfig, "--namespace", "culvert"],
      ...["--watch-namespaces", namespace],
    ]);
    assert.equal(await drain.ended(patienceMs), 0, drain.logText());
    assert.deepEqual(await atRelay(world), []);
    await world.kubectl("wait", "--for=delete", `namespace/${namespace}`, "--timeout=120s");
  },
);
