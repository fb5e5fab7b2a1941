/** Users that may do what the documentation says relays need, and nothing else. */
import { equal, match, ok } from "node:assert/strict";
import { freePort } from "../support/free_port.ts";
import { hasRedis } from "../support/redis.ts";
import { Relays } from "./relays.ts";
import { Server } from "./server.ts";
import { sessionRecord, SessionsOfRelay } from "./sessions.ts";

const page = await Deno.readTextFile(
  new URL("../../docs/high-availability.md", import.meta.url),
);
/** The commands of the page, as words. */
const [forData, forSentinels] = [...page.matchAll(/^ACL SETUSER relay .*$/gm)].map(([line]) =>
  line.replace(">PASSWORD", ">secret").split(" ")
);
const program = "redis-server";

Deno.test({
  name: "the documented access list is enough for relays, their admin API and people's sessions",
  ignore: !hasRedis,
  async fn() {
    const cluster = ["--cluster-enabled", "yes", "--cluster-port", `${freePort()}`];
    const announced = ["--cluster-announce-ip", "127.0.0.1"];
    await using node = await Server.start({ program, args: [...cluster, ...announced] });
    await node.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
    equal(await node.ask(...forData!), "+OK");
    equal(await node.ask("ACL", "SETUSER", "default", "-@all", "+ping"), "+OK");
    const url = `redis+cluster://relay:secret@${node.address}`;
    {
      await using relays = await Relays.start(url);
      equal(await relays.add(relays.first, "dev"), 201);
      await relays.untilBothHave("dev");
      await relays.assertServed();
      for (const line of await relays.first.completeLog()) {
        ok(!JSON.stringify(line).includes("NOPERM"), JSON.stringify(line));
      }
    }
    await using people = await SessionsOfRelay.start(url);
    const { sessions } = people;
    await sessions.put(sessionRecord("s-1"));
    sessions.seen("s-1", Date.now(), "app.example.com");
    equal((await sessions.list({ user: "s-1" })).sessions.length, 1);
    ok(await sessions.useOnce("code", Date.now() + 60_000));
    const { issuer, subject } = sessionRecord("s-1");
    equal(await sessions.endOf({ issuer, subject, issuedMs: Date.now() }), 1);
    await sessions.poll();
  },
});

Deno.test({
  name: "the documented access list for Sentinels is enough to find the primary",
  ignore: !hasRedis,
  async fn() {
    await using primary = await Server.start({ program });
    equal(await primary.ask(...forData!), "+OK");
    const config = [`sentinel monitor main 127.0.0.1 ${primary.port} 1`];
    await using sentinel = await Server.start({ program, mode: "--sentinel", config });
    equal(await sentinel.ask(...forSentinels!), "+OK");
    equal(await sentinel.ask("ACL", "SETUSER", "default", "-@all", "+ping"), "+OK");
    const login = "?sentinel-user=relay&sentinel-password=secret";
    await using people = await SessionsOfRelay.start(
      `redis+sentinel://relay:secret@${sentinel.address}/main${login}`,
    );
    await people.sessions.put(sessionRecord("s-1"));
    match(await sentinel.ask("SENTINEL", "MASTER", "main"), /^-NOPERM/);
  },
});
