/**
 * A relay with a thousand agents goes away and comes back: they all find it again, and it is not
 * knocked over by their coming. The agents are the real ones, without a process each.
 */
import { equal, ok } from "node:assert/strict";
import { Agent } from "../../lib/agent/agent.ts";
import type { TargetConfig } from "../../lib/agent/target_config.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import type { Log } from "../../lib/log.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { metric } from "../isolation/tunnel.ts";
import { eventually, within } from "../support/deadline.ts";
import { Authority, type KeyPairFiles } from "../support/certificates.ts";
import { type ClusterEntry, type RunningRelay, startRelay } from "../support/programs.ts";

const agentCount = 1_000;
/** For all of them: a generous bound, as the machine may be busy with other things. */
const timeoutMs = 60_000;

const clusters: readonly ClusterEntry[] = Array.from({ length: agentCount }, (_, index) => ({
  id: `cluster-${index}`,
  token: `token-of-cluster-${index}`,
  targetAddr: "target:1",
}));

/** Agents whose relay may change its address. */
class Agents {
  /** Where they dial. */
  connectUrl: string;
  /** The authority of the relay's certificate, PEM. */
  readonly #ca: string;
  readonly #agents: Agent[];
  readonly #running: Promise<void>[];

  constructor(connectUrl: string, ca: string) {
    this.connectUrl = connectUrl;
    this.#ca = ca;
    this.#agents = clusters.map(({ token }) => this.#create(token));
    this.#running = this.#agents.map((agent) => agent.run());
  }

  /** How many have a session that takes requests. */
  get connected(): number {
    return this.#agents.filter(({ isConnected }) => isConnected).length;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.stop(0)));
    await Promise.all(this.#running);
  }

  #create(token: string): Agent {
    return new Agent({
      serverUrl: "the relay",
      table: { targets: [unasked], hostnames: [] },
      maxRetryMs: 5_000,
      maxStreams: 16,
      head: defaultHeadLimits,
      poolSize: 0,
      poolIdleTimeoutMs: 30_000,
      version: "test",
      dialRelay: (signal) => dialRelay({ url: this.connectUrl, token, ca: this.#ca }, signal),
    }, silentLog);
  }
}

const unasked: TargetConfig = {
  name: "target:1",
  kind: "http",
  address: "target:1",
  host: "target:1",
  usesTls: false,
  identity: "",
  dial: () => Promise.reject(new Error("Nobody asks for anything")),
};

const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Asks a relay whether it lives, again and again. */
class Pulse {
  longestMs = 0;
  count = 0;
  #isOver = false;
  readonly #done: Promise<void>;

  constructor(address: string) {
    this.#done = this.#run(`http://${address}/healthz`);
    this.#done.catch(() => {}); // It is told where the pulse is stopped.
  }

  /** @throws what the relay did not answer with. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#done;
  }

  async #run(url: string): Promise<void> {
    while (!this.#isOver) {
      const startMs = performance.now();
      const response = await within(fetch(url), "an answer of /healthz");
      equal(await response.text(), "ok");
      this.longestMs = Math.max(this.longestMs, performance.now() - startMs);
      this.count++;
    }
  }
}

Deno.test("a thousand agents find their relay again after a crash, and move when it drains", async () => {
  const folder = await Deno.makeTempDir();
  const authority = await Authority.create(folder, "relay");
  const files = await authority.issue("relay", "IP:127.0.0.1");
  const ca = await Deno.readTextFile(authority.caPath);
  await using first = await startTlsRelay(files);
  const agents = new Agents(urlOf(first), ca);
  try {
    await untilAll(agents, first, "at the start");

    await first.kill();
    await eventually(() => agents.connected === 0, "the agents to notice", timeoutMs);
    await using second = await startTlsRelay(files);
    agents.connectUrl = urlOf(second);
    await untilAll(agents, second, "after a crash");

    await using third = await startTlsRelay(files);
    agents.connectUrl = urlOf(third);
    const stopped = second.stop();
    await untilAll(agents, third, "after Drain");
    equal(await stopped, 0);
  } finally {
    await agents.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

async function startTlsRelay({ certPath, keyPath }: KeyPairFiles): Promise<RunningRelay> {
  return await startRelay({
    clusters,
    args: [
      ...["-tls-cert", certPath, "-tls-key", keyPath],
      ...["-drain-delay", "2s", "-health-addr", "127.0.0.1:0"],
    ],
  });
}

function urlOf({ publicAddress }: RunningRelay): string {
  return `wss://${publicAddress}/connect`;
}

/** Waits until all have a session, while the relay's probes go on, and prints how long it took. */
async function untilAll(agents: Agents, relay: RunningRelay, when: string): Promise<void> {
  const startMs = performance.now();
  const line = await relay.waitForLog(({ listener }) => listener === "health");
  const address = String(line.address);
  const pulse = new Pulse(address);
  const connected = () => metric(address, "agents_connected");
  try {
    await eventually(
      async () => await connected() === agentCount && agents.connected === agentCount,
      () => `${agentCount} agents ${when}; there are ${agents.connected}`,
      timeoutMs,
    );
  } finally {
    await pulse.stop();
  }
  const seconds = (performance.now() - startMs) / 1000;
  ok(pulse.count > 0);
  console.log(
    `${agentCount} agents ${when}: all there after ${seconds.toFixed(1)} s; ` +
      `/healthz took ${Math.round(pulse.longestMs)} ms at the longest`,
  );
}
