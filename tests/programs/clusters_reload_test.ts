/** Clusters and tokens that change while the relay runs: who stays, who goes, and what is refused. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { hashToken } from "../../lib/relay/digests.ts";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import {
  type LogLine,
  type RunningAgent,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { readHead, statusOf } from "../support/raw_http.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import { service } from "../isolation/service.ts";
import { ask, assertNoSecrets, metric, relayLogUpToNow, requestHead } from "../isolation/tunnel.ts";
import { ClustersMount } from "./clusters_mount.ts";
import type { ReadableLog } from "../support/program_log.ts";

const tokens = {
  blue: "blue-token-that-nobody-may-log",
  next: "next-token-that-nobody-may-log",
  green: "green-token-that-nobody-may-log",
} as const;

/** A relay whose clusters are in a file or folder that the test changes. */
async function startReloading(path: string): Promise<RunningRelay> {
  return await startRelay({ clusters: [], args: ["-clusters", path, "-log-level", "debug"] });
}

async function startOne(
  relay: RunningRelay,
  target: RawTarget,
  token: string,
): Promise<RunningAgent> {
  const agent = await startAgent({
    relayUrl: relay.connectUrl,
    token,
    target: target.address,
    args: ["-max-retry", "200ms"],
  });
  return agent;
}

function blueOf(target: RawTarget, changes: object = {}): object {
  return { id: "blue", token: tokens.blue, targetAddr: target.address, ...changes };
}

function greenOf(target: RawTarget, changes: object = {}): object {
  return { id: "green", token: tokens.green, targetAddr: target.address, ...changes };
}

/** The `count`-th change that the relay has taken. */
async function reloaded(relay: RunningRelay, count: number): Promise<LogLine> {
  const isReload = ({ message }: LogLine) => message === "Configuration reloaded";
  return (await relay.waitForLogs(count, isReload)).at(-1)!;
}

/** The sessions of a cluster that the relay has ended up to now. */
async function disconnected(relay: RunningRelay, cluster: string): Promise<LogLine[]> {
  const isEnd = (line: LogLine) =>
    line.message === "Agent disconnected" && line.cluster === cluster;
  return (await relayLogUpToNow(relay)).filter(isEnd);
}

async function statusAt(relay: RunningRelay, cluster: string): Promise<number> {
  return statusOf(await ask(relay, "/small", cluster));
}

/** A connection through the tunnel that sends back what it gets. */
async function openEcho(relay: RunningRelay, cluster: string): Promise<RawConnection> {
  const caller = await openConnection(relay.internalAddress);
  await caller.write(
    requestHead("GET", "/echo", ["Connection: Upgrade", "Upgrade: echo"], cluster),
  );
  equal(statusOf(await within(readHead(caller.reader), "the upgrade")), 101);
  return caller;
}

async function assertEchoes(caller: RawConnection, text: string): Promise<void> {
  await caller.write(text);
  const echo = await within(caller.reader.readExactly(text.length), `the echo of ${text}`);
  equal(new TextDecoder().decode(echo), text);
}

async function assertNoTokens(...programs: readonly ReadableLog[]): Promise<void> {
  await assertNoSecrets(...programs);
  const text = JSON.stringify(await Promise.all(programs.map((each) => each.completeLog())));
  for (const token of Object.values(tokens)) ok(!text.includes(token), "no token may be logged");
}

Deno.test("a token is rotated: the old one's session ends when it is removed, and no request is lost", async () => {
  await using mount = await ClustersMount.create();
  await using target = await startRawTarget(service);
  const old = { name: "old", token: tokens.blue };
  const next = { name: "next", tokenSha256: await hashToken(tokens.next) };
  await mount.replace(blueOf(target, { token: undefined, tokens: [old] }));
  await using relay = await startReloading(mount.file);
  await using first = await startOne(relay, target, tokens.blue);
  await relay.waitForAgent("blue");

  const statuses: number[] = [];
  let isOver = false;
  const asking = (async () => {
    while (!isOver) statuses.push(await statusAt(relay, "blue"));
  })();
  await mount.replace(blueOf(target, { token: undefined, tokens: [old, next] }));
  const change = await reloaded(relay, 1);
  deepEqual([change.added, change.removed, change.changed, change.sessions_ended], [0, 0, 1, 0]);
  await using second = await startOne(relay, target, tokens.next);
  await relay.waitForLog(({ message, token_name }) =>
    message === "Agent connected" && token_name === "next"
  );
  equal((await disconnected(relay, "blue")).length, 0, "the old token still counts");
  // The first agent goes as one that was restarted with the new token would.
  equal(await first.stop(), 0);
  await using late = await startOne(relay, target, tokens.blue);
  isOver = true;
  await asking;
  ok(statuses.length > 0);
  deepEqual(new Set(statuses), new Set([200]));

  await mount.replace(blueOf(target, { token: undefined, tokens: [next] }));
  equal((await reloaded(relay, 2)).sessions_ended, 1);
  const end = await late.waitForLog(({ message }) => message === "Disconnected from relay");
  deepEqual([end.code, end.reason], [1008, "The cluster or its token was removed"]);
  await late.waitForLog(({ message, status }) =>
    message.startsWith("The relay refused this agent; check --token") && status === 401
  );
  equal(await statusAt(relay, "blue"), 200, "the agent with the new token serves");
  await assertNoTokens(relay, second, late);
});

Deno.test("clusters come and go, and another cluster's session and running request are not touched", async () => {
  await using mount = await ClustersMount.create();
  await using target = await startRawTarget(service);
  await mount.replace(blueOf(target), greenOf(target));
  await using relay = await startReloading(mount.file);
  await using green = await startOne(relay, target, tokens.green);
  await using blue = await startOne(relay, target, tokens.blue);
  await relay.waitForAgent("green");
  await relay.waitForAgent("blue");
  await using running = await openEcho(relay, "green");
  await using doomed = await openEcho(relay, "blue");
  await assertEchoes(running, "before");
  await assertEchoes(doomed, "before");

  // Green's entry changes in what a session does not hang on.
  await mount.replace(greenOf(target, { impersonation: "forward" }));
  const change = await reloaded(relay, 1);
  deepEqual([change.clusters, change.removed, change.changed], [1, 1, 1]);
  await blue.waitForLog(({ message, code }) => message.startsWith("Disconnected") && code === 1008);
  await eventually(() => doomed.isEnded || doomed.isClosed, "blue's connection to break");
  equal(await statusAt(relay, "blue"), 502);
  await assertEchoes(running, "while blue is gone");

  await mount.replace(blueOf(target), greenOf(target));
  await eventually(async () => await statusAt(relay, "blue") === 200, "blue to be back");
  await assertEchoes(running, "after");
  deepEqual(await disconnected(relay, "green"), []);
  running.destroy();
  await assertNoTokens(relay, blue, green);
});

Deno.test("a changed targetAddr counts for new requests, on the session that is there", async () => {
  await using mount = await ClustersMount.create();
  await using target = await startRawTarget(service);
  await mount.replace(blueOf(target));
  await using relay = await startReloading(mount.file);
  await using agent = await startOne(relay, target, tokens.blue);
  await relay.waitForAgent("blue");
  await using running = await openEcho(relay, "blue");
  await mount.replace(blueOf(target, { targetAddr: "elsewhere:443" }));
  await reloaded(relay, 1);
  equal(await statusAt(relay, "blue"), 403, "the agent serves its own target only");
  await assertEchoes(running, "still here");
  await mount.replace(blueOf(target));
  await reloaded(relay, 2);
  equal(await statusAt(relay, "blue"), 200);
  deepEqual(await disconnected(relay, "blue"), []);
  await agent.waitForLog(({ message }) => message === "Refused a request for another target");
});

Deno.test("a directory is followed as Kubernetes mounts it: all files at once, by a swapped link", async () => {
  await using mount = await ClustersMount.create();
  await using target = await startRawTarget(service);
  await mount.mount({ "blue.json": blueOf(target) });
  await using relay = await startReloading(mount.folder);
  await using blue = await startOne(relay, target, tokens.blue);
  const tookMs: number[] = [];
  const mountAndTake = async (count: number, files: Record<string, unknown>): Promise<LogLine> => {
    await mount.mount(files);
    const startMs = performance.now();
    const line = await reloaded(relay, count);
    tookMs.push(performance.now() - startMs);
    return line;
  };
  const both = { "blue.json": blueOf(target), "green.json": [greenOf(target)] };
  equal((await mountAndTake(1, both)).clusters, 2);
  await using green = await startOne(relay, target, tokens.green);
  equal(await statusAt(relay, "green"), 200);
  // The id moves to a file of another name.
  const renamed = { "a.json": [greenOf(target), blueOf(target)] };
  equal((await mountAndTake(2, renamed)).sessions_ended, 0);
  equal((await mountAndTake(3, { "b.json": [greenOf(target)] })).removed, 1);
  // A machine that is busy may be late with one of them.
  ok(Math.min(...tookMs) <= 2_000, `each must be taken within 2 s; it took ${tookMs} ms`);
  await blue.waitForLog(({ code }) => code === 1008);
  deepEqual(await disconnected(relay, "green"), []);
  await assertNoTokens(relay, blue, green);
});

Deno.test("what is not valid is refused, once each, and what was in use goes on", async (t) => {
  await using mount = await ClustersMount.create();
  await using target = await startRawTarget(service);
  await mount.replace(blueOf(target));
  await using relay = await startReloading(mount.file);
  await using agent = await startOne(relay, target, tokens.blue);
  await relay.waitForAgent("blue");
  await using running = await openEcho(relay, "blue");
  const text = JSON.stringify([blueOf(target), greenOf(target)]);
  const wrong: readonly [string, string, RegExp][] = [
    ["half written", text.slice(0, text.length / 2), /it is not JSON at line 1/],
    ["empty", "", /: it is empty; it must be a JSON array of clusters$/],
    [
      "with a wrong digest",
      JSON.stringify([greenOf(target, { token: undefined, tokenSha256: "abc" })]),
      /entry 1 \("green"\): tokenSha256: must be the token's SHA-256 in 64 hex/,
    ],
    [
      "with a token and its digest",
      JSON.stringify([
        greenOf(target),
        blueOf(target, { token: undefined, tokenSha256: await hashToken(tokens.green) }),
      ]),
      /^Token "default" of cluster "green" is also token "default" of cluster "blue"; each/,
    ],
    [
      "with a certificate's name, and no mutual TLS",
      JSON.stringify([blueOf(target, { certificateName: "blue.agent" })]),
      /entry 1 \("blue"\): certificateName: needs --tls-client-ca/,
    ],
  ];
  const isRefusal = ({ message }: LogLine) => message.startsWith("Refused a change");
  for (const [index, [what, content, reason]] of wrong.entries()) {
    await t.step(`a file ${what}`, async () => {
      await mount.write(content);
      const refusals = await relay.waitForLogs(index + 1, isRefusal);
      match(String(refusals[index]!.reason), reason);
      equal(await statusAt(relay, "blue"), 200);
      await assertEchoes(running, what);
    });
  }
  await t.step("a file that is gone", async () => {
    await Deno.remove(mount.file);
    const refusals = await relay.waitForLogs(wrong.length + 1, isRefusal);
    match(String(refusals.at(-1)!.reason), /cannot be read: there is no such file$/);
    equal(await statusAt(relay, "blue"), 200);
  });
  await t.step("the next valid one is taken", async () => {
    await mount.write(text);
    equal((await reloaded(relay, 1)).added, 1);
    const log = await relayLogUpToNow(relay);
    equal(log.filter(isRefusal).length, wrong.length + 1, "one line each");
    deepEqual(await disconnected(relay, "blue"), []);
    const address = relay.internalAddress;
    await untilEqual(() => metric(address, "culvert_config_reloads_total"), wrong.length + 2);
    ok(await metric(address, "culvert_config_last_reload_success_timestamp_seconds") > 1e9);
  });
  running.destroy();
  await assertNoTokens(relay, agent);
});

Deno.test("a token's session ends when it expires, and the log says which one has", async () => {
  await using mount = await ClustersMount.create();
  await using target = await startRawTarget(service);
  const lasting = { name: "lasting", token: tokens.next };
  const ending = (expires: Date) => ({ name: "ending", token: tokens.blue, expires });
  await mount.replace(blueOf(target, {
    token: undefined,
    tokens: [ending(new Date("2099-01-01T00:00:00Z")), lasting],
  }));
  await using relay = await startReloading(mount.file);
  await using expiring = await startOne(relay, target, tokens.blue);
  await using staying = await startOne(relay, target, tokens.next);
  await relay.waitForLog(({ token_name }) => token_name === "lasting");
  await relay.waitForLog(({ token_name }) => token_name === "ending");
  const soon = new Date(Date.now() + 8_000);
  await mount.replace(blueOf(target, { token: undefined, tokens: [ending(soon), lasting] }));
  equal((await reloaded(relay, 1)).sessions_ended, 0);
  const end = await expiring.waitForLog(({ message }) => message === "Disconnected from relay");
  deepEqual([end.code, end.reason], [1008, "The token has expired"]);
  const refusal = await relay.waitForLog(({ message }) => message === "Refused an agent");
  deepEqual([refusal.reason, refusal.cluster, refusal.token_name], ["expired", "blue", "ending"]);
  equal(await statusAt(relay, "blue"), 200);
  equal((await disconnected(relay, "blue")).length, 1);
  await assertNoTokens(relay, expiring, staying);
});
