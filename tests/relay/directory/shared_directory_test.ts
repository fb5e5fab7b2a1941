import { deepEqual, ok } from "node:assert/strict";
import { type Claim, DirectoryError } from "../../../lib/relay/directory/directory.ts";
import type { DirectoryTiming } from "../../../lib/relay/directory/directory_timing.ts";
import { SharedDirectory } from "../../../lib/relay/directory/shared_directory.ts";
import type { Store } from "../../../lib/relay/directory/store.ts";
import { eventually } from "../../support/deadline.ts";

/** A store that keeps hashes, and values that the test sets, and breaks when the test says so. */
class FakeStore implements Store {
  readonly hashes = new Map<string, Map<string, string>>();
  readonly values = new Map<string, string>();
  isBroken = false;
  onReady = (): void => {};
  onError = (_reason: string): void => {};
  open(): void {}
  reconnect(): void {}
  close(): void {}

  send([verb, key = "", field = "", value = ""]: readonly string[]): Promise<unknown> {
    if (this.isBroken) return Promise.reject(new Error("The connection broke"));
    const hash = this.hashes.get(key) ?? new Map<string, string>();
    if (verb === "HSET") this.hashes.set(key, hash.set(field, value));
    if (verb === "HDEL") hash.delete(field);
    if (verb === "GET") return Promise.resolve(this.values.get(key) ?? null);
    return Promise.resolve(verb === "HVALS" ? [...hash.values()] : null);
  }

  /** Names of the relays that have leases. */
  get relays(): string[] {
    return [...this.hashes.values()].flatMap((hash) => [...hash.values()])
      .map((lease) => JSON.parse(lease).relay);
  }

  get leases(): number {
    return [...this.hashes.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

/** As {@link FakeStore}, with keys that are set, a clock, and commands that are lost on the way. */
class PlayedStore extends FakeStore {
  readonly commands: string[] = [];
  renewals = 0;
  timeMs: number | undefined;
  /** Says which command gets no reply, or an error in its place. */
  answers: (verb: string, key: string) => "silence" | Error | undefined = () => undefined;

  readonly #unanswered = new Set<(error: Error) => void>();

  /** What waits for a reply on a connection that is given up fails, as with the real client. */
  override close(): void {
    for (const reject of this.#unanswered) reject(new Error("The client is closed"));
    this.#unanswered.clear();
  }

  override reconnect(): void {
    this.renewals++;
    this.close();
    queueMicrotask(() => this.onReady());
  }

  override send(command: readonly string[]): Promise<unknown> {
    const [verb = "", key = "", value = ""] = command;
    this.commands.push(verb);
    const answer = this.answers(verb, key);
    if (answer === "silence") return new Promise((_, reject) => this.#unanswered.add(reject));
    if (answer) return Promise.reject(answer);
    if (verb === "SET") this.values.set(key, value);
    if (verb === "HEXISTS") return Promise.resolve(this.hashes.get(key)?.has(value) ? 1 : 0);
    if (verb === "TIME" && this.timeMs !== undefined) {
      const micros = Math.round((this.timeMs % 1_000) * 1_000);
      return Promise.resolve([`${Math.floor(this.timeMs / 1_000)}`, `${micros}`]);
    }
    return super.send(command);
  }

  /** How often a command was sent since the last call. */
  take(verb: string): number {
    return this.commands.splice(0).filter((sent) => sent === verb).length;
  }
}

const quick: DirectoryTiming = {
  heartbeatMs: 20,
  aliveMs: 60_000,
  replyMs: 30,
  renewalMs: 60 * 60_000,
  leaseMs: 3 * 60 * 60_000,
  movingMs: 5_000,
};

/** A directory over a store that the test plays. */
class Played implements AsyncDisposable {
  readonly store: PlayedStore;
  readonly said: string[] = [];
  readonly held: Claim[] = [];
  readonly directory: SharedDirectory;

  constructor({ store = new PlayedStore(), relay = "one", timing = quick, nowMs }: {
    store?: PlayedStore;
    relay?: string;
    timing?: DirectoryTiming;
    nowMs?: () => number;
  } = {}) {
    this.store = store;
    this.directory = new SharedDirectory({
      store,
      relay,
      timing,
      ...(nowMs ? { nowMs } : {}),
      events: {
        away: (reason) => void this.said.push(`away: ${reason}`),
        back: () => void this.said.push("back"),
        failed() {},
        heldElsewhere: (claim) => void this.held.push(claim),
        invalid() {},
      },
    });
    this.directory.open(`http://${relay}:8080`);
    store.onReady();
  }

  async up(): Promise<this> {
    await eventually(() => this.directory.isUp, "the directory to be up");
    return this;
  }

  claims(count: number, sinceMs = 1): void {
    for (let index = 0; index < count; index++) {
      this.directory.claim({ cluster: `c${index}`, instance: "agent", slot: 0, sinceMs });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.directory.close();
  }
}

Deno.test("SharedDirectory fails the look-up whose reply is late, and no other", async () => {
  await using played = await new Played({ timing: { ...quick, heartbeatMs: 60_000 } }).up();
  const { store, directory } = played;
  let late = 1;
  store.answers = (verb) => verb === "HVALS" && late-- > 0 ? "silence" : undefined;
  const found = await Promise.allSettled([directory.find("a"), directory.find("b")]);
  const rejected = found.filter((result) => result.status === "rejected");
  ok(rejected.length === 1 && rejected[0]!.reason instanceof DirectoryError);
  deepEqual([await directory.find("a"), directory.isUp, played.said], [[], true, ["back"]]);
});

Deno.test("SharedDirectory counts as away once several replies in a row have failed", async () => {
  await using played = await new Played({ timing: { ...quick, heartbeatMs: 60_000 } }).up();
  const { store, directory } = played;
  store.answers = (verb) => verb === "HVALS" ? "silence" : undefined;
  for (let failures = 1; failures <= 3; failures++) {
    await directory.find("a").catch(() => {});
    deepEqual(directory.isUp, failures < 3);
  }
  deepEqual(played.said, ["back", "away: No reply within 30 ms"]);
});

Deno.test("SharedDirectory counts as away after one heartbeat that failed", async () => {
  await using played = await new Played().up();
  played.store.answers = (verb) => verb === "SET" ? "silence" : undefined;
  await eventually(() => !played.directory.isUp, "the directory to be away");
  deepEqual(played.said, ["back", "away: No reply within 30 ms"]);
});

Deno.test("SharedDirectory tells each reason for being away once, and not without end", async () => {
  await using played = await new Played({ timing: { ...quick, heartbeatMs: 60_000 } }).up();
  const { store, said } = played;
  store.onError("Socket closed unexpectedly");
  for (let time = 0; time < 2; time++) store.onError("NOAUTH Authentication required.");
  store.onError("Socket closed unexpectedly");
  const [first, second] = ["Socket closed unexpectedly", "NOAUTH Authentication required."];
  deepEqual(said, ["back", `away: ${first}`, `away: ${second}`]);
  for (let number = 0; number < 100; number++) store.onError(`Reason ${number}`);
  deepEqual(said.length, 6);
});

/** A directory that has written 50 leases and is away since; only the test has it come back. */
async function awayWithLeases(): Promise<Played> {
  const played = await new Played({ timing: { ...quick, heartbeatMs: 60_000 } }).up();
  const { store, directory } = played;
  played.claims(50);
  await eventually(() => store.leases === 50, "the leases");
  store.answers = (verb) => verb === "SET" ? "silence" : undefined;
  store.onReady();
  await eventually(() => !directory.isUp, "the directory to be away");
  store.take("HSET");
  return played;
}

/** Has it come back, with as many heartbeats as that takes. */
async function comeBack({ store, directory, said }: Played): Promise<void> {
  store.answers = () => undefined;
  await eventually(() => {
    if (!directory.isUp) store.onReady();
    return said.length === 3;
  }, "the directory to be back");
}

Deno.test("SharedDirectory that is back does not write leases that are still there", async () => {
  await using played = await awayWithLeases();
  await comeBack(played);
  deepEqual(played.store.take("HSET"), 0);
});

Deno.test("SharedDirectory that is back writes the leases that are gone, and those that are new", async () => {
  await using played = await awayWithLeases();
  const { store, directory } = played;
  directory.claim({ cluster: "new", instance: "agent", slot: 0, sinceMs: 1 });
  for (const hash of [...store.hashes.values()].slice(0, 3)) hash.clear();
  await comeBack(played);
  deepEqual([store.leases, store.take("HSET")], [51, 4]);
});

Deno.test("SharedDirectory writes what another server lacks that has taken over without a break", async () => {
  await using played = await new Played().up();
  const { store } = played;
  played.claims(5);
  await eventually(() => store.leases === 5, "the leases");
  for (const hash of [...store.hashes.values()].slice(0, 3)) hash.clear();
  store.onReady();
  await eventually(() => store.leases === 5, "the leases again");
  deepEqual(played.said, ["back"]);
});

Deno.test("SharedDirectory writes a lease with the next heartbeat whose write failed", async () => {
  await using played = await new Played().up();
  const { store } = played;
  let failures = 1;
  store.answers = (verb) =>
    verb === "HSET" && failures-- > 0 ? new Error("OOM command not allowed") : undefined;
  played.claims(1);
  await eventually(() => store.leases === 1, "the lease");
  deepEqual(played.said, ["back"]);
});

for (
  const reason of [
    "READONLY You can't write against a read only replica.",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOAUTH Authentication required.",
    "CLUSTERDOWN The cluster is down",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist",
    "MOVED 3999 127.0.0.1:6381",
  ]
) {
  Deno.test(`SharedDirectory makes a new connection when Redis replies ${reason.split(" ", 1)}`, async () => {
    await using played = await new Played({ timing: { ...quick, heartbeatMs: 60_000 } }).up();
    const { store } = played;
    store.answers = (verb) => verb === "HSET" ? new Error(reason) : undefined;
    played.claims(1);
    await eventually(() => store.renewals === 1, "a new connection");
    deepEqual(played.said, ["back", `away: ${reason}`]);
  });
}

Deno.test("SharedDirectory gives up a connection on which the server never says hello", async () => {
  await using played = await new Played().up();
  const { store, directory } = played;
  store.answers = () => new Error("The client is offline");
  store.reconnect = () => void store.renewals++;
  store.onError("The connection broke");
  await eventually(() => store.renewals > 2, "one new connection after the other");
  store.answers = () => undefined;
  store.onReady();
  await eventually(() => directory.isUp, "the directory to be back");
});

Deno.test("SharedDirectory goes by its own clock at a store that does not tell the time", async () => {
  const store = new PlayedStore();
  store.answers = (verb) => verb === "TIME" ? new Error("NOPERM no permissions") : undefined;
  await using played = await new Played({ store }).up();
  played.claims(1, 7);
  await eventually(() => store.leases === 1, "the lease");
  deepEqual(played.said, ["back"]);
});

Deno.test("SharedDirectory does not hurry from one connection to the next at a server that stays wrong", async () => {
  await using played = await new Played({ timing: { ...quick, heartbeatMs: 60_000 } }).up();
  const { store } = played;
  store.answers = (verb) => verb === "SET" ? new Error("READONLY") : undefined;
  store.onReady();
  await eventually(() => store.renewals === 1, "a new connection");
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
  deepEqual(store.renewals, 1);
});

Deno.test("SharedDirectory knows the newer of two claims though its relays' clocks are far apart", async () => {
  const store = new PlayedStore();
  store.timeMs = 1_000_000;
  const timing = { ...quick, heartbeatMs: 60_000 };
  const claim = { cluster: "dev", instance: "agent", slot: 0 };
  await using fast = await new Played({ store, timing, relay: "fast", nowMs: () => 1_020_000 })
    .up();
  await using slow = await new Played({ store, timing, relay: "slow", nowMs: () => 980_000 }).up();
  fast.directory.claim({ ...claim, sinceMs: 1_020_000 });
  await eventually(() => store.relays.join() === "fast", "the older lease");
  slow.directory.claim({ ...claim, sinceMs: 981_000 });
  await eventually(() => store.relays.join() === "slow", "the newer lease to be the only one");
  deepEqual(await fast.directory.find("dev"), [{ relay: "slow", url: "http://slow:8080" }]);
  deepEqual(fast.held, [{ ...claim, sinceMs: 1_021_000 }]);
});

Deno.test("SharedDirectory keeps the newer lease when the relay of the older one writes last", async () => {
  const store = new PlayedStore();
  store.timeMs = 1_000_000;
  const timing = { ...quick, heartbeatMs: 60_000 };
  const claim = { cluster: "dev", instance: "agent", slot: 0 };
  await using fast = await new Played({ store, timing, relay: "fast", nowMs: () => 1_020_000 })
    .up();
  await using slow = await new Played({ store, timing, relay: "slow", nowMs: () => 980_000 }).up();
  slow.directory.claim({ ...claim, sinceMs: 981_000 });
  await eventually(() => store.relays.join() === "slow", "the newer lease");
  fast.directory.claim({ ...claim, sinceMs: 1_020_000 });
  await eventually(() => store.leases === 2, "the older lease");
  await fast.directory.find("dev");
  ok(store.relays.includes("slow"));
});

Deno.test("SharedDirectory writes its leases anew when the store's clock is set", async () => {
  const store = new PlayedStore();
  store.timeMs = 1_000_000;
  await using played = await new Played({ store, nowMs: () => 1_000_000 }).up();
  played.claims(3, 999_000);
  await eventually(() => store.leases === 3, "the leases");
  store.timeMs = 2_000_000;
  const times = () =>
    [...store.hashes.values()].flatMap((hash) => [...hash.values()])
      .map((lease) => JSON.parse(lease).sinceMs);
  await eventually(
    () => times().every((sinceMs) => sinceMs === 1_999_000),
    "times on the new clock",
  );
});

Deno.test("SharedDirectory removes a lease in the end whose removal failed", async () => {
  const store = new FakeStore();
  const seen: string[] = [];
  const events = {
    away: () => void seen.push("away"),
    back: () => void seen.push("back"),
    failed() {},
    heldElsewhere() {},
    invalid() {},
  };
  const directory = new SharedDirectory({ store, relay: "one", events });
  directory.open("http://10.0.0.1:8080");
  try {
    store.onReady();
    await eventually(() => directory.isUp, "the directory to be up");
    const claim: Claim = { cluster: "dev", instance: "agent", slot: 0, sinceMs: 1 };
    directory.claim(claim);
    await eventually(() => store.leases === 1, "a lease");
    store.isBroken = true;
    directory.withdraw(claim);
    await eventually(() => !directory.isUp, "the directory to be away");
    // The first try to come back meets what is broken still.
    store.onReady();
    store.isBroken = false;
    ok(store.leases === 1);
    await eventually(() => {
      store.onReady();
      return store.leases === 0;
    }, "the lease to be removed");
    deepEqual(seen.slice(0, 2), ["back", "away"]);
  } finally {
    await directory.close();
  }
});

Deno.test("SharedDirectory has withdrawn once the leases are gone that were released before", async () => {
  await using played = await new Played({ timing: { ...quick, heartbeatMs: 60_000 } }).up();
  const { store, directory } = played;
  const claim = { cluster: "c", instance: "agent", slot: 0, sinceMs: 1 };
  directory.claim(claim);
  await eventually(() => store.leases === 1, "the lease");
  await eventually(() => store.commands.includes("HVALS"), "the end of the write");
  store.take("");
  directory.withdraw(claim);
  await directory.withdrawAll();
  // The word that the session is moving, its lease, and only then the relay.
  deepEqual([store.commands, store.leases], [["SET", "HDEL", "DEL"], 0]);
});

Deno.test("SharedDirectory tells which sessions other relays hold that are alive", async () => {
  const store = new FakeStore();
  const held: Claim[] = [];
  const events = {
    away() {},
    back() {},
    failed() {},
    heldElsewhere: (claim: Claim) => void held.push(claim),
    invalid() {},
  };
  const ours = new SharedDirectory({ store, relay: "ours", events });
  const other = new SharedDirectory({ store, relay: "other", events });
  for (const directory of [ours, other]) {
    directory.open("http://10.0.0.1:8080");
    store.onReady();
    await eventually(() => directory.isUp, "the directory to be up");
  }
  try {
    ours.claim({ cluster: "dev", instance: "agent", slot: 0, sinceMs: 1 });
    const newer = { cluster: "dev", instance: "agent", slot: 0, sinceMs: 2 };
    other.claim(newer);
    await eventually(() => store.relays.join() === "other", "the newer lease to be the only one");
    await ours.find("dev");
    deepEqual(held, [], "a relay that nothing is known of may be dead");
    store.values.set("culvert:relay:other", '{"url":"http://10.0.0.2:8080"}');
    await ours.find("dev");
    await other.find("dev");
    deepEqual(held, [newer]);
  } finally {
    ours.close();
    other.close();
  }
});
