/** Agents that are not let in: what they are told, and what others notice of it. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import { type LogLine, startAgent, startRelay } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { fieldValues, type RawHead, readHead, statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { maxSessionsPerCluster } from "../../lib/relay/agents/admissions.ts";
import { V2Agent } from "../peers/v2_agent.ts";
import { service } from "../isolation/service.ts";
import { assertNoSecrets, CLUSTER, metric, secrets } from "../isolation/tunnel.ts";
import { Authority, withFolder } from "../support/certificates.ts";
import { ClustersMount } from "./clusters_mount.ts";

const wrongToken = "a-wrong-token-that-nobody-may-log";

/** One handshake: the head of what the relay answers. */
async function handshake(
  address: string,
  token: string,
  fields: readonly string[] = [],
): Promise<RawHead> {
  await using connection = await openConnection(address);
  await connection.write([
    "GET /connect HTTP/1.1",
    "Host: relay",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    `Authorization: Bearer ${token}`,
    ...fields,
    "",
    "",
  ].join("\r\n"));
  const head = await within(readHead(connection.reader), "the answer to a handshake");
  return head;
}

Deno.test("a storm of wrong tokens is slowed down; a right one from the same address gets in at once", async () => {
  await using target = await startRawTarget(service);
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
  });
  const wrong = Array.from({ length: 200 }, () => handshake(relay.publicAddress, wrongToken));
  const slowed = () => metric(relay.internalAddress, "auth_failures_slowed_total");
  await eventually(async () => await slowed() > 32, "all places to be taken");
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    target: target.address,
  });
  const heads = await Promise.all(wrong);
  const refused = heads.filter((head) => statusOf(head) === 401);
  const overdone = heads.filter((head) => statusOf(head) === 429);
  equal(refused.length + overdone.length, wrong.length, "no other answer");
  ok(refused.length >= 42, "the first ones, and those that waited");
  ok(overdone.length > 0, "more than may wait");
  for (const head of overdone) deepEqual(fieldValues(head, "retry-after"), ["1"]);

  await untilEqual(() => metric(relay.internalAddress, "auth_failures_total"), wrong.length);
  ok(await slowed() >= overdone.length + 32);

  // The log has a few lines, and others that tell how many more there were.
  const refusals = (log: readonly LogLine[]) =>
    log.filter(({ message }) => message.startsWith("Refused an agent"));
  const counts = (log: readonly LogLine[]) =>
    refusals(log).reduce((sum, { unlogged }) => sum + Number(unlogged ?? 1), 0);
  const log = await relay.logWhen((log) => counts(log) >= wrong.length, {
    what: "lines that tell of all refusals",
  });
  equal(counts(log), wrong.length);
  const lines = refusals(log);
  ok(lines.length < wrong.length / 2, `${lines.length} lines`);
  ok(
    lines.some(({ message }) =>
      /; \d+ more like this from 127\.0\.0\.1 in the last 5 s$/.test(message)
    ),
  );
  ok(lines.some(({ slowed }) => slowed === true));
  for (const line of lines) equal(line.reason, "unknown_token");
  await assertNoSecrets(relay, agent);
  ok(!JSON.stringify(await relay.completeLog()).includes(wrongToken));
});

Deno.test("an agent that is slowed down is told what to do, and waits", async () => {
  await using target = await startRawTarget(service);
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: target.address }],
  });
  // All places are taken again as soon as they are free.
  let isOver = false;
  const storm = Array.from({ length: 64 }, async () => {
    while (!isOver) await handshake(relay.publicAddress, wrongToken);
  });
  try {
    await using agent = await startAgent({
      relayUrl: relay.connectUrl,
      token: wrongToken,
      target: target.address,
      waitsForSession: false,
      args: ["-max-retry", "100ms"],
    });
    const line = await agent.waitForLog(({ status }) => status === 429);
    equal(line.level, "error");
    equal(
      line.message,
      "The relay refused this agent; check --token against the relay's clusters file",
    );
  } finally {
    isOver = true;
    await Promise.all(storm);
  }
});

Deno.test("neither a page nor a token without end gets to be compared", async () => {
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: "127.0.0.1:1" }],
  });
  const { publicAddress } = relay;
  equal(statusOf(await handshake(publicAddress, secrets.token, ["Origin: https://x"])), 403);
  equal(statusOf(await handshake(publicAddress, "x".repeat(5_000))), 401);
  equal(statusOf(await handshake(publicAddress, "")), 401);
  equal(statusOf(await handshake(publicAddress, secrets.token)), 101);
});

Deno.test("whoever has one cluster's token can't fill the relay with sessions", async () => {
  const other = "token-of-another-cluster-1";
  await using relay = await startRelay({
    clusters: [
      { id: CLUSTER, token: secrets.token, targetAddr: "127.0.0.1:1" },
      { id: "other", token: other, targetAddr: "127.0.0.1:1" },
    ],
  });
  const agents: V2Agent[] = [];
  try {
    const start = async (index: number): Promise<void> => {
      const settings = { instance: `agent-${index}` };
      agents.push(
        await V2Agent.start({ relayUrl: relay.connectUrl, token: secrets.token, settings }),
      );
    };
    while (agents.length < maxSessionsPerCluster) {
      const first = agents.length;
      await Promise.all(Array.from({ length: 64 }, (_, index) => start(first + index)));
    }
    const answer = await handshake(relay.publicAddress, secrets.token);
    deepEqual([statusOf(answer), fieldValues(answer, "retry-after")], [503, ["5"]]);
    equal(statusOf(await handshake(relay.publicAddress, other)), 101, "another cluster has room");
    const line = await relay.waitForLog(({ message }) => message === "Refused an agent");
    deepEqual([line.reason, line.cluster], ["full", CLUSTER]);
    await agents.pop()?.[Symbol.asyncDispose]();
    await eventually(
      async () => statusOf(await handshake(relay.publicAddress, secrets.token)) === 101,
      "room for another session",
    );
  } finally {
    await Promise.all(agents.map((agent) => agent[Symbol.asyncDispose]()));
  }
});

Deno.test("an agent that is silent after its handshake is put out, and its place is free", async () => {
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: "127.0.0.1:1" }],
  });
  await using connection = await openConnection(relay.publicAddress);
  await connection.write([
    "GET /connect HTTP/1.1",
    "Host: relay",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Tunnel-Version: 2",
    `Authorization: Bearer ${secrets.token}`,
    "",
    "",
  ].join("\r\n"));
  equal(statusOf(await within(readHead(connection.reader), "the handshake")), 101);
  const line = await relay.waitForLog(({ message }) => message === "Agent disconnected");
  deepEqual([line.code, line.reason], [1002, "No Settings in time"]);
  await eventually(() => connection.isEnded || connection.isClosed, "the connection to end");
});

Deno.test("a cluster that is bound to a certificate's name takes an agent with no other", async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const server = await authority.issue("server", "IP:127.0.0.1");
    const right = await authority.issue("right", "DNS:other,URI:spiffe://blue/agent");
    const wrong = await authority.issue("wrong", "DNS:spiffe-blue-agent");
    await using mount = await ClustersMount.create();
    await using target = await startRawTarget(service);
    const entry = (certificateName: string | readonly string[]) => ({
      ...{ id: CLUSTER, token: secrets.token, targetAddr: target.address },
      certificateName,
    });
    await mount.replace(entry("spiffe://blue/agent"));
    await using relay = await startRelay({
      clusters: [],
      args: [
        ...["-clusters", mount.file, "-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", authority.caPath],
      ],
    });
    const startOne = (pair: typeof right, waitsForSession: boolean) =>
      startAgent({
        relayUrl: `wss://${relay.publicAddress}/connect`,
        ...{ token: secrets.token, target: target.address, waitsForSession },
        args: [
          ...["-server-ca-cert", authority.caPath, "-max-retry", "200ms"],
          ...["-client-cert", pair.certPath, "-client-key", pair.keyPath],
        ],
      });
    await using holder = await startOne(right, true);
    await using refused = await startOne(wrong, false);
    const line = await refused.waitForLog(({ level }) => level === "error");
    deepEqual([line.message, line.status], [
      "The relay refused this agent's certificate; check --client-cert against certificateName",
      403,
    ]);
    const refusal = await relay.waitForLog(({ message }) => message === "Refused an agent");
    deepEqual(
      [refusal.reason, refusal.cluster, refusal.token_name, refusal.certificate],
      ["certificate", CLUSTER, "default", ["wrong", "spiffe-blue-agent"]],
    );

    // The subject's common name counts as well, and another binding changes who is let in.
    await mount.replace(entry(["nobody", "wrong"]));
    const end = await holder.waitForLog(({ message }) => message === "Disconnected from relay");
    deepEqual([end.code, end.reason], [
      1008,
      "The cluster no longer accepts the client certificate",
    ]);
    await refused.waitForLog(({ message }) => message === "Connected to relay");
    await assertNoSecrets(relay, holder, refused);
  });
});

Deno.test("an agent without the certificate that its relay demands says so at each attempt", async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const server = await authority.issue("server", "IP:127.0.0.1");
    await using relay = await startRelay({
      clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: "127.0.0.1:1" }],
      args: [
        ...["-tls-cert", server.certPath, "-tls-key", server.keyPath],
        ...["-tls-client-ca", authority.caPath],
      ],
    });
    await using agent = await startAgent({
      relayUrl: `wss://${relay.publicAddress}/connect`,
      ...{ token: secrets.token, target: "127.0.0.1:1", waitsForSession: false },
      args: ["-server-ca-cert", authority.caPath, "-max-retry", "50ms"],
    });
    const isFailure = ({ message }: LogLine) => message === "Could not connect to relay";
    const failures = await agent.waitForLogs(12, isFailure);
    for (const { error, next_try: nextTry } of failures) {
      match(String(error), /give (a certificate|one) with --client-cert$/);
      equal(nextTry, "in less than 1 s");
    }
    // Once the relay has said why, that is the error, whatever gets through later.
    const errors = failures.map(({ error }) => String(error));
    const first = errors.findIndex((error) => error.includes("CertificateRequired"));
    if (first !== -1) equal(new Set(errors.slice(first)).size, 1);
  });
});

Deno.test("an agent with a wrong token tries again within seconds at first, and says when", async () => {
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: secrets.token, targetAddr: "127.0.0.1:1" }],
  });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    ...{ token: wrongToken, target: "127.0.0.1:1", waitsForSession: false },
  });
  const refusals = await agent.waitForLogs(2, ({ status }) => status === 401);
  for (const [index, limitMs] of [2_000, 4_000].entries()) {
    const { retry_in_ms: ms, next_try: nextTry } = refusals[index]!;
    ok(Number(ms) >= limitMs / 2 && Number(ms) <= limitMs, `${ms} ms`);
    match(String(nextTry), /^in [1-4] s$/);
  }
});
