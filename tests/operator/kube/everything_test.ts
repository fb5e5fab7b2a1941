/** The operator with all that it can do at once: what it writes when idle, shows of secrets, and leaves. */
import assert from "node:assert/strict";
import { namespaces, secrets } from "../../../lib/kube/resources.ts";
import { tunnels } from "../../../lib/operator/api/crds.ts";
import { eventually } from "../../support/deadline.ts";
import { isWrite } from "./audit_log.ts";
import { hasBind, zone } from "./bind.ts";
import { adminToken, namespace, patienceMs } from "./cluster.ts";
import { argocdToken, entriesAtRelay, Everything, other } from "./everything.ts";
import { hub } from "./hub.ts";
import { kubeTest, type OwnKube } from "./own_kube.ts";

/** One API server does for all of these: they take their time to begin. */
kubeTest(
  "with everything in use, the operator is idle, keeps secrets, and leaves nothing",
  async (kube) => {
    await kube.startAudit();
    kube.startControllers(["namespace-controller", "garbage-collector-controller"]);
    await using all = await Everything.start(kube, { resync: "2s" });
    await writesNothingWhenIdle(all, kube);
    await showsNoSecret(all, kube);
    await leavesNothing(all);
  },
  hasBind,
);

async function writesNothingWhenIdle(all: Everything, kube: OwnKube): Promise<void> {
  const resyncs = 10;
  let since = { write: "", puts: 0, time: 0 };
  await eventually(
    async () => {
      const written = (await kube.auditOf()).filter(isWrite);
      const last = written.at(-1);
      const write = `${last?.verb} ${last?.requestURI} ${last?.requestReceivedTimestamp}`;
      if (write !== since.write) since = { write, puts: await all.relayPuts(), time: Date.now() };
      return await all.relayPuts() - since.puts >= resyncs * entriesAtRelay;
    },
    () => `${resyncs} resyncs without a write; the last was ${since.write}`,
    2 * patienceMs,
  );
  const requests = await kube.auditOf();
  const lists = requests.filter(({ verb, requestReceivedTimestamp }) =>
    verb === "list" && Date.parse(requestReceivedTimestamp) >= since.time
  );
  // The kind that the cluster lacks is looked for.
  assert.deepEqual(
    lists.map(({ objectRef }) => objectRef?.resource).filter((it) => it !== "dnsendpoints"),
    [],
    "nothing is listed again",
  );
  const refused = requests.filter(({ responseStatus }) => responseStatus?.code === 403);
  assert.deepEqual(
    refused.map(({ requestURI }) => requestURI),
    [],
    "the chart's rights are enough",
  );
}

async function showsNoSecret(all: Everything, kube: OwnKube): Promise<void> {
  const { world, bind, cloudflare } = all;
  const before = await all.token(namespace, "main-agent-token");
  await world.client.merge(secrets, { namespace, name: "main-agent-token" }, {
    metadata: { annotations: { "culvert.dev/token-since": "2020-01-01T00:00:00.000Z" } },
  });
  await eventually(
    async () => await all.token(namespace, "main-agent-token") !== before,
    "another token",
    patienceMs,
  );
  await all.inject("app");
  await all.settle();
  const secret = (namespace: string, name: string) => `/registry/secrets/${namespace}/${name}`;
  const kept = (namespace: string) => secret("culvert", `culvert-operator-kept-${namespace}`);
  const webhook = secret("culvert", "culvert-operator-webhook");
  /** Each text with the only Secrets that may hold it. */
  const places: Readonly<Record<string, readonly [text: string, ...keys: string[]]>> = {
    "the relay's token": [
      adminToken,
      ...[namespace, other].flatMap((it) => [secret(it, "relay-api"), kept(it)]),
    ],
    "the agents' token before": [before],
    "the agents' token": [
      await all.token(namespace, "main-agent-token"),
      secret(namespace, "main-agent-token"),
    ],
    "the TSIG key": [
      bind.secret,
      ...[namespace, other].flatMap((it) => [secret(it, "tsig"), kept(it)]),
    ],
    "Cloudflare's token": [cloudflare.token, secret(namespace, "cloudflare"), kept(namespace)],
    "the RegistrationToken": [
      await all.token(hub, "edge-registration"),
      secret(hub, "edge-registration"),
    ],
    "the operator's own token": [
      await all.token(hub, "culvert-relay-operator-token"),
      secret(hub, "culvert-relay-operator-token"),
    ],
    "Argo CD's token": [
      argocdToken,
      secret(hub, "relay-tls"),
      secret("argocd", "culvert-cluster-by-hand"),
    ],
    "the webhook's key": [
      keyIn(await all.token("culvert", "culvert-operator-webhook", "tls.key")),
      webhook,
    ],
    "the key of the webhook's CA": [
      keyIn(await all.token("culvert", "culvert-operator-webhook", "ca.key")),
      webhook,
    ],
  };
  const stored = [...await kube.stored()];
  const shown = [
    ...[await world.metrics(), world.operator!.logText(), world.agentLogs()],
    ...[world.relay.program.logText(), JSON.stringify(await kube.audit())],
  ].join("\n");
  for (const [name, [text, ...keys]] of Object.entries(places)) {
    assert.ok(text.length > 16, name);
    const has = (value: string) =>
      value.includes(text) || value.includes(btoa(text).replace(/.{3}=*$/, ""));
    const found = stored.filter(([, value]) => has(value)).map(([key]) => key);
    assert.deepEqual(found.sort(), keys.sort(), name);
    assert.equal(has(shown), false, `${name} in a log or metric`);
  }
}

/** The middle of a PEM text: its lines are found in whatever is around them. */
function keyIn(pem: string): string {
  return pem.split("\n")[1] ?? "";
}

async function leavesNothing(all: Everything): Promise<void> {
  const { world, bind, cloudflare } = all;
  const { client } = world;
  const records = async () => (await bind.transfer()).filter((it) => /other|shop|web/.test(it));
  assert.equal((await records()).length, 6, `${await records()}`);
  assert.equal(cloudflare.records.size, 2);
  const deleteNamespace = async (name: string) => {
    const { metadata } = await client.get(namespaces, { name });
    await client.delete(namespaces, { name }, metadata.uid!);
  };
  const isGone = (name: string) =>
    eventually(
      async () => await client.find(namespaces, { name }) === undefined,
      () => `namespace ${name} to be gone\n${world.operator!.logText()}`,
      patienceMs,
    );
  const kept = (name: string) =>
    eventually(
      async () =>
        await client.find(secrets, {
          namespace: "culvert",
          name: `culvert-operator-kept-${name}`,
        }) === undefined,
      `what was kept of ${name} to be gone`,
      patienceMs,
    );

  for (const name of ["relay-api", "tsig"]) {
    const { metadata } = await client.get(secrets, { namespace: other, name });
    await client.delete(secrets, { namespace: other, name }, metadata.uid!);
  }
  await deleteNamespace(other);
  await isGone(other);
  await kept(other);
  assert.equal((await world.admin("clusters/apps-other")).status, 404);
  assert.deepEqual((await records()).filter((it) => it.includes("other")), []);

  await all.stopOperator();
  await deleteNamespace(namespace);
  await eventually(
    async () =>
      await client.find(secrets, { namespace, name: "relay-api" }) === undefined &&
      (await client.get(tunnels, { namespace, name: "main" })).metadata.deletionTimestamp !==
        undefined,
    "the credentials to go first",
    patienceMs,
  );
  await all.startOperator();
  await isGone(namespace);
  await kept(namespace);
  for (const path of ["clusters", "services", "policies"]) {
    const { items } = JSON.parse((await world.admin(path)).text) as { items: unknown[] };
    assert.deepEqual(items, [], path);
  }
  assert.deepEqual(await records(), [], zone);
  assert.equal(cloudflare.records.size, 0);
}
