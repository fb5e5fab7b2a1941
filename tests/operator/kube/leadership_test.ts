/** Two replicas of the operator as programs: who writes is judged by the audit logs of API server and relay. */
import assert from "node:assert/strict";
import { delay } from "../../../lib/kube/delay.ts";
import { services } from "../../../lib/kube/resources.ts";
import { eventually, within } from "../../support/deadline.ts";
import type { Program } from "../../support/programs.ts";
import type { AuditEntry } from "./audit_log.ts";
import { namespace, OperatorWorld, patienceMs, tunnelBindings, tunnels } from "./cluster.ts";
import { KubeProxy } from "./kube_proxy.ts";
import { kubeTest, type OwnKube } from "./own_kube.ts";

/** Four times what the Lease is valid for. */
const frozenMs = 60_000;
const bindings = 60;

kubeTest(
  "a leader that was frozen at work writes nothing with its old Lease, and a killed one is followed",
  async (kube) => {
    await kube.startAudit();
    await using proxy = KubeProxy.start(kube);
    await using world = await OperatorWorld.start(kube);
    world.apiServer = proxy.url;
    const first = await world.startOperator();
    world.apiServer = undefined;
    const second = await world.anotherOperator();
    await world.putTunnel();
    await world.condition(tunnels, "main", "AgentAvailable", "Starting");
    await world.client.apply(services, {
      metadata: { name: "web", namespace },
      spec: { ports: [{ name: "http", port: 80 }] },
    });
    using freezing = freezesAtWork(first, proxy);
    for (let index = 0; index < bindings; index++) await bind(world, index);
    await freezing.frozen;
    const frozenAtMs = performance.now();

    await second.waitForLog(({ message }) => message === "Became the leader", {
      timeoutMs: patienceMs,
    });
    await eventually(
      async () => await servicesOf(world) === bindings,
      "the other replica to go on",
      patienceMs,
    );
    // What the frozen one is about to do is not wanted any more.
    await Promise.all(Array.from({ length: bindings / 2 }, async (_, index) => {
      const at = { namespace, name: `b${index}` };
      const { metadata } = await world.client.get(tunnelBindings, at);
      await world.client.delete(tunnelBindings, at, metadata.uid!);
    }));
    await world.putTunnel({ agent: { replicas: 3 } });
    await world.replicas(3);
    await eventually(
      async () => (await world.client.list(tunnelBindings, { namespace })).items.length === 30,
      "half of the bindings to go",
      patienceMs,
    );
    await delay(frozenMs - (performance.now() - frozenAtMs));
    const [changes, writes] = [changesAtRelay(world), await writesOf(kube, 1)];
    freezing.thaw();
    await first.waitForLog(
      ({ message }) => message?.startsWith("No longer the leader") ?? false,
      { timeoutMs: patienceMs },
    );
    await looksAtLease(kube, 1);
    assert.equal(changesAtRelay(world), changes, "at the relay");
    assert.deepEqual((await writesOf(kube, 1)).slice(writes.length), [], "at the API server");

    await second.kill();
    await world.putTunnel({ agent: { replicas: 4 } });
    await world.replicas(4);
    await eventually(
      async () => (await writesOf(kube, 1)).length > writes.length,
      "the other replica's writes in the log",
    );
    assertEachWroteAsHolder(await kube.audit());
  },
);

/** Freezes an operator while it waits for the answer to one of its writes, which is an error. */
function freezesAtWork(operator: Program, proxy: KubeProxy) {
  const frozen = Promise.withResolvers<void>();
  const thawed = Promise.withResolvers<void>();
  let writes = 0;
  proxy.intercept = ({ method, path }) => {
    const isWrite = method === "PATCH" && /\/tunnelbindings\/b\d+\/status$/.test(path);
    if (!isWrite || ++writes !== bindings / 2) return undefined;
    Deno.kill(operator.pid, "SIGSTOP");
    frozen.resolve();
    return thawed.promise.then(() => new Response(null, { status: 503 }));
  };
  const thaw = () => {
    thawed.resolve();
    Deno.kill(operator.pid, "SIGCONT");
  };
  return {
    frozen: within(frozen.promise, "the operator to work", patienceMs),
    ...{ thaw, [Symbol.dispose]: thaw },
  };
}

async function bind(world: OperatorWorld, index: number): Promise<void> {
  await world.client.apply(tunnelBindings, {
    metadata: { name: `b${index}`, namespace },
    spec: {
      tunnelRef: { name: "main" },
      routes: [{
        name: "main",
        hostnames: [`b${index}.example.com`],
        backend: { service: { name: "web", port: 80 } },
      }],
    },
  });
}

async function servicesOf(world: OperatorWorld): Promise<number> {
  return JSON.parse((await world.admin("services")).text).items.length;
}

function changesAtRelay(world: OperatorWorld): number {
  return world.relay.program.logText().split("\n")
    .filter((line) => line.includes("Changed through the admin API")).length;
}

/** Tells replicas apart. */
function credentialIn({ user }: AuditEntry): string {
  return user.extra?.["authentication.kubernetes.io/credential-id"]?.[0] ?? "";
}

function isOfOperator({ user }: AuditEntry): boolean {
  return user.username === "system:serviceaccount:culvert:culvert-operator";
}

function isLease({ objectRef }: AuditEntry): boolean {
  return objectRef?.resource === "leases";
}

/** The credentials of the replicas, in the order in which they came first. */
function replicasIn(entries: readonly AuditEntry[]): readonly string[] {
  return [...new Set(entries.filter(isOfOperator).map(credentialIn))];
}

/** Of one replica, which is counted from 1; Leases too. */
async function writesOf(kube: OwnKube, replica: number): Promise<readonly string[]> {
  const entries = await kube.audit();
  const credential = replicasIn(entries)[replica - 1];
  return entries.filter((entry) => credentialIn(entry) === credential)
    .filter(({ verb }) => !["get", "list", "watch"].includes(verb))
    .map(({ verb, requestURI }) => `${verb} ${requestURI}`);
}

/** Waits until a replica has looked at the Lease twice more. */
async function looksAtLease(kube: OwnKube, replica: number): Promise<void> {
  const looks = async () => {
    const entries = await kube.audit();
    const credential = replicasIn(entries)[replica - 1];
    return entries.filter((it) => isLease(it) && credentialIn(it) === credential).length;
  };
  const from = await looks();
  await eventually(async () => await looks() >= from + 2, "looks at the Lease", patienceMs);
}

/** Whoever changed anything was the last one that had written its name into the Lease. */
function assertEachWroteAsHolder(entries: readonly AuditEntry[]): void {
  const inOrder = entries.filter(isOfOperator).filter(({ stage }) => stage === "ResponseComplete")
    .toSorted((a, b) => a.requestReceivedTimestamp < b.requestReceivedTimestamp ? -1 : 1);
  let holder: string | undefined;
  const holders = new Set<string>();
  for (const entry of inOrder) {
    const { verb, requestURI, requestObject, responseStatus } = entry;
    if (["get", "list", "watch"].includes(verb)) continue;
    const credential = credentialIn(entry);
    if (isLease(entry)) {
      const { spec } = requestObject as { spec: { holderIdentity?: string } };
      const isTaken = (responseStatus?.code ?? 500) < 300 && spec.holderIdentity !== "";
      if (isTaken) holders.add(holder = credential);
      continue;
    }
    assert.equal(credential, holder, `${verb} ${requestURI} at ${entry.requestReceivedTimestamp}`);
  }
  assert.equal(holders.size, 2);
}
