import { deepEqual, equal } from "node:assert/strict";
import { Counter } from "../lib/counter.ts";

Deno.test("Counter counts each slot until it is released, once", () => {
  const counter = new Counter();
  const [first, second] = [counter.acquire(), counter.acquire()];
  for (let times = 0; times < 3; times++) first.release();
  equal(counter.count, 1);
  second.release();
  equal(counter.count, 0);
});

Deno.test("Counter has a slot back when its scope ends, however it does", () => {
  const counter = new Counter();
  try {
    using _slot = counter.acquire();
    equal(counter.count, 1);
    throw new Error("the work failed");
  } catch {
    equal(counter.count, 0);
  }
});

Deno.test("Counter says when the last slot is back", () => {
  const seen: string[] = [];
  const counter = new Counter(() => seen.push("empty"));
  const slots = [counter.acquire(), counter.acquire()];
  for (const slot of slots) slot.release();
  counter.acquire().release();
  deepEqual(seen, ["empty", "empty"]);
});
