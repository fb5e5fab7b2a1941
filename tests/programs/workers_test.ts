/** One relay in several processes: what callers, agents and operators see of that. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { addressOf, type RunningAgent, runProgram, startAgent } from "../support/programs.ts";
import { eventually, untilEqual, within } from "../support/deadline.ts";
import { freePort } from "../support/free_port.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { openConnection } from "../support/raw_connection.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";
import { assertNoSecrets, CLUSTER, metric, requestHead, secrets } from "../isolation/tunnel.ts";
import {
  beginHeld,
  HeldTarget,
  isAlive,
  isStart,
  openAtEach,
  restarted,
  type RunningWorkers,
  startWorkers,
  untilReady,
} from "./workers.ts";

const isLinux = Deno.build.os === "linux";

function clustersOf({ address }: HeldTarget) {
  return [{ id: CLUSTER, token: secrets.token, targetAddr: address }];
}

async function startOneAgent(
  relay: RunningWorkers,
  target: HeldTarget,
  ...args: readonly string[]
): Promise<RunningAgent> {
  return await startAgent({
    relayUrl: relay.connectUrl,
    token: secrets.token,
    target: target.address,
    args: ["-max-retry", "200ms", ...args],
  });
}

/** The worker that holds the one session of an agent. */
async function holderOf(relay: RunningWorkers): Promise<number> {
  const { worker } = await relay.waitForLog(({ message }) => message === "Agent connected");
  return Number(worker);
}

/** The samples of a metric by worker, those of a worker added up. */
async function samplesOf(relay: RunningWorkers, name: string): Promise<Map<string, number>> {
  const response = await fetch(`http://${relay.internalAddress}/metrics`);
  const sums = new Map<string, number>();
  for (const line of (await response.text()).split("\n")) {
    const [, worker, value] = new RegExp(`^${name}\\{worker="([^"]+)".* (\\S+)$`).exec(line) ?? [];
    if (worker !== undefined) sums.set(worker, (sums.get(worker) ?? 0) + Number(value));
  }
  return sums;
}

/** The lines of a watch, as they come. */
class EventLines {
  readonly #reader: ReadableStreamDefaultReader<string>;
  #rest = "";

  constructor({ body }: Response) {
    this.#reader = body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Reads until as many agents have come or gone. @returns their sessions' ids */
  async count(type: string, count: number): Promise<Set<string>> {
    const ids = new Set<string>();
    while (ids.size < count) {
      const { type: found, kind, object } = JSON.parse(await this.#line());
      if (found === type && kind === "agents") ids.add(object.id);
    }
    return ids;
  }

  async #line(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { value } = await within(this.#reader.read(), "a watch's line");
      this.#rest += value ?? "";
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }
}

function test(name: string, run: () => Promise<void>): void {
  Deno.test({ name, ignore: !isLinux, fn: run });
}

test("a request to any of three workers reaches the agent that one of them holds", async () => {
  await using target = await HeldTarget.start();
  await using relay = await startWorkers(3, { clusters: clustersOf(target) });
  await using _agent = await startOneAgent(relay, target);
  const holder = await holderOf(relay);
  const placed = await openAtEach(relay);
  const others = placed.filter(({ worker }) => worker !== holder).length;
  // Each of those that do not hold the session has asked the one that does.
  await untilEqual(
    async () => await metric(relay.internalAddress, "culvert_forwarded_requests_total"),
    others,
  );
  const sessions = await samplesOf(relay, "agents_connected");
  deepEqual([...sessions.keys()].sort(), ["1", "2", "3"]);
  deepEqual([...sessions].filter(([, value]) => value > 0), [[String(holder), 1]]);
  equal(await metric(relay.internalAddress, "culvert_workers_running"), 3);
  for (const { connection } of placed) connection.destroy();
});

test("a worker that is killed takes its own requests with it and no others, and is started again", async () => {
  await using target = await HeldTarget.start();
  await using relay = await startWorkers(3, { clusters: clustersOf(target) });
  await using agent = await startOneAgent(relay, target);
  const holder = await holderOf(relay);
  const placed = await openAtEach(relay);
  const victim = [1, 2, 3].find((worker) => worker !== holder)!;
  const held = await Promise.all(placed.map(async (it) => ({ ...it, end: await beginHeld(it) })));
  Deno.kill(relay.pids.get(victim)!, "SIGKILL");
  await relay.waitForLog(({ message, worker }) =>
    message === "Worker exited; restarting it" && worker === victim
  );
  target.release();
  const whole = held.filter(({ worker }) => worker !== victim);
  deepEqual(await Promise.all(whole.map(({ end }) => end())), whole.map(() => "begunended"));
  for (const { worker, end } of held) {
    if (worker === victim) await within(end().catch(() => {}), "a killed worker's connection");
  }
  ok(await restarted(relay, victim) > 0);
  await untilReady(relay);
  equal(await metric(relay.internalAddress, "culvert_worker_restarts_total"), 1);
  for (const { connection } of await openAtEach(relay)) connection.destroy();
  for (const { connection } of placed) connection.destroy();
  // The agent's session was in another process, and has stayed there.
  const log = await agent.completeLog();
  equal(log.filter(({ message }) => message === "Connected to relay").length, 1);
});

test("an agent whose worker is killed connects to another one", async () => {
  await using target = await HeldTarget.start();
  await using relay = await startWorkers(3, { clusters: clustersOf(target) });
  await using agent = await startOneAgent(relay, target);
  const holder = await holderOf(relay);
  const isConnected = ({ message }: { message: string }) => message === "Connected to relay";
  await agent.waitForLogs(1, isConnected);
  Deno.kill(relay.pids.get(holder)!, "SIGKILL");
  await agent.waitForLogs(2, isConnected);
  await restarted(relay, holder);
  await untilReady(relay);
  for (const { connection } of await openAtEach(relay)) connection.destroy();
});

test("no worker outlives a parent that is killed", async () => {
  await using target = await HeldTarget.start();
  await using relay = await startWorkers(3, { clusters: clustersOf(target) });
  const pids = [...relay.pids.values()];
  deepEqual(await Promise.all(pids.map(isAlive)), [true, true, true]);
  await relay.kill();
  for (const pid of pids) await eventually(async () => !await isAlive(pid), `the end of ${pid}`);
});

test("workers that stop lose no request, also between each other", async () => {
  await using target = await HeldTarget.start();
  const args = ["-drain-delay", "5s"];
  await using relay = await startWorkers(3, { clusters: clustersOf(target), args });
  await using _agent = await startOneAgent(relay, target);
  await holderOf(relay);
  const placed = await openAtEach(relay);
  const ends = await Promise.all(placed.map(beginHeld));
  const stopped = relay.stop();
  await relay.waitForLogs(3, ({ message }) => message === "Shutting down");
  // Until the drain delay is over, each of them takes what comes.
  await using late = await openConnection(relay.internalAddress);
  await late.write(requestHead("GET", "/held"));
  await eventually(() => target.held === placed.length + 1, "the late request at the target");
  target.release();
  deepEqual(await Promise.all(ends.map((end) => end())), placed.map(() => "begunended"));
  equal(statusOf(await within(readResponse(late.reader), "the late answer")), 200);
  for (const { connection } of placed) connection.destroy();
  equal(await stopped, 0);
  for (const pid of relay.pids.values()) equal(await isAlive(pid), false);
});

test("every worker takes a change of the clusters file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using target = await HeldTarget.start();
    const path = `${folder}/clusters.json`;
    await Deno.writeTextFile(path, "[]");
    await using relay = await startWorkers(2, { clusters: [], args: ["-clusters", path] });
    await Deno.writeTextFile(path, JSON.stringify(clustersOf(target)));
    const lines = await relay.waitForLogs(
      2,
      ({ message, source }) => message === "Configuration reloaded" && source === "clusters",
    );
    deepEqual(lines.map(({ worker }) => worker).sort(), [1, 2]);
    await using _agent = await startOneAgent(relay, target);
    for (const { connection } of await openAtEach(relay)) connection.destroy();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("a change of the admin API counts at every worker once it is acknowledged", async () => {
  const folder = await Deno.makeTempDir();
  const adminToken = "admin-token-of-the-workers-test";
  const tokens = [{ name: "ops", token: adminToken, clusters: ["*"], hostnames: ["*"] }];
  try {
    await using target = await HeldTarget.start();
    const args = [
      ...["--admin-addr", "127.0.0.1:0", "--state", `${folder}/state`],
      ...["--admin-tokens", JSON.stringify(tokens)],
    ];
    await using relay = await startWorkers(3, { clusters: [], args });
    const address = await addressOf(relay, "admin");
    const api = async (method: string, path: string, body?: object) => {
      const response = await fetch(`http://${address}/admin/v1${path}`, {
        method,
        headers: { authorization: `Bearer ${adminToken}` },
        ...body && { body: JSON.stringify(body) },
      });
      const text = await response.text();
      return { status: response.status, body: text === "" ? undefined : JSON.parse(text) };
    };
    const { id, ...entry } = clustersOf(target)[0]!;
    equal((await api("PUT", `/clusters/${id}`, entry)).status, 201);
    await using agent = await startOneAgent(relay, target, "--connections", "6");
    const connected = await relay.waitForLogs(6, ({ message }) => message === "Agent connected");
    // The status has the sessions of all workers.
    await untilEqual(async () => {
      const { body } = await api("GET", "/status");
      return [body.relays.length, body.clusters[0].agents.length].join();
    }, [3, connected.length].join());
    const watch = await fetch(`http://${address}/admin/v1/watch`, {
      headers: { authorization: `Bearer ${adminToken}` },
    });
    const events = new EventLines(watch);
    equal((await events.count("ADDED", connected.length)).size, connected.length);
    equal((await api("DELETE", `/clusters/${id}`)).status, 200);
    equal((await events.count("DELETED", connected.length)).size, connected.length);
    await events.cancel();
    await relay.waitForLogs(6, ({ message }) => message === "Agent disconnected");
    // What is stored outlives the worker that serves the API.
    equal((await api("PUT", `/clusters/${id}`, entry)).status, 201);
    Deno.kill(relay.pids.get(1)!, "SIGKILL");
    await restarted(relay, 1);
    equal((await api("GET", `/clusters/${id}`)).status, 200);
    const log = await agent.completeLog();
    ok(log.filter(({ message }) => message === "Connected to relay").length >= 6);
    await assertNoSecrets(relay);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "workers with a Redis find the sessions of other relays' workers, and are found by them",
  ignore: !isLinux || !hasRedis,
  async fn() {
    await using redis = await Redis.start();
    await using target = await HeldTarget.start();
    const start = async (): Promise<RunningWorkers> => {
      const port = freePort();
      const args = [
        ...["-internal-addr", `127.0.0.1:${port}`, "--directory", redis.url],
        ...["--advertise", `http://127.0.0.1:${port}`],
      ];
      const env = { RELAY_TOKEN: "relays-of-the-workers-test-0123456789" };
      return await startWorkers(2, { clusters: clustersOf(target), args, env });
    };
    await using one = await start();
    await using other = await start();
    await using _agent = await startOneAgent(one, target);
    const holder = await holderOf(one);
    const [own, foreign] = [await openAtEach(one), await openAtEach(other)];
    const forwarded = own.filter(({ worker }) => worker !== holder).length;
    const name = "culvert_forwarded_requests_total";
    await untilEqual(async () => await metric(one.internalAddress, name), forwarded);
    await untilEqual(async () => await metric(other.internalAddress, name), foreign.length);
    for (const { connection } of [...own, ...foreign]) connection.destroy();
  },
});

test("a worker takes forwarded requests from other workers, and nothing from anybody else", async () => {
  await using target = await HeldTarget.start();
  await using relay = await startWorkers(2, { clusters: clustersOf(target) });
  await using _agent = await startOneAgent(relay, target);
  const hops = await relay.waitForLogs(
    2,
    ({ message, listener }) => message === "Listening" && listener === "hop",
  );
  for (const { address } of hops) {
    for (const path of [`/tunnel/${CLUSTER}/small`, "/metrics", "/readyz", "/.culvert/status"]) {
      const response = await fetch(`http://${address}${path}`);
      await response.body?.cancel();
      equal(response.status, 404, `${address}${path}`);
    }
    const forged = await fetch(`http://${address}/tunnel/${CLUSTER}/small`, {
      headers: { "Culvert-Relay-Token": "a-token-that-was-guessed" },
    });
    await forged.body?.cancel();
    equal(forged.status, 403);
  }
});

Deno.test("a relay that may not start processes refuses workers: one line, code 2", async () => {
  const clusters = JSON.stringify([{
    id: CLUSTER,
    token: secrets.token,
    targetAddr: "127.0.0.1:1",
  }]);
  const permissions = ["--allow-net", "--allow-read", "--allow-write", "--allow-env"];
  const options = ["--workers", "2", "--internal-addr", "127.0.0.1:0", "--clusters", clusters];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", ...permissions, "relay.ts", ...options],
    cwd: new URL("../../", import.meta.url),
    env: { NO_COLOR: "1" },
  }).output();
  equal(code, 2);
  match(new TextDecoder().decode(stderr), /^relay: Option --workers: [^\n]+\n$/);
});

test("every line of the workers' log is whole, and says whose it is", async () => {
  await using target = await HeldTarget.start();
  await using relay = await startWorkers(3, { clusters: clustersOf(target) });
  await using _agent = await startOneAgent(relay, target);
  const path = `/${"x".repeat(1_500)}`;
  const requests = 300;
  await Promise.all(Array.from({ length: 6 }, async () => {
    await using caller = await openConnection(relay.internalAddress);
    for (let sent = 0; sent < requests / 6; sent++) {
      await caller.write(requestHead("GET", path));
      await within(readResponse(caller.reader), "an answer");
    }
  }));
  const log = await relay.completeLog();
  const own = log.filter(({ message, from_relay }) =>
    message === "Request" && from_relay === undefined
  );
  equal(own.length, requests);
  for (const { worker } of own) ok([1, 2, 3].includes(Number(worker)), String(worker));
  // What is no JSON has no level.
  deepEqual(log.filter(({ level }) => level === undefined), []);
});

test("workers' records of the audit log are whole, in one file or on standard output", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const auditLog of [`${folder}/audit.log`, "-"]) {
      await using target = await HeldTarget.start();
      const args = ["--audit-log", auditLog, "--callers", "open"];
      await using relay = await startWorkers(3, { clusters: clustersOf(target), args });
      await using _agent = await startOneAgent(relay, target);
      for (const { connection } of await openAtEach(relay)) connection.destroy();
      await Promise.all(Array.from({ length: 8 }, async (_, caller) => {
        await using connection = await openConnection(relay.internalAddress);
        for (let n = 0; n < 20; n++) {
          const id = `audited-${caller}-${n}`;
          await connection.write(requestHead("GET", "/small", [`X-Request-Id: ${id}`]));
          equal(statusOf(await within(readResponse(connection.reader), "an answer")), 200);
        }
      }));
      const log = await relay.completeLog();
      // What is no line of the log must be a record.
      const others = log.filter(({ level }) => level === undefined).map(({ message }) => message);
      const records = auditLog === "-"
        ? others.map((line) => JSON.parse(line))
        : (await Deno.readTextFile(auditLog)).trimEnd().split("\n").map((line) => JSON.parse(line));
      const ids = records.map(({ request_id }) => String(request_id));
      equal(new Set(ids.filter((id) => id.startsWith("audited-"))).size, 8 * 20, auditLog);
      if (auditLog !== "-") deepEqual(others, []);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("SIGHUP has every worker open the audit log anew", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await using target = await HeldTarget.start();
    const path = `${folder}/audit.log`;
    const args = ["--audit-log", path];
    await using relay = await startWorkers(2, { clusters: clustersOf(target), args });
    await using _agent = await startOneAgent(relay, target);
    const placed = await openAtEach(relay);
    await Deno.rename(path, `${path}.1`);
    Deno.kill(relay.program.pid, "SIGHUP");
    await eventually(async () => {
      for (const { connection } of placed) {
        await connection.write(requestHead("GET", "/small"));
        await within(readResponse(connection.reader), "an answer");
      }
      return await Deno.stat(path).then(() => true, () => false);
    }, "a new audit log");
    const isThere = Array.from(relay.pids.values(), isAlive);
    deepEqual(await Promise.all(isThere), [true, true]);
    for (const { connection } of placed) connection.destroy();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("workers refuse a port that another relay's workers have: one line, code 2", async () => {
  await using target = await HeldTarget.start();
  const port = freePort();
  const clusters = clustersOf(target);
  const args = ["-addr", `127.0.0.1:${port}`];
  await using relay = await startWorkers(2, { clusters, args });
  const { code, stdout, stderr } = await runProgram("relay.ts", [
    ...["--workers", "2", "-addr", `127.0.0.1:${port}`, "-internal-addr", "127.0.0.1:0"],
    ...["--clusters", JSON.stringify(clusters)],
  ]);
  equal(code, 2);
  equal(stdout, "");
  match(
    stderr,
    /^relay: Option --addr: can't listen on 127\.0\.0\.1:\d+: the port is in use;.*\n$/,
  );
  equal(relay.program.exitCode, undefined);
});

test("workers that can't use an option say so once, with code 2", async () => {
  const clusters = JSON.stringify([{
    id: CLUSTER,
    token: secrets.token,
    targetAddr: "127.0.0.1:1",
  }]);
  const { code, stderr } = await runProgram("relay.ts", [
    ...["--workers", "3", "-addr", "127.0.0.1:0", "-internal-addr", "127.0.0.1:0"],
    ...["--clusters", clusters, "--audit-log", "/nowhere/at/all"],
  ]);
  equal(code, 2);
  match(stderr, /^relay: Option --audit-log: can't open "\/nowhere\/at\/all" for writing: .*\n$/);
});

test("a service's port that the system chooses is one for all workers", async () => {
  await using target = await HeldTarget.start();
  const services = [{
    ...{
      name: "echo",
      cluster: CLUSTER,
      hostnames: ["echo.example.com"],
      kind: "tcp",
      target: target.address,
    },
    ...{ policy: "public", listen: "127.0.0.1:0", allow: ["127.0.0.1"] },
  }];
  await using relay = await startWorkers(3, {
    clusters: clustersOf(target),
    args: ["--services", JSON.stringify({ services })],
  });
  const lines = await relay.waitForLogs(
    3,
    ({ message, listener }) => message === "Listening" && listener === "service",
  );
  equal(new Set(lines.map(({ address }) => address)).size, 1);
  deepEqual(lines.map(({ worker }) => worker).sort(), [1, 2, 3]);
});

test("the parent starts as many workers as it is told, and says which process each is", async () => {
  await using target = await HeldTarget.start();
  await using relay = await startWorkers(2, { clusters: clustersOf(target) });
  equal(relay.pids.size, 2);
  const log = await relay.completeLog();
  equal(log.filter(isStart).length, 2);
});
