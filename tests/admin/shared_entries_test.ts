/** Entries in a real Redis that several relays share. */
import { deepEqual, equal } from "node:assert/strict";
import { connectAgent } from "../relay/status/world.ts";
import { eventually } from "../support/deadline.ts";
import { hasRedis, Redis } from "../support/redis.ts";
import { AdminWorld, agentToken, entryFor } from "./world.ts";

const ignore = !hasRedis;
const relayToken = "relays-of-the-tests-0123456789";

function relay(redis: Redis, token = relayToken): Promise<AdminWorld> {
  return AdminWorld.start({
    DIRECTORY: redis.url,
    ADVERTISE: "http://127.0.0.1:0",
    RELAY_TOKEN: token,
  });
}

function path(id: string): string {
  return `/admin/v1/clusters/${id}`;
}

function ids(world: AdminWorld): string[] {
  return [...world.relay.clusters.keys()].sort();
}

Deno.test({
  name: "every relay uses an entry that one of them has added, and ends what another one deletes",
  ignore,
  async fn() {
    await using redis = await Redis.start();
    await using a = await relay(redis);
    await using b = await relay(redis);
    equal((await a.ask("PUT", path("dev"), entryFor("dev"))).status, 201);
    await eventually(() => ids(b).includes("dev"), "the other relay to use it");
    equal((await b.ask("GET", path("dev"))).body.id, "dev");
    const agent = await connectAgent(b.relay, { token: agentToken("dev"), instance: "one" });
    equal((await a.ask("DELETE", path("dev"))).status, 200);
    await eventually(() => agent.closedWith?.code === 1008, "the agent to be put out");
    agent.events.closed(1008, "");
    await using c = await relay(redis);
    deepEqual(ids(c), []);
  },
});

Deno.test({
  name: "relays that change one entry at once agree on one order, and conditions hold across them",
  ignore,
  async fn() {
    await using redis = await Redis.start();
    await using a = await relay(redis);
    await using b = await relay(redis);
    const { headers } = await a.ask("PUT", path("dev"), entryFor("dev"));
    const options = { headers: { "If-Match": headers.get("etag")! } };
    const answers = await Promise.all(
      [a, b].map((world, index) =>
        world.ask("PUT", path("dev"), entryFor("dev", { targetAddr: `t${index}:1` }), options)
      ),
    );
    deepEqual(answers.map(({ status }) => status).sort(), [200, 412]);
    const many = await Promise.all(
      Array.from(
        { length: 40 },
        (_, index) => [a, b][index % 2]!.ask("PUT", path(`c${index}`), entryFor(`c${index}`)),
      ),
    );
    deepEqual(new Set(many.map(({ status }) => status)), new Set([201]));
    await eventually(() => ids(a).length === 41 && ids(b).length === 41, "both to have all");
    deepEqual(ids(a), ids(b));
    // One token is one cluster's, whichever relay is asked.
    const same = await b.ask("PUT", path("twin"), entryFor("c0"));
    deepEqual([same.status, same.body.error.code], [409, "taken"]);
  },
});

Deno.test({
  name: "a Redis that comes back empty gets back what a relay knows; without Redis changes get 503",
  ignore,
  async fn() {
    await using redis = await Redis.start();
    await using a = await relay(redis);
    await a.ask("PUT", path("dev"), entryFor("dev"));
    await redis.stop();
    const refused = await a.ask("PUT", path("other"), entryFor("other"));
    deepEqual([refused.status, refused.body.error.code], [503, "store_unavailable"]);
    deepEqual(ids(a), ["dev"]);
    await redis.start();
    await eventually(
      async () => (await a.ask("PUT", path("other"), entryFor("other"))).status === 201,
      "changes to be taken again",
    );
    await using b = await relay(redis);
    deepEqual(ids(b), ["dev", "other"]);
  },
});

Deno.test({
  name: "an entry that somebody else has written into Redis is ignored",
  ignore,
  async fn() {
    await using redis = await Redis.start();
    await using a = await relay(redis);
    await a.ask("PUT", path("dev"), entryFor("dev"));
    const forged = JSON.stringify({ id: "evil", ...entryFor("evil"), admin: { by: "ops" } });
    await redis.ask(
      "HSET",
      "culvert:{admin}:entries",
      "clusters/evil",
      `${"0".repeat(64)} ${forged}`,
    );
    await redis.ask("SET", "culvert:{admin}:revision", "99-forged");
    const message = "Ignored an entry in Redis that no relay has written";
    await eventually(() => a.lines.some((line) => line.message === message), "it to be noticed");
    deepEqual(ids(a), ["dev"]);
    await using other = await relay(redis, "another-token-of-relays-0123456789");
    deepEqual(ids(other), [], "a relay with another token has none of them");
  },
});
