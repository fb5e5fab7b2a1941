/** People's sessions in a Redis whose primary is killed. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import type { Log } from "../../lib/log.ts";
import { BoundedStore } from "../../lib/relay/directory/bounded_store.ts";
import { SessionKeys } from "../../lib/relay/signin/seals.ts";
import type { SessionRecord } from "../../lib/relay/signin/sessions.ts";
import { SharedSessions } from "../../lib/relay/signin/shared_sessions.ts";
import { redisStore } from "../../lib/runtime/node/redis_store.ts";
import { eventually } from "../support/deadline.ts";
import { hasRedis } from "../support/redis.ts";
import { Sentinels } from "./sentinels.ts";

const clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** As a relay puts them together. */
class Relay implements AsyncDisposable {
  readonly sessions: SharedSessions;
  readonly #store: BoundedStore;

  private constructor(sessions: SharedSessions, store: BoundedStore) {
    this.sessions = sessions;
    this.#store = store;
  }

  static async start(url: string): Promise<Relay> {
    const store = new BoundedStore(redisStore(url));
    const sessions = new SharedSessions({
      ...{ store, clock, log: silent, idleMs: 600_000, changed() {} },
      keys: await SessionKeys.from([new Uint8Array(32).fill(3)], clock),
      relay: crypto.randomUUID(),
    });
    store.onReady = () => sessions.reconnected();
    store.open();
    sessions.open();
    const relay = new Relay(sessions, store);
    await relay.untilThere();
    return relay;
  }

  async untilThere(): Promise<void> {
    await eventually(
      async () => await this.#store.send(["PING"]).catch(() => "") === "PONG",
      "the store to answer",
      60_000,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sessions.close();
    this.#store.close();
  }
}

function record(id: string): SessionRecord {
  return {
    ...{ id, provider: "corp", issuer: "https://idp.example.net", subject: id, username: id },
    ...{ claims: {}, refreshToken: undefined, providerSession: undefined },
    ...{ issuedMs: Date.now(), signedInMs: Date.now() },
    ...{ expiresMs: Date.now() + 3_600_000, freshUntilMs: Date.now() + 3_600_000 },
  };
}

Deno.test({
  name: "sessions outlive the primary that is killed, and those that were revoked do not come back",
  ignore: !hasRedis,
  async fn() {
    await using store = await Sentinels.start("redis-server");
    await using one = await Relay.start(store.url);
    await using two = await Relay.start(store.url);
    const ids = Array.from({ length: 20 }, (_, index) => `s-${index}`);
    for (const id of ids) await one.sessions.put(record(id));
    for (const id of ids) ok(await two.sessions.find(id));
    const replica = store.servers[1]!;
    await eventually(
      async () => await replica.ask("EXISTS", "culvert:people:session:s-19") === ":1",
      "the replica to have them",
    );

    const primary = await store.primary();
    await one.sessions.end("s-0");
    await primary.kill();
    await one.sessions.end("s-1").catch(() => false);
    equal(one.sessions.known("s-1"), undefined);
    await rejects(one.sessions.put(record("s-new")));
    // What is known goes on meanwhile.
    ok(await two.sessions.find("s-2"));

    await store.allowFailover();
    for (const relay of [one, two]) await relay.untilThere();
    await eventually(
      async () => !await two.sessions.find("s-0") && !await two.sessions.find("s-1"),
      "revoked sessions to be over at the other relay",
    );
    const alive = await Promise.all(
      ids.map(async (id) => await two.sessions.find(id) !== undefined),
    );
    deepEqual(alive, ids.map((id) => id !== "s-0" && id !== "s-1"));
    await one.sessions.put(record("s-new"));
    ok(await two.sessions.find("s-new"));
  },
});
