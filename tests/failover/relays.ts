/** Two relays with an agent each, an admin API and callers that never stop, before a store that fails. */
import { deepEqual, equal, match } from "node:assert/strict";
import { adminTokens, entryFor, tokenOf as adminToken } from "../admin/world.ts";
import { metric, startPeer, tokenOf } from "../directory/relays.ts";
import { eventually } from "../support/deadline.ts";
import { addressOf, type RunningRelay, startAgent } from "../support/programs.ts";
import { answering, type RawTarget, startRawTarget } from "../support/target.ts";
import { begun } from "./server.ts";

const clusters = ["one", "two", "three"] as const;
type ClusterName = typeof clusters[number];

/** Another server takes over within seconds, on a machine that is slow within some more. */
const takeOverMs = 60_000;
const ofOneRequest: ReadonlySet<string> = new Set([
  "Request failed",
  "Could not store a change of the admin API; entries in use stay",
]);

/** An answer to a caller: which cluster's target gave it, or the relay's code. */
interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Calls a cluster at a relay over and over. */
class Caller {
  readonly answers: Answer[] = [];
  readonly #done: Promise<void>;
  #isStopped = false;

  constructor(relay: RunningRelay, cluster: ClusterName) {
    this.#done = this.#run(relay, cluster);
  }

  async #run(relay: RunningRelay, cluster: ClusterName): Promise<void> {
    while (!this.#isStopped) {
      this.answers.push(await call(relay, cluster));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stop(): Promise<readonly Answer[]> {
    this.#isStopped = true;
    await this.#done;
    return this.answers;
  }
}

/** Calls a cluster once. */
export async function call(relay: RunningRelay, cluster: ClusterName): Promise<Answer> {
  const response = await fetch(`${relay.tunnelUrl(cluster)}/`);
  return { status: response.status, text: await response.text() };
}

/** The relays, the agents and their targets. */
export class Relays implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #targets = new Map<ClusterName, RawTarget>();
  readonly #admin = new Map<RunningRelay, string>();
  readonly #callers: [ClusterName, Caller][] = [];
  first!: RunningRelay;
  second!: RunningRelay;

  /** @param directory the store's URL */
  static async start(directory: string): Promise<Relays> {
    const it = new Relays();
    return await begun(it, () => it.#start(directory));
  }

  async #start(directory: string): Promise<void> {
    for (const cluster of clusters) {
      const response = `HTTP/1.1 200 OK\r\nContent-Length: ${cluster.length}\r\n\r\n${cluster}`;
      this.#targets.set(cluster, this.#stack.use(await startRawTarget(answering(response))));
    }
    this.first = await this.#startRelay(directory);
    this.second = await this.#startRelay(directory);
    await this.startAgent("one", this.first);
    await this.startAgent("two", this.second);
    await eventually(
      async () => (await call(this.first, "two")).status === 200,
      "the first relay to find what the second has",
    );
    // Each is served by the relay that it is called at, and by the other one.
    for (const relay of [this.first, this.second]) {
      for (const cluster of ["one", "two"] as const) {
        this.#callers.push([cluster, new Caller(relay, cluster)]);
      }
    }
  }

  async #startRelay(directory: string): Promise<RunningRelay> {
    const targets = Object.fromEntries(
      [...this.#targets].map(([cluster, { address }]) => [cluster, address]),
    );
    const tokens = JSON.stringify(adminTokens);
    const args = ["--admin-addr", "127.0.0.1:0", "--admin-tokens", tokens];
    const relay = this.#stack.use(await startPeer({ directory, targets, args }));
    const address = await addressOf(relay, "admin");
    this.#admin.set(relay, address);
    return relay;
  }

  async startAgent(cluster: ClusterName, relay: RunningRelay): Promise<void> {
    const target = this.#targets.get(cluster)!.address;
    const options = { relayUrl: relay.connectUrl, token: tokenOf(cluster), target };
    this.#stack.use(await startAgent(options));
    await relay.waitForAgent(cluster);
  }

  /** Sends something to a relay's admin API. */
  async #ask(relay: RunningRelay, method: string, name: string): Promise<number> {
    const response = await fetch(
      `http://${this.#admin.get(relay)}/admin/v1/clusters/${name}`,
      {
        method,
        headers: { Authorization: `Bearer ${adminToken("ops")}` },
        ...method === "PUT" && { body: JSON.stringify(entryFor(name)) },
      },
    );
    await response.body?.cancel();
    return response.status;
  }

  /** Adds an entry. */
  add(relay: RunningRelay, name: string): Promise<number> {
    return this.#ask(relay, "PUT", name);
  }

  /** Whether a relay has an entry. */
  async has(relay: RunningRelay, name: string): Promise<boolean> {
    return await this.#ask(relay, "GET", name) === 200;
  }

  /** Until both relays have an entry. */
  async untilBothHave(name: string): Promise<void> {
    for (const relay of [this.first, this.second]) {
      await eventually(
        async () => await this.#ask(relay, "GET", name) === 200,
        `${name} to be there`,
      );
    }
  }

  /** While the store is away: what runs goes on, and what needs the store is told so. */
  async assertAway(): Promise<void> {
    for (const relay of [this.first, this.second]) {
      await relay.waitForLog(({ message }) => message.startsWith("The directory is unavailable"));
      await eventually(
        async () => await metric(relay, 'culvert_directory_up{directory="redis"}') === 0,
        "the metric to say so",
      );
      const ready = await fetch(`http://${relay.internalAddress}/readyz`);
      match(await ready.text(), /directory/);
      equal(ready.status, 200);
      const { status, text } = await call(relay, "three");
      deepEqual([status, JSON.parse(text).error.code], [503, "directory_unavailable"]);
      equal(await this.add(relay, "refused"), 503);
    }
  }

  /** Once another server has taken over: all is as it was, and can change again. */
  async assertBack(entry: string): Promise<void> {
    for (const relay of [this.first, this.second]) {
      await eventually(
        async () => await metric(relay, 'culvert_directory_up{directory="redis"}') === 1,
        "the directory to be there",
        takeOverMs,
      );
    }
    await this.startAgent("three", this.first);
    await eventually(
      async () => (await call(this.second, "three")).status === 200,
      "the other relay to find a new session",
      takeOverMs,
    );
    await this.untilBothHave(entry);
    await eventually(
      async () => [200, 201].includes(await this.add(this.second, "later")),
      "changes to be taken again",
      takeOverMs,
    );
    await this.untilBothHave("later");
  }

  /** All that callers were answered is right: sessions that relays hold went on. */
  async assertServed(): Promise<void> {
    for (const [cluster, caller] of this.#callers) {
      for (const answer of await caller.stop()) deepEqual(answer, { status: 200, text: cluster });
    }
  }

  /**
   * Relays have said what there was to say, and not more.
   *
   * @param most lines of one relay, without those about one request each
   */
  async assertFewLines(most: number): Promise<void> {
    for (const relay of [this.first, this.second]) {
      const lines = (await relay.completeLog())
        .filter(({ level }) => level === "warn" || level === "error")
        .filter(({ message }) => !ofOneRequest.has(message))
        .map(({ message, error, reason }) => `${message}: ${error ?? reason}`);
      equal(lines.length <= most, true, lines.join("\n"));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [, caller] of this.#callers) await caller.stop().catch(() => {});
    await this.#stack.disposeAsync();
  }
}
