import { equal, ok } from "node:assert/strict";
import { Peers } from "../../../lib/relay/hop/peers.ts";
import { memorySockets } from "../../support/memory_socket.ts";

const holder = (relay: string) => ({ relay, url: `http://${relay}.example:8081` });

Deno.test("Peers keeps nothing of relays that came, went and are not used any more", () => {
  let nowMs = 0;
  const peers = new Peers(() => Promise.reject(new Error("It is gone")), () => nowMs);
  for (let number = 0; number < 100; number++) {
    peers.pool(holder(`left-${number}`));
    peers.suspect(`lost-${number}`);
    nowMs += 10_000;
  }
  ok(peers.size <= 2, `${peers.size} are remembered`);
  peers.close();
});

Deno.test("Peers keeps the idle connections of a relay when another comes", async () => {
  const [socket] = memorySockets({});
  const peers = new Peers(() => Promise.resolve(socket));
  const pool = peers.pool(holder("one"));
  pool.putBack(await pool.dial(new AbortController().signal));
  peers.pool(holder("two"));
  equal(peers.pool(holder("one")), pool);
  equal(socket.destroyed, false);
  peers.close();
  equal(socket.destroyed, true);
});
