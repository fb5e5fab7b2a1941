/** People's sessions in a Redis whose primary is killed. */
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { hasRedis } from "../support/redis.ts";
import { Sentinels } from "./sentinels.ts";
import { sessionRecord as record, SessionsOfRelay } from "./sessions.ts";

Deno.test({
  name: "sessions outlive the primary that is killed, and those that were revoked do not come back",
  ignore: !hasRedis,
  async fn() {
    await using store = await Sentinels.start("redis-server");
    await using one = await SessionsOfRelay.start(store.url);
    await using two = await SessionsOfRelay.start(store.url);
    const ids = Array.from({ length: 20 }, (_, index) => `s-${index}`);
    for (const id of ids) await one.sessions.put(record(id));
    for (const id of ids) ok(await two.sessions.find(id));
    const replica = store.servers[1]!;
    await eventually(
      async () => await replica.askOnce("EXISTS", "culvert:people:session:s-19") === ":1",
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
