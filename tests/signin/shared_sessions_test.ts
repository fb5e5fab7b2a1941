import assert from "node:assert/strict";
import type { Log } from "../../lib/log.ts";
import { SessionKeys } from "../../lib/relay/signin/seals.ts";
import { PeopleSessions } from "../../lib/relay/signin/people_sessions.ts";
import {
  maxSessionsOfPerson,
  type SessionRecord,
} from "../../lib/relay/signin/sessions/sessions.ts";
import { SharedSessions } from "../../lib/relay/signin/sessions/shared_sessions.ts";
import { redisStore } from "../../lib/runtime/node/redis_store.ts";
import { eventually } from "../support/deadline.ts";
import { hasRedis, Redis } from "../support/redis.ts";

const systemClock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() };
const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

interface Relay extends AsyncDisposable {
  readonly name: string;
  readonly sessions: SharedSessions;
  readonly keys: SessionKeys;
  /** Tells whether the relay reaches the store. */
  readonly outage: { isAway: boolean };
  readonly changes: () => number;
}

async function relay(
  redis: Redis,
  idleMs = 60_000,
  clock = systemClock,
  isFollowing = true,
): Promise<Relay> {
  const store = redisStore(redis.url);
  const ready = new Promise<void>((resolve) => store.onReady = resolve);
  store.open();
  await ready;
  let changes = 0;
  const keys = await SessionKeys.from([new Uint8Array(32).fill(3)], clock);
  const name = crypto.randomUUID();
  const outage = { isAway: false };
  const sessions = new SharedSessions({
    store: {
      send: (command) =>
        outage.isAway ? Promise.reject(new Error("the store is away")) : store.send(command),
    },
    keys,
    clock,
    log: silent,
    idleMs,
    relay: name,
    changed: () => void changes++,
  });
  if (isFollowing) {
    await sessions.poll();
    sessions.open();
  }
  return {
    name,
    outage,
    sessions,
    keys,
    changes: () => changes,
    async [Symbol.asyncDispose]() {
      await sessions.close();
      store.close();
    },
  };
}

function record(id: string, more: Partial<SessionRecord> = {}): SessionRecord {
  return {
    id,
    provider: "corp",
    issuer: "https://idp.example.net",
    subject: "ann-1",
    username: "ann@example.com",
    claims: { groups: ["ops"] },
    refreshToken: "refresh-token-in-clear",
    providerSession: "idp-1",
    issuedMs: Date.now() - 1_000,
    signedInMs: Date.now(),
    expiresMs: Date.now() + 3_600_000,
    freshUntilMs: Date.now() + 600_000,
    ...more,
  };
}

/** A test with a Redis of its own. */
function redisTest(name: string, fn: (redis: Redis) => Promise<void>): void {
  Deno.test({
    name,
    ignore: !hasRedis,
    async fn() {
      await using redis = await Redis.start();
      await fn(redis);
    },
  });
}

redisTest(
  "A session begun at one relay is known at another, and the store has nothing in clear",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await one.sessions.put(record("s-1"));
    assert.deepEqual((await two.sessions.find("s-1"))?.claims, { groups: ["ops"] });
    const store = redisStore(redis.url);
    const ready = new Promise<void>((resolve) => store.onReady = resolve);
    store.open();
    await ready;
    for (const key of await store.send(["KEYS", "*"]) as string[]) {
      const text = key + JSON.stringify(await store.send(["GET", key]).catch(() => ""));
      assert.doesNotMatch(text, /ann|refresh-token|ops/);
    }
    store.close();
  },
);

redisTest(
  "A session that ends at one relay ends within two seconds at the others",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await one.sessions.put(record("s-1"));
    await one.sessions.put(record("s-2", { subject: "bob", providerSession: "idp-2" }));
    await two.sessions.find("s-1");
    await two.sessions.find("s-2");
    assert.equal(
      await one.sessions.endOf({
        issuer: "https://idp.example.net",
        subject: "ann-1",
        issuedMs: Date.now(),
      }),
      1,
    );
    const before = performance.now();
    await eventually(() => two.sessions.known("s-1") === undefined, "the end at the other relay");
    assert.ok(performance.now() - before < 5_000);
    assert.equal(two.changes(), 1);
    assert.ok(two.sessions.known("s-2"));
    assert.ok(
      await two.sessions.isEnded({
        issuer: "https://idp.example.net",
        subject: "ann-1",
        providerSession: "idp-1",
        issuedMs: Date.now() - 2_000,
      }),
    );
  },
);

redisTest(
  "A session that ends before a relay has first asked for changes ends there too",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis, 60_000, systemClock, false);
    await one.sessions.put(record("s-1"));
    await two.sessions.find("s-1");
    await one.sessions.end("s-1");
    await two.sessions.poll();
    assert.equal(two.sessions.known("s-1"), undefined);
    assert.equal(two.changes(), 1);
  },
);

redisTest(
  "One relay of three refreshes a session, and the others take what it has got",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await using three = await relay(redis);
    const old = record("s-1", { freshUntilMs: Date.now() - 1 });
    await one.sessions.put(old);
    const relays = [one, two, three];
    for (const { sessions } of relays) await sessions.find("s-1");
    let asked = 0;
    const results = await Promise.all(relays.map(async ({ sessions }) => {
      const mine = await sessions.beginRefresh(old);
      if (mine !== "mine") return mine;
      asked++;
      await new Promise((resolve) => setTimeout(resolve, 100));
      const next = record("s-1", { refreshToken: "next" });
      await sessions.update(next);
      return next;
    }));
    assert.equal(asked, 1);
    assert.deepEqual(results.map((it) => it?.refreshToken), ["next", "next", "next"]);
  },
);

redisTest("A code is used up for all relays", async (redis) => {
  await using one = await relay(redis);
  await using two = await relay(redis);
  const untilMs = Date.now() + 60_000;
  assert.ok(await one.sessions.useOnce("code x", untilMs));
  assert.ok(!await two.sessions.useOnce("code x", untilMs));
  assert.ok(await two.sessions.useOnce("code y", untilMs));
});

redisTest("Without requests a session ends, however many relays know it", async (redis) => {
  const idleMs = 30_000;
  let passedMs = 0;
  const clock = { ...systemClock, nowMs: () => Date.now() + passedMs };
  await using one = await relay(redis, idleMs, clock);
  await using two = await relay(redis, idleMs, clock);
  await one.sessions.put(record("s-1"));
  assert.ok(await two.sessions.find("s-1"));
  const key = "culvert:people:session:s-1";
  const aliveMs = Number((await redis.ask("PTTL", key)).slice(1));
  assert.ok(aliveMs > 0 && aliveMs <= idleMs, `${key} lives ${aliveMs} ms`);
  // As much time passes for the relays, and for Redis.
  passedMs = idleMs;
  await redis.ask("PEXPIRE", key, "0");
  assert.equal(await two.sessions.find("s-1"), undefined);
  assert.equal(await one.sessions.find("s-1"), undefined);
});

redisTest(
  "While the store is away, sessions that a relay knows go on, and others are none",
  async (redis) => {
    await using one = await relay(redis);
    await one.sessions.put(record("s-1"));
    one.outage.isAway = true;
    assert.ok(await one.sessions.find("s-1"));
    assert.equal(await one.sessions.find("s-2"), undefined);
  },
);

redisTest(
  "A session that ends while the store is away ends here at once, and elsewhere afterwards",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await one.sessions.put(record("s-1"));
    await two.sessions.find("s-1");
    one.outage.isAway = true;
    await assert.rejects(one.sessions.end("s-1"));
    assert.equal(one.changes(), 1);
    assert.equal(await one.sessions.find("s-1"), undefined);
    one.outage.isAway = false;
    await eventually(() => two.sessions.known("s-1") === undefined, "the end at the other relay");
    assert.equal(await one.sessions.find("s-1"), undefined);
  },
);

redisTest(
  "What a refresh has got while the store is away counts here at once, and elsewhere afterwards",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await one.sessions.put(record("s-1"));
    await two.sessions.find("s-1");
    one.outage.isAway = true;
    const next = record("s-1", { refreshToken: "next", freshUntilMs: Date.now() + 900_000 });
    await one.sessions.update(next);
    assert.equal(one.sessions.known("s-1")?.refreshToken, "next");
    one.outage.isAway = false;
    assert.equal((await one.sessions.find("s-1"))?.refreshToken, "next");
    await eventually(
      () => two.sessions.known("s-1")?.refreshToken === "next",
      "the refresh at the other relay",
    );
  },
);

redisTest(
  "A session that a failed-over store has forgotten to have ended stays ended",
  async (redis) => {
    await using one = await relay(redis);
    await one.sessions.put(record("s-1"));
    assert.ok(await one.sessions.end("s-1"));
    // As a replica has it that was behind when it took over.
    await using replica = await relay(redis);
    await replica.sessions.put(record("s-1"));
    assert.equal(await one.sessions.find("s-1"), undefined);
    assert.match(await redis.ask("EXISTS", "culvert:people:session:s-1"), /0/);
  },
);

redisTest(
  "A session that ends while it is being looked up is not known afterwards",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await one.sessions.put(record("s-1"));
    const { keys, sessions } = two;
    const open = keys.open.bind(keys);
    let ending: Promise<boolean> | undefined;
    keys.open = (kind, id, text) => {
      ending ??= sessions.end("s-1");
      return open(kind, id, text);
    };
    await sessions.find("s-1");
    assert.ok(await ending);
    assert.equal(sessions.known("s-1"), undefined);
    assert.equal(await sessions.end("s-1"), false);
  },
);

redisTest(
  "Each relay lists the sessions of all, with their hosts and last use, and ends any of them",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await one.sessions.put(record("s-1"));
    await one.sessions.put(record("s-2", { subject: "bob-1", username: "bob@example.com" }));
    one.sessions.seen("s-1", Date.now(), "app.example.com");
    await two.sessions.find("s-1");
    const lastUse = Date.now() + 5_000;
    two.sessions.seen("s-1", lastUse, "other.example.com");
    const people = new PeopleSessions({ sessions: one.sessions, log: silent });
    await eventually(async () => {
      const { sessions } = await people.list({ user: "ann@example.com" });
      return sessions.length === 1 && sessions[0]!.lastUsedMs === lastUse;
    }, "the use at the other relay");
    const { sessions, isComplete } = await people.list();
    assert.ok(isComplete);
    assert.deepEqual(sessions.map(({ id }) => id).sort(), ["s-1", "s-2"]);
    const ann = sessions.find(({ id }) => id === "s-1")!;
    assert.deepEqual([...ann.hosts].sort(), ["app.example.com", "other.example.com"]);
    assert.equal(ann.relay, two.name);
    assert.equal((await people.list({ limit: 1 })).isComplete, false);
    assert.equal(await people.revokeUser("ann@example.com", "test"), 1);
    await eventually(() => two.sessions.known("s-1") === undefined, "the end at the other relay");
    assert.equal(two.changes(), 1);
    assert.ok(await people.revoke("s-2", "test"));
    assert.ok(!await people.revoke("s-2", "test"));
    assert.deepEqual((await people.list()).sessions, []);
  },
);

redisTest("One person has a bounded number of sessions, and the first ones end", async (redis) => {
  await using one = await relay(redis);
  for (let number = 0; number <= maxSessionsOfPerson; number++) {
    await one.sessions.put(record(`s-${number}`, { signedInMs: Date.now() + number }));
  }
  await one.sessions.put(record("bob", { subject: "bob-1" }));
  assert.equal(await one.sessions.find("s-0"), undefined);
  assert.ok(await one.sessions.find("s-1"));
  assert.ok(await one.sessions.find("bob"));
  const { sessions } = await one.sessions.list();
  assert.equal(sessions.length, maxSessionsOfPerson + 1);
});

redisTest(
  "A session that another one has replaced is none, and leads to that one for a while",
  async (redis) => {
    await using one = await relay(redis);
    await using two = await relay(redis);
    await one.sessions.put(record("s-1"));
    await one.sessions.put(record("s-2"), "s-1");
    assert.equal(await two.sessions.find("s-1"), undefined);
    assert.equal((await two.sessions.successorOf("s-1"))?.id, "s-2");
    assert.equal(await two.sessions.successorOf("s-2"), undefined);
  },
);

const recordKey = "culvert:people:session:s-1";

redisTest(
  "A session that has ended stays so when a failover brings its record back",
  async (redis) => {
    await using one = await relay(redis, 60_000, systemClock, false);
    await using two = await relay(redis, 60_000, systemClock, false);
    await one.sessions.put(record("s-1"));
    const sealed = await redis.ask("GET", recordKey);
    await one.sessions.end("s-1");

    // The server that has taken over knows nothing of the end.
    await redis.ask("SET", recordKey, sealed);
    one.sessions.reconnected();
    await one.sessions.poll();
    assert.equal(await redis.ask("EXISTS", recordKey), ":0");
    assert.equal(await two.sessions.find("s-1"), undefined);
  },
);

redisTest(
  "A relay that has seen a session end does not take it back from a server that lacks the end",
  async (redis) => {
    await using one = await relay(redis, 60_000, systemClock, false);
    await using two = await relay(redis, 60_000, systemClock, false);
    await one.sessions.put(record("s-1"));
    await two.sessions.poll();
    assert.ok(await two.sessions.find("s-1"));
    const sealed = await redis.ask("GET", recordKey);
    await one.sessions.end("s-1");
    await two.sessions.poll();

    await redis.ask("SET", recordKey, sealed);
    assert.equal(await two.sessions.find("s-1"), undefined);
    assert.equal(await redis.ask("EXISTS", recordKey), ":0");
  },
);

redisTest(
  "Log-outs and used codes are told again to a server that has taken over",
  async (redis) => {
    await using one = await relay(redis, 60_000, systemClock, false);
    await using two = await relay(redis, 60_000, systemClock, false);
    const person = { issuer: "https://idp.example.net", subject: "ann-1" };
    const untilMs = Date.now() + 60_000;
    await one.sessions.endOf({ ...person, issuedMs: Date.now() });
    assert.ok(await one.sessions.useOnce("code x", untilMs));

    await redis.ask("FLUSHALL");
    one.sessions.reconnected();
    await one.sessions.poll();
    assert.ok(
      await two.sessions.isEnded({
        ...person,
        providerSession: undefined,
        issuedMs: Date.now() - 2_000,
      }),
    );
    assert.ok(!await two.sessions.useOnce("code x", untilMs));
  },
);
