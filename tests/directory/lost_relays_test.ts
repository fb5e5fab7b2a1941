/** Three relays, three clusters, load from every side; then the relays die one after the other. */
import assert from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import {
  type LogLine,
  type RunningAgent,
  type RunningRelay,
  startAgent,
} from "../support/programs.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { Balancer } from "./balancer.ts";
import { clusterKey, startPeer, tokenOf } from "./relays.ts";

const clusters = ["one", "two", "three"] as const;

/** A request that a caller has sent to a relay. */
interface Sent {
  readonly id: string;
  readonly cluster: string;
  readonly method: string;
  /** The relay that the caller sent it to. */
  readonly relay: RunningRelay;
  readonly startMs: number;
  endMs: number;
  /** What came of it: the target's answer, or what went wrong. */
  outcome: string;
}

/** Sends one request after the other to a relay, until it is stopped or the relay is gone. */
class Caller {
  readonly sent: Sent[] = [];
  readonly #relay: RunningRelay;
  #isStopped = false;
  readonly done: Promise<void>;

  constructor(relay: RunningRelay, cluster: string, method: string) {
    this.#relay = relay;
    this.done = this.#run(cluster, method);
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #run(cluster: string, method: string): Promise<void> {
    for (let count = 0; !this.#isStopped; count++) {
      const id = crypto.randomUUID();
      const text = `${method} ${cluster} ${count} ${id}`;
      const sent: Sent = {
        id,
        cluster,
        method,
        relay: this.#relay,
        startMs: performance.now(),
        endMs: 0,
        outcome: "",
      };
      this.sent.push(sent);
      try {
        const response = await fetch(`${this.#relay.tunnelUrl(cluster)}/${count}`, {
          method,
          headers: { "X-Text": text, "X-Request-Id": id },
          ...(method === "POST" ? { body: text } : {}),
        });
        const answer = await response.text();
        sent.outcome = answer === `${cluster}: ${text}` ? "right" : `${response.status} ${answer}`;
      } catch (error) {
        sent.outcome = String(error);
      }
      sent.endMs = performance.now();
    }
  }
}

/** Answers with its cluster and what the caller said, in the body or in a field. */
function target(cluster: string) {
  return startRawTarget(answering(async (request) => {
    const field = request.fields.find(([name]) => name.toLowerCase() === "x-text")?.[1] ?? "";
    const said = request.startLine.startsWith("POST")
      ? new TextDecoder().decode(request.body)
      : field;
    // So that there is always something under way.
    await new Promise((resolve) => setTimeout(resolve, 5));
    const text = `${cluster}: ${said}`;
    return `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
  }));
}

Deno.test({
  name: "relays that die take with them what was under way on them, and nothing else",
  ignore: !hasRedis,
  fn: () => loseRelays("killed"),
});

Deno.test({
  name: "relays that stop lose nothing",
  ignore: !hasRedis,
  fn: () => loseRelays("stopped"),
});

/** Has relays end one after the other, under load through all that are left. */
async function loseRelays(how: "killed" | "stopped"): Promise<void> {
  await using redis = await Redis.start();
  await using front = await Balancer.start();
  await using one = await target("one");
  await using two = await target("two");
  await using three = await target("three");
  const targets = { one: one.address, two: two.address, three: three.address };
  await using stack = new AsyncDisposableStack();
  const relays: RunningRelay[] = [];
  const startRelay = async (): Promise<void> => {
    const relay = await startPeer({
      directory: redis.url,
      targets,
      // In which the others learn that it leaves, and its agents come to them.
      args: ["--drain-delay", "2s"],
    });
    stack.use(relay);
    relays.push(relay);
    front.upstreams = relays.map(({ publicAddress }) => publicAddress);
  };
  for (let count = 0; count < 3; count++) await startRelay();

  const agents: RunningAgent[] = [];
  for (const cluster of clusters) {
    // One that has to move, and two that have a session to spare.
    const connections = cluster === "one" ? 1 : 2;
    const agent = await startAgent({
      relayUrl: `ws://${front.address}/connect`,
      token: tokenOf(cluster),
      target: targets[cluster],
      args: ["--connections", String(connections)],
    });
    stack.use(agent);
    agents.push(agent);
    // Until then other relays say, rightly, that nobody has the cluster.
    await eventually(
      async () => await redis.ask("HLEN", clusterKey(cluster)) === `:${connections}`,
      () => `the leases of "${cluster}"`,
    );
  }

  const callers: Caller[] = [];
  const call = (relay: RunningRelay): void => {
    for (const cluster of clusters) {
      for (const method of ["GET", "POST"]) callers.push(new Caller(relay, cluster, method));
    }
  };
  for (const relay of relays) call(relay);
  const right = (relay: RunningRelay, sinceMs: number): boolean =>
    clusters.every((cluster) =>
      callers.some(({ sent }) =>
        sent.some((request) =>
          request.relay === relay && request.cluster === cluster &&
          request.startMs > sinceMs && request.outcome === "right"
        )
      )
    );
  const allRight = async (sinceMs: number): Promise<void> => {
    await eventually(
      () => relays.every((relay) => right(relay, sinceMs)),
      () => `an answer from each cluster through each relay\n${failures(callers)}`,
    );
  };

  /** Relays that died, and when: from the signal until the process was gone. */
  const deaths: { victim: RunningRelay; fromMs: number; toMs: number }[] = [];
  try {
    await allRight(0);
    while (relays.length > 1) {
      const victim = relays.shift()!;
      front.upstreams = relays.map(({ publicAddress }) => publicAddress);
      for (const caller of callers) if (caller.sent[0]?.relay === victim) caller.stop();
      const fromMs = performance.now();
      if (how === "killed") {
        await victim.kill();
        deaths.push({ victim, fromMs, toMs: performance.now() });
      } else {
        await Promise.all(
          callers.filter(({ sent }) => sent[0]?.relay === victim)
            .map(({ done }) => done),
        );
        assert.equal(await victim.stop(), 0);
      }
      await allRight(performance.now());
    }
    await startRelay();
    call(relays.at(-1)!);
    await allRight(performance.now());
  } finally {
    for (const caller of callers) caller.stop();
    await Promise.all(callers.map(({ done }) => done));
  }

  const all = callers.flatMap(({ sent }) => sent);
  const wrong = all.filter(({ outcome }) => outcome !== "right");
  for (const request of wrong) {
    const around = deaths.filter(({ fromMs, toMs }) =>
      request.startMs <= toMs && request.endMs >= fromMs
    );
    const wasOnVictims = await Promise.all(around.map(({ victim }) => wasOn(victim, request)));
    assert.ok(
      wasOnVictims.includes(true),
      `${request.method} to ${request.cluster} was lost: ${request.outcome}\n${failures(callers)}`,
    );
    // Whatever was cut or lost says so; nobody got another's answer, or half of one.
    assert.match(request.outcome, /^(502 .*"(relay_lost|unreachable|reset)"|TypeError)/);
  }
  assert.ok(all.length - wrong.length > 100, `${all.length} requests`);
}

/**
 * Whether a request is lost with a relay: it was sent there, or it was forwarded to it and is none
 * that may be sent again.
 */
async function wasOn(
  through: RunningRelay,
  { id, relay, method }: Sent,
): Promise<boolean> {
  if (relay === through) return true;
  if (method === "GET") return false;
  const isUp = ({ message }: LogLine) => message === "The directory is available";
  const { relay: name } = await through.waitForLog(isUp);
  const log = await relay.completeLog();
  return log.some((line) => line.request_id === id && line.to_relay === name);
}

function failures(callers: readonly Caller[]): string {
  return callers.flatMap(({ sent }) => sent)
    .filter(({ outcome }) => outcome !== "right")
    .map(({ method, cluster, relay, startMs, endMs, outcome }) =>
      `${method} ${cluster} via ${relay.internalAddress}, ${Math.round(startMs)}-${
        Math.round(endMs)
      } ms: ${outcome}`
    ).join("\n");
}
