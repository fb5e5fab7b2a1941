/** Sentinels and nodes that are away, one or all. */
import { match } from "node:assert/strict";
import { redisStore } from "../../lib/runtime/node/redis_store.ts";
import { eventually } from "../support/deadline.ts";
import { refusingPort } from "../support/free_port.ts";
import { hasRedis } from "../support/redis.ts";
import { Sentinels } from "./sentinels.ts";
import { Cluster } from "./cluster.ts";
import type { Store } from "../../lib/relay/directory/store.ts";

function opened(url: string): { store: Store; reasons: string[]; ready: Promise<void> } {
  const store = redisStore(url);
  const reasons: string[] = [];
  const { promise: ready, resolve } = Promise.withResolvers<void>();
  store.onReady = resolve;
  store.onError = (reason) => reasons.push(reason);
  store.open();
  return { store, reasons, ready };
}

const nobody = `127.0.0.1:${refusingPort()}`;

for (const url of [`redis+sentinel://${nobody}/main`, `redis+cluster://${nobody}`]) {
  const form = url.split(":", 1)[0];

  Deno.test(`${form}: nobody there is said again and again, until it is closed`, async () => {
    const { store, reasons } = opened(url);
    await eventually(() => reasons.length >= 3, "the reason, three times");
    match(reasons[0]!, /ECONNREFUSED/);
    store.close();
  });

  Deno.test(`${form}: a store that is closed at once, or given up, leaves nothing behind`, async () => {
    const { store, reasons } = opened(url);
    store.reconnect();
    store.reconnect();
    await eventually(() => reasons.length >= 1, "the reason");
    store.close();
    opened(url).store.close();
  });
}

Deno.test({
  name: "a Sentinel that is gone and one that is frozen are passed over",
  ignore: !hasRedis,
  async fn() {
    await using sentinels = await Sentinels.start("redis-server");
    const [first, second] = sentinels.sentinels;
    await first!.kill();
    second!.freeze();
    const { store, ready } = opened(sentinels.url);
    await ready;
    store.close();
    second!.thaw();
  },
});

Deno.test({
  name: "the Sentinel that a relay listens to may go: the relay still learns of a failover",
  ignore: !hasRedis,
  async fn() {
    await using sentinels = await Sentinels.start("redis-server");
    const { store, ready } = opened(sentinels.url);
    await ready;
    await sentinels.sentinels[0]!.kill();
    await (await sentinels.servers[0]!).kill();
    const others = sentinels.sentinels.splice(0, 1);
    await sentinels.allowFailover();
    await eventually(
      async () => await store.send(["SET", "culvert:x", "1"]).catch(() => "") === "OK",
      "the new primary",
      60_000,
    );
    store.close();
    await others[0]!.kill();
  },
});

Deno.test({
  name: "a node that is frozen does not keep a relay from the others of a cluster",
  ignore: !hasRedis,
  async fn() {
    await using cluster = await Cluster.start("redis-server");
    const node = await cluster.primaryOf("culvert:{admin}:entries");
    const other = cluster.primaries.find((primary) => primary !== node)!;
    node.freeze();
    const { store, ready } = opened(`redis+cluster://${node.address},${other.address}`);
    await ready;
    store.close();
    node.thaw();
  },
});
