import { equal } from "node:assert/strict";
import { ConnectionLimit } from "../../lib/net/connection_limit.ts";

Deno.test("ConnectionLimit counts what is open, in all and of each address that is nobody yet", () => {
  const limit = new ConnectionLimit({ max: 4, maxPerAddress: 2 });
  equal(limit.add("a1", "10.0.0.1"), undefined);
  equal(limit.add("a2", "10.0.0.1"), undefined);
  equal(limit.add("a3", "10.0.0.1"), "max-connections-per-address");
  limit.trust("a1");
  limit.trust("a1");
  equal(limit.add("a4", "10.0.0.1"), undefined);
  equal(limit.add("a5", "10.0.0.1"), "max-connections-per-address");
  equal(limit.add("b1", "10.0.0.2"), undefined);
  equal(limit.size, 4);
  equal(limit.add("c1", "10.0.0.3"), "max-connections");
  for (const key of ["a1", "a2", "a4", "b1", "b1"]) limit.remove(key);
  equal(limit.size, 0);
  equal(limit.add("a6", "10.0.0.1"), undefined);
  equal(limit.add("a7", "10.0.0.1"), undefined);
});

Deno.test("ConnectionLimit takes a network of IPv6 for one address, and 0 for no limit", () => {
  const limit = new ConnectionLimit({ max: 0, maxPerAddress: 1 });
  equal(limit.add("a", "2001:db8:0:1::1"), undefined);
  equal(limit.add("b", "2001:db8::1:0:0:0:2"), "max-connections-per-address");
  equal(limit.add("c", "2001:db8:0:2::1"), undefined);
  const none = new ConnectionLimit({ max: 0, maxPerAddress: 0 });
  for (let count = 0; count < 100; count++) equal(none.add(`${count}`, "10.0.0.1"), undefined);
});

Deno.test("ConnectionLimit forgets connections without an address that share a key, each of them", () => {
  const limit = new ConnectionLimit({ max: 10, maxPerAddress: 2 });
  const key = "undefined undefined undefined undefined";
  for (let round = 0; round < 100; round++) {
    equal(limit.add(key, ""), undefined, `round ${round}`);
    equal(limit.add(key, ""), undefined, `round ${round}`);
    equal(limit.add(key, ""), "max-connections-per-address");
    limit.remove(key);
    limit.remove(key);
    limit.remove(key);
  }
  equal(limit.size, 0);
  equal(limit.networks, 0);
});
