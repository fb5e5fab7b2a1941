/** Hundreds of bindings at once: what they cost the API server, the agents, and Cloudflare's API. */
import assert from "node:assert/strict";
import type { Condition } from "../../../lib/kube/objects.ts";
import { secrets } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { FakeCloudflare, serveCloudflare } from "../../support/fake_cloudflare.ts";
import { type AuditEntry, isWrite } from "./audit_log.ts";
import { namespace, OperatorWorld, patienceMs, tunnelBindings, tunnels } from "./cluster.ts";
import { kubeTest, type OwnKube } from "./own_kube.ts";

const maxBytes = 256 * 1024 * 1024;
const target = "relay.example.net";

kubeTest(
  "500 bindings at once take few writes of the table, no new agent and less than 256 MiB; and 300 names get records",
  async (kube) => {
    await kube.startAudit();
    await using backend = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response("served"),
    );
    const [api, busy] = [
      new FakeCloudflare(),
      new FakeCloudflare({ zone: "example.net", token: "busy-token-0123456789" }),
    ];
    await using served = serveCloudflare(api, busy);
    await using world = await OperatorWorld.start(kube);
    await world.startOperator([], ["--cloudflare-api", served.url]);
    world.startKubelet();
    await world.putTunnel();
    await world.putService("web", backend.addr.port);
    await world.condition(tunnels, "main", "Ready", "Ready");
    await publishMany(world, kube);
    await writesNothingMore(world, kube);
    await nameMany(world, api, busy);
  },
);

async function publishMany(world: OperatorWorld, kube: OwnKube): Promise<void> {
  const operator = world.operator!;
  const bareBytes = await operator.residentBytes();
  const [agents, uids] = [world.agentPids(), await world.podUids()];
  const names = Array.from({ length: 500 }, (_, index) => `b${index}`);
  await Promise.all(names.map((name) => bind(world, name, { host: `${name}.example.org` })));
  await areTrue(world, names, "Ready");
  const bytes = await operator.peakResidentBytes();
  assert.ok(bytes < maxBytes, `${bytes >> 20} MiB, ${bareBytes >> 20} before`);
  for (const name of ["b0", "b499"]) {
    const answer = await world.web(`${name}.example.org`);
    assert.deepEqual(answer, { status: 200, text: "served" }, world.agentLogs());
  }
  assert.deepEqual([world.agentPids(), await world.podUids()], [agents, uids], "the agent stays");
  const tables = (await kube.auditOf()).filter((entry) =>
    isWrite(entry) && entry.objectRef?.resource === "configmaps"
  );
  const most = mostInASecond(tables);
  assert.ok(most > 0 && most <= 5, `${most} of ${tables.length} writes of the table in a second`);
}

async function writesNothingMore(world: OperatorWorld, kube: OwnKube): Promise<void> {
  const writes = async () => (await kube.auditOf()).filter(isWrite).length;
  const looks = async () => {
    const pattern =
      /^culvert_operator_kube_requests_total\{verb="get",resource="secrets".* (\d+)$/gm;
    return [...(await world.metrics()).matchAll(pattern)]
      .reduce((sum, [, count]) => sum + Number(count), 0);
  };
  const [written, looked] = [await writes(), await looks()];
  await eventually(
    async () => await looks() > looked + 4,
    "more looks at the Secrets",
    patienceMs,
  );
  assert.equal(await writes(), written);
}

/** 300 names in a zone that has two pages of others' records, while another zone's token is paused. */
async function nameMany(
  world: OperatorWorld,
  api: FakeCloudflare,
  busy: FakeCloudflare,
): Promise<void> {
  for (let index = 0; index < 150; index++) api.put("A", `other${index}.example.com`, "192.0.2.1");
  busy.intercept = () => new Response("{}", { status: 429 });
  await putZone(world, "busy", busy);
  await bind(world, "busy", { host: "busy.example.net", tunnel: "busy" });
  await world.condition(tunnelBindings, "busy", "DNSReady", "Unreachable");
  const asked = busy.calls.length;
  const answered = 'culvert_operator_cloudflare_requests_total{method="GET",code="429"} 1';
  assert.ok((await world.metrics()).includes(answered), answered);

  const hosts = new Map([
    ["wildcard", "*.wild.example.com"],
    ["punycode", "xn--mller-kva.example.com"],
    ...Array.from({ length: 298 }, (_, index) => [`c${index}`, `c${index}.example.com`] as const),
  ]);
  await putZone(world, "cloud");
  await Promise.all([...hosts].map(([name, host]) => bind(world, name, { host, tunnel: "cloud" })));
  await bind(world, "taken", { host: "other119.example.com", tunnel: "cloud" });
  await areTrue(world, [...hosts.keys(), "taken"], "Accepted");
  const beganMs = performance.now();
  await putZone(world, "cloud", api);
  await areTrue(world, [...hosts.keys()], "DNSReady");
  await world.condition(tunnelBindings, "taken", "DNSReady", "Conflict");
  areFew(api.calls, beganMs);
  for (const host of hosts.values()) assert.deepEqual(api.contents("CNAME", host), [target], host);
  assert.deepEqual(api.contents("A", "other119.example.com"), ["192.0.2.1"]);
  assert.equal(api.contents("TXT", "_culvert._any.wild.example.com").length, 1);
  assert.equal(api.records.size, 150 + 2 * hosts.size);
  assert.ok(api.largestBatch <= 200, `${api.largestBatch} changes in a batch`);
  assert.equal(busy.calls.length, asked, "nothing is asked with a paused token");
  await unnameMany(world, api, [...hosts.keys()]);
}

/** Deletes bindings, and with them all records but those of others. */
async function unnameMany(
  world: OperatorWorld,
  api: FakeCloudflare,
  names: readonly string[],
): Promise<void> {
  const [before, beganMs] = [api.calls.length, performance.now()];
  const { items } = await world.client.list(tunnelBindings, { namespace });
  const gone = items.filter(({ metadata }) => names.includes(metadata.name));
  await Promise.all(
    gone.map(({ metadata: { name, uid } }) =>
      world.client.delete(tunnelBindings, { namespace, name }, uid!)
    ),
  );
  await eventually(
    async () => {
      const { items } = await world.client.list(tunnelBindings, { namespace });
      const left = new Set(items.map(({ metadata }) => metadata.name));
      return !names.some((name) => left.has(name));
    },
    () => `300 bindings to go\n${world.operator!.logText(50)}`,
    5 * patienceMs,
  );
  areFew(api.calls.slice(before), beganMs);
  assert.equal(api.records.size, 150);
}

/**
 * Asserts that calls for 300 names are at most ten. On a machine that needs more than a minute for all
 * bindings, they are those of rounds of at least 15 s: a list and a batch each.
 */
function areFew(calls: readonly string[], beganMs: number): void {
  const seconds = (performance.now() - beganMs) / 1_000;
  const most = Math.max(10, 2 * Math.ceil(seconds / 15) + 2);
  assert.ok(calls.length <= most, `${calls.length} calls in ${seconds} s:\n${calls.join("\n")}`);
}

/** A Tunnel without agents. @param api Where its names get records, if anywhere. */
async function putZone(world: OperatorWorld, name: string, api?: FakeCloudflare): Promise<void> {
  const token = `zone-${name}`;
  if (api) {
    await world.client.create(secrets, {
      metadata: { name: token, namespace },
      stringData: { token: api.token },
    });
  }
  const { spec } = world.tunnel() as unknown as { spec: Record<string, unknown> };
  await world.client.apply(tunnels, {
    metadata: { name, namespace },
    spec: {
      ...spec,
      agent: { replicas: 0 },
      ...api && {
        dns: { provider: "Cloudflare", target, zone: api.zone, secretRef: { name: token } },
      },
    },
  });
}

async function bind(
  world: OperatorWorld,
  name: string,
  { host, tunnel = "main" }: { readonly host: string; readonly tunnel?: string },
): Promise<void> {
  await world.client.apply(tunnelBindings, {
    metadata: { name, namespace },
    spec: {
      tunnelRef: { name: tunnel },
      routes: [{
        name: "main",
        hostnames: [host],
        backend: { service: { name: "web", port: "http" } },
      }],
    },
  });
}

/** Waits until a condition of all these bindings is true. */
async function areTrue(
  world: OperatorWorld,
  names: readonly string[],
  type: string,
): Promise<void> {
  let missing = [...names];
  await eventually(
    async () => {
      const { items } = await world.client.list(tunnelBindings, { namespace });
      const done = new Set(
        items.filter(({ status }) =>
          (status as { conditions?: Condition[] } | undefined)?.conditions
            ?.some((it) => it.type === type && it.status === "True")
        ).map(({ metadata }) => metadata.name),
      );
      missing = names.filter((name) => !done.has(name));
      return missing.length === 0;
    },
    () =>
      `${type} of ${missing.length} bindings such as ${missing[0]}\n${world.operator!.logText(50)}`,
    5 * patienceMs,
  );
}

/** The most of these requests that came within a second. */
function mostInASecond(requests: readonly AuditEntry[]): number {
  const times = requests.map(({ requestReceivedTimestamp }) =>
    Date.parse(requestReceivedTimestamp)
  );
  const within = (from: number) => times.filter((at) => at >= from && at < from + 1_000).length;
  return Math.max(0, ...times.map(within));
}
