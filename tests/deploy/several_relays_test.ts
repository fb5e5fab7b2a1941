/**
 * Two relays with a directory, as the chart sets them up, and a balancer before them that does what a
 * Service does: each is upgraded with requests running, and none is lost.
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { createHash } from "node:crypto";
import { Balancer } from "../directory/balancer.ts";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { eventually } from "../support/deadline.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { CLUSTER, Installation, ports, type Values } from "./installation.ts";
import { assertNoHandshake, Load } from "./load.ts";

const token = "several-relays-token-0123456789abcdef";
const callerToken = "caller-of-several-relays-0123456789abcdef";

/** Who may call the relays where no certificates say so: the relay that is asked lets callers in. */
const loadsToken = {
  name: "load",
  tokenSha256: createHash("sha256").update(callerToken).digest("hex"),
  clusters: [CLUSTER],
};

/** Ports of the second relay, which has the node's network in common with the first. */
const second = { public: 28543, internal: 28180, health: 28182 };

/** Where a relay's listeners are. */
interface Listeners {
  readonly public: number;
  readonly internal: number;
  readonly health: number;
}

const relays: ReadonlyMap<string, Listeners> = new Map([
  ["culvert-relay", { public: ports.public, internal: ports.internal, health: ports.relayHealth }],
  ["culvert-relay-b", second],
]);

async function isReady({ health }: Listeners): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${health}/readyz?exclude=agents`);
    await response.text();
    return response.ok;
  } catch (error) {
    // It is being replaced.
    if (!(error instanceof TypeError)) throw error;
    return false;
  }
}

/** How soon a Service takes a relay out of its list here, in milliseconds. */
const probePeriodMs = 100;

/** Two balancers, for agents and callers, which lead to the relays that say they are ready. */
class Service implements AsyncDisposable {
  readonly forAgents: Balancer;
  readonly forCallers: Balancer;
  #isEnding = false;
  readonly #probing: Promise<void>;

  private constructor(forAgents: Balancer, forCallers: Balancer) {
    this.forAgents = forAgents;
    this.forCallers = forCallers;
    this.#probing = this.#probe();
  }

  static async start(): Promise<Service> {
    return new Service(await Balancer.start(), await Balancer.start());
  }

  async #probe(): Promise<void> {
    while (!this.#isEnding) {
      const listeners = [...relays.values()];
      const states = await Promise.all(listeners.map(isReady));
      const ready = listeners.filter((_, index) => states[index]);
      this.forAgents.upstreams = ready.map((relay) => `127.0.0.1:${relay.public}`);
      this.forCallers.upstreams = ready.map((relay) => `127.0.0.1:${relay.internal}`);
      await new Promise((resolve) => setTimeout(resolve, probePeriodMs));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true;
    await this.#probing;
    await this.forAgents[Symbol.asyncDispose]();
    await this.forCallers[Symbol.asyncDispose]();
  }
}

async function agentsConnected({ health }: Listeners): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${health}/metrics`)).text();
  return Number(/^agents_connected (\d+)$/m.exec(metrics)?.[1]);
}

async function install(
  installation: Installation,
  release: string,
  redis: Redis,
  more: Values,
): Promise<void> {
  const { public: port, internal: internalPort, health: healthPort } = relays.get(release)!;
  await installation.installRelay(
    [{ id: CLUSTER, token, targetAddr: fromEnvironment("KUBE_API") }],
    {
      ...{ port, internalPort, healthPort },
      directory: { url: redis.url },
      relayToken: "relay-token-0123456789abcdef",
      ...!installation.isMutual && { callers: { tokens: [loadsToken] } },
      ...more,
    },
    release,
  );
}

for (const isMutual of [false, true]) {
  const name = isMutual ? "with mutual TLS" : "without TLS";
  const title = `two relays and a directory ${name}: each is upgraded, and no request is lost`;
  if (!hasRedis) {
    Deno.test({ name: `${title} [needs redis-server]`, ignore: true, fn() {} });
    continue;
  }
  clusterTest(title, async () => {
    await using redis = await Redis.start();
    await using service = await Service.start();
    await using installation = await Installation.create({ isMutual, hasCallersCa: isMutual });
    for (const release of relays.keys()) await install(installation, release, redis, {});
    await installation.tokenSecret("agent-token", token);
    const scheme = isMutual ? "wss" : "ws";
    await installation.installAgent("agent-token", {
      serverURL: `${scheme}://${service.forAgents.address}/connect`,
    });

    const url = installation.tunnelUrl.replace(/\/\/[^/]+/, `//${service.forCallers.address}`);
    using client = await installation.httpClient();
    const load = Load.start({
      url: `${url}/api/v1/namespaces/default`,
      client,
      ...!isMutual && { token: callerToken },
      expects: /"kind":\s*"Namespace"/,
      workers: 3,
    });
    try {
      for (const [release, listeners] of relays) {
        const before = await installation.pods(release);
        await install(installation, release, redis, { logLevel: "debug" });
        ok(await installation.pods(release) !== before, `${release} has a new pod`);
        await eventually(() => isReady(listeners), `${release} to be ready`);
        const answered = load.answered;
        await eventually(() => load.answered > answered + 20, "requests to go on", 60_000);
      }
    } finally {
      await load.stop();
    }
    if (isMutual) {
      using agent = await installation.httpClient(`agent-${CLUSTER}`);
      await assertNoHandshake(url, agent);
    }
    const { answered, notTaken, lost } = await load.stop();
    console.log(`    ${answered} answered`);
    if (notTaken.length + lost.length > 0) {
      for (const release of [...relays.keys(), "culvert-agent"]) {
        console.error(await installation.logs(release));
      }
    }
    deepEqual({ notTaken, lost }, { notTaken: [], lost: [] });
    const held = await Promise.all([...relays.values()].map(agentsConnected));
    equal(held.reduce((sum, count) => sum + count), 1, "one of them has the agent");
  });
}
