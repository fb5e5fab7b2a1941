/** Relays whose Redis is a primary that Sentinels watch, when it is killed and when it freezes. */
import { equal, notEqual } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { Relays } from "./relays.ts";
import { Sentinels } from "./sentinels.ts";
import { infoOf, servers } from "./server.ts";

for (const program of servers) {
  const name = program.split("/").at(-1);

  Deno.test({
    name:
      `${name}: a primary that is killed costs look-ups until Sentinel has replaced it, nothing more`,
    async fn() {
      await using store = await Sentinels.start(program);
      await using relays = await Relays.start(store.url);
      equal(await relays.add(relays.first, "before"), 201);
      const before = await store.primary();
      await before.kill();
      await relays.assertAway();

      await store.allowFailover();
      await relays.assertBack("before");
      notEqual(await store.primary(), before);
      await relays.assertServed();
      await relays.assertFewLines(8);
    },
  });

  Deno.test({
    name: `${name}: a primary that froze and comes back as a replica has changed nothing`,
    async fn() {
      await using store = await Sentinels.start(program);
      await using relays = await Relays.start(store.url);
      equal(await relays.add(relays.first, "before"), 201);
      const before = await store.primary();
      before.freeze();
      try {
        await relays.assertAway();
        await store.allowFailover();
        await relays.assertBack("before");
      } finally {
        before.thaw();
      }
      await eventually(
        async () => infoOf(await before.askOnce("INFO", "replication"), "role") === "slave",
        "the old primary to be a replica",
        60_000,
      );
      equal(await relays.add(relays.first, "last"), 201);
      await relays.untilBothHave("last");
      await relays.untilBothHave("later");
      await relays.assertServed();
    },
  });
}
