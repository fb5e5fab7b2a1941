/** Relays whose Redis is a cluster, when one of its primaries is killed and while slots move. */
import { equal } from "node:assert/strict";
import { clusterKey } from "../directory/relays.ts";
import { Cluster } from "./cluster.ts";
import { call, Relays } from "./relays.ts";
import { servers } from "./server.ts";

for (const program of servers) {
  const name = program.split("/").at(-1);

  Deno.test({
    name:
      `${name}: a node of a cluster that is killed costs look-ups until its replica has taken over`,
    async fn() {
      await using store = await Cluster.start(program);
      await using relays = await Relays.start(store.url);
      equal(await relays.add(relays.first, "before"), 201);
      await (await store.primaryOf("culvert:{admin}:entries")).kill();
      await relays.assertAway();

      await store.allowFailover();
      await relays.assertBack("before");
      await relays.assertServed();
      await relays.assertFewLines(8);
    },
  });

  Deno.test({
    name: `${name}: slots that move from node to node cost nothing`,
    async fn() {
      await using store = await Cluster.start(program);
      await using relays = await Relays.start(store.url);
      equal(await relays.add(relays.first, "before"), 201);
      let count = 0;
      for (const key of ["culvert:{admin}:entries", clusterKey("one"), clusterKey("three")]) {
        await store.move(key, async () => {
          const name = `moving-${count++}`;
          equal(await relays.add(relays.second, name), 201);
          await relays.untilBothHave(name);
          equal((await call(relays.first, "three")).status, 502);
        });
      }
      await relays.assertBack("before");
      await relays.assertServed();
      await relays.assertFewLines(0);
    },
  });
}
