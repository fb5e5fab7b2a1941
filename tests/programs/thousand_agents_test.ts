/**
 * A relay with a thousand agents goes away and comes back: they all find it again, and it is not
 * knocked over by their coming. The agents are the real ones, without a process each.
 */
import { equal, ok } from "node:assert/strict";
import { Agent } from "../../lib/agent/agent.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import type { Log } from "../../lib/log.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { metric } from "../isolation/tunnel.ts";
import { eventually, within } from "../support/deadline.ts";
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
  readonly #agents: Agent[];
  readonly #running: Promise<void>[];

  constructor(connectUrl: string) {
    this.connectUrl = connectUrl;
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
      target: "target:1",
      maxRetryMs: 5_000,
      maxStreams: 16,
      head: defaultHeadLimits,
      poolSize: 0,
      poolIdleTimeoutMs: 30_000,
      version: "test",
      tokenFile: undefined,
      dialRelay: (signal) => dialRelay({ url: this.connectUrl, token }, signal),
      dialTarget: () => Promise.reject(new Error("Nobody asks for anything")),
    }, silentLog);
  }
}

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
  await using first = await startQuietRelay();
  const agents = new Agents(first.connectUrl);
  try {
    await untilAll(agents, first, "at the start");

    await first.kill();
    await eventually(() => agents.connected === 0, "the agents to notice", timeoutMs);
    await using second = await startQuietRelay();
    agents.connectUrl = second.connectUrl;
    await untilAll(agents, second, "after a crash");

    await using third = await startQuietRelay();
    agents.connectUrl = third.connectUrl;
    const stopped = second.stop();
    await untilAll(agents, third, "after Drain");
    equal(await stopped, 0);
  } finally {
    await agents.stop();
  }
});

async function startQuietRelay(): Promise<RunningRelay> {
  return await startRelay({ clusters, args: ["-drain-delay", "2s"] });
}

/** Waits until all have a session, while the relay's probes go on, and prints how long it took. */
async function untilAll(agents: Agents, relay: RunningRelay, when: string): Promise<void> {
  const startMs = performance.now();
  const pulse = new Pulse(relay.internalAddress);
  const connected = () => metric(relay.internalAddress, "agents_connected");
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
