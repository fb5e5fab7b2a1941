/** The store of workers answers as a real Redis does. */
import { deepEqual, throws } from "node:assert/strict";
import { MemoryStore } from "../../lib/workers/memory_store.ts";
import { redisStore } from "../../lib/runtime/node/redis_store.ts";
import { hasRedis, Redis } from "../support/redis.ts";

/** Commands as relays send them, with those that find nothing, and keys of the wrong kind. */
const commands: readonly (readonly string[])[] = [
  ["PING"],
  ["GET", "text"],
  ["SET", "text", "one"],
  ["SET", "text", "two", "NX", "PX", "60000"],
  ["GET", "text"],
  ["SET", "text", "three", "PX", "60000", "XX"],
  ["SET", "none", "four", "PX", "60000", "XX"],
  ["GET", "text"],
  ["PEXPIRE", "text", "60000"],
  ["PEXPIRE", "none", "60000"],
  ["HSET", "hash", "a", "1"],
  ["HSET", "hash", "a", "2"],
  ["HSET", "hash", "b", "3", "c", "4"],
  ["HEXISTS", "hash", "a"],
  ["HEXISTS", "hash", "z"],
  ["HEXISTS", "none", "a"],
  ["HDEL", "hash", "a", "z"],
  ["HVALS", "hash"],
  ["HVALS", "none"],
  ["HDEL", "hash", "b", "c"],
  ["HDEL", "hash", "b"],
  ["DEL", "hash"],
  ["ZADD", "set", "5", "five"],
  ["ZADD", "set", "1", "one", "3", "three", "3", "drei"],
  ["ZADD", "set", "2", "five"],
  ["ZCARD", "set"],
  ["ZCARD", "none"],
  ["ZRANGE", "set", "0", "-1"],
  ["ZRANGE", "set", "1", "2"],
  ["ZRANGE", "set", "0", "-3"],
  ["ZRANGE", "none", "0", "-1"],
  ["ZREMRANGEBYSCORE", "set", "-inf", "2"],
  ["ZREMRANGEBYSCORE", "none", "-inf", "2"],
  ["ZREM", "set", "three", "none"],
  ["ZRANGE", "set", "0", "-1"],
  ["ZREM", "set", "drei"],
  ["DEL", "set", "none", "text"],
  ["SET", "text", "again", "PX", "60000"],
  ["HSET", "text", "a", "1"],
  ["ZADD", "text", "1", "one"],
  ["HVALS", "text"],
  ["XREVRANGE", "text", "+", "-", "COUNT", "1"],
  ["XRANGE", "none", "(0-0", "+", "COUNT", "10"],
  ["XREVRANGE", "none", "+", "-", "COUNT", "1"],
  ["NONSENSE", "text"],
];

Deno.test({
  name: "MemoryStore replies to relays' commands as Redis does",
  ignore: !hasRedis,
  async fn() {
    await using redis = await Redis.start();
    const real = redisStore(redis.url);
    const ready = Promise.withResolvers<void>();
    real.onReady = ready.resolve;
    real.open();
    await ready.promise;
    const store = new MemoryStore();
    try {
      for (const command of commands) {
        const own = await outcome(() => store.execute(command));
        deepEqual(own, await outcome(() => real.send(command)), command.join(" "));
      }
    } finally {
      real.close();
    }
  },
});

/** The reply, or the first word of the error. */
async function outcome(run: () => unknown): Promise<unknown> {
  try {
    return await run();
  } catch (error) {
    return `error ${(error as Error).message.split(" ")[0]}`;
  }
}

function storeAt(clock: { ms: number }): MemoryStore {
  return new MemoryStore({ epochMs: () => 1_000_000 + clock.ms, monotonicMs: () => clock.ms });
}

Deno.test("MemoryStore forgets what has expired, whether somebody asks or not", () => {
  const clock = { ms: 0 };
  const store = storeAt(clock);
  store.execute(["SET", "a", "1", "PX", "100"]);
  store.execute(["SET", "b", "2", "PX", "100"]);
  store.execute(["SET", "c", "3"]);
  store.execute(["PEXPIRE", "c", "200"]);
  clock.ms = 99;
  deepEqual(store.execute(["GET", "a"]), "1");
  clock.ms = 100;
  deepEqual(store.execute(["GET", "a"]), null);
  deepEqual(store.execute(["SET", "a", "4", "PX", "1", "NX"]), "OK");
  store.sweep();
  deepEqual(store.size, 2);
  clock.ms = 200;
  store.sweep();
  deepEqual(store.size, 0);
});

Deno.test("MemoryStore's streams go on behind any entry, in the order in which they were written", () => {
  const clock = { ms: 0 };
  const store = storeAt(clock);
  const add = (id: string) => store.execute(["XADD", "s", "MAXLEN", "~", "3", "*", "id", id]);
  const behind = (id: unknown) => store.execute(["XRANGE", "s", `(${id}`, "+", "COUNT", "10"]);
  const first = add("a");
  const second = add("b");
  deepEqual([first, second], ["1000000-0", "1000000-1"]);
  clock.ms = -5_000;
  const third = add("c"); // A clock that was set back does not put it in front.
  deepEqual(behind(first), [[second, ["id", "b"]], [third, ["id", "c"]]]);
  deepEqual(store.execute(["XREVRANGE", "s", "+", "-", "COUNT", "1"]), [[third, ["id", "c"]]]);
  deepEqual(behind(third), []);
  for (const id of "defghij") add(id);
  const kept = behind("0-0") as unknown[];
  deepEqual(kept.length, 3);
  deepEqual(kept.at(-1), ["1000000-9", ["id", "j"]]);
});

Deno.test("MemoryStore tells the time in seconds and microseconds", () => {
  deepEqual(storeAt({ ms: 1_234 }).execute(["TIME"]), ["1001", "234000"]);
});

Deno.test("MemoryStore refuses numbers that are none", () => {
  throws(() => new MemoryStore().execute(["ZADD", "a", "much", "b"]), /^Error: ERR /);
});
