import { deepEqual, equal, match } from "node:assert/strict";
import { eventually } from "../../support/deadline.ts";
import { ask, connectAgent, createRelay } from "./world.ts";

const token = "token-of-the-agents-0123456789";
const dev = {
  id: "dev",
  targetAddr: "target:1",
  impersonation: "refuse",
  tokens: [{ name: "main", token }],
} as const;
const idle = { ...dev, id: "idle", tokens: [{ name: "main", token: "another-token-0123456789" }] };

Deno.test("the status shows each cluster with its agents, and how the last session ended", async () => {
  const relay = await createRelay({ clusters: [idle, dev] });
  const targets = [{ name: "target:1", kind: "http" }];
  const socket = await connectAgent(relay, {
    token,
    instance: "one",
    announces: { targets, hash: "h1" },
  });
  const { relays: [self], clusters } = await relay.status.read();
  equal(self!.version, "1.2.3");
  equal(self!.agents, 1);
  deepEqual(clusters.map(({ id, agents }) => [id, agents.length]), [["dev", 1], ["idle", 0]]);
  const [agent] = clusters[0]!.agents;
  match(agent!.id, /^[0-9a-f]{8}-\d+$/);
  deepEqual(
    [agent!.instance, agent!.address, agent!.software, agent!.tokenName, agent!.targetsHash],
    ["one", "192.0.2.7", "culvert-agent/test", "main", "h1"],
  );
  deepEqual(agent!.targets, targets);
  socket.events.closed(1006, "cut");
  await eventually(() => relay.registry.size === 0, "the session to end");
  const { clusters: [after] } = await relay.status.read();
  deepEqual(after!.agents, []);
  deepEqual([after!.lastDisconnect?.code, after!.lastDisconnect?.reason], [1006, "cut"]);
});

Deno.test("the status shows what is open and for whom, and ends it when asked", async () => {
  const relay = await createRelay({ clusters: [dev] });
  const socket = await connectAgent(relay, { token, instance: "one" });
  const answer = ask(relay, "https://relay/tunnel/dev/api/pods?watch=secret").catch(() =>
    undefined
  );
  await eventually(() => relay.underWay.size === 1, "the request to be under way");
  const { streams: [stream] } = await relay.status.read();
  deepEqual(
    [stream!.cluster, stream!.method, stream!.path, stream!.address],
    ["dev", "GET", "/api/pods", "192.0.2.1"],
  );
  equal(await relay.status.endStream("no-such-stream", "ann"), false);
  const unseen = { seesCluster: () => false, seesService: () => false };
  equal(await relay.status.endStream(stream!.id, "ann", unseen), false, "out of scope");
  equal(await relay.status.endStream(stream!.id, "ann"), true);
  await eventually(() => relay.underWay.size === 0, "the request to end");
  await answer;
  socket.events.closed(1000, "");
});

Deno.test("an agent that is disconnected by an administrator is told so and may come back", async () => {
  const relay = await createRelay({ clusters: [dev] });
  const socket = await connectAgent(relay, { token, instance: "one" });
  const { clusters: [cluster] } = await relay.status.read();
  const id = cluster!.agents[0]!.id;
  equal(await relay.status.disconnectAgent(id, "ann"), true);
  await eventually(() => socket.closedWith !== undefined, "the socket to be closed");
  deepEqual(socket.closedWith, { code: 1001, reason: "Disconnected by an administrator" });
  socket.events.closed(1001, "");
  await connectAgent(relay, { token, instance: "one" }).then((next) =>
    next.events.closed(1000, "")
  );
});

Deno.test("the status shows nothing of clusters that are out of scope", async () => {
  const relay = await createRelay({ clusters: [idle, dev] });
  const scope = { seesCluster: (id: string) => id === "idle", seesService: () => false };
  const { clusters } = await relay.status.read(scope);
  deepEqual(clusters.map(({ id }) => id), ["idle"]);
});
