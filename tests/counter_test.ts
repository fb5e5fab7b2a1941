import { deepEqual, equal } from "node:assert/strict";
import { Counter } from "../lib/counter.ts";

Deno.test("Counter counts each place until it is released, once", () => {
  const counter = new Counter();
  const [first, second] = [counter.take(), counter.take()];
  for (let times = 0; times < 3; times++) first.release();
  equal(counter.count, 1);
  second.release();
  equal(counter.count, 0);
});

Deno.test("Counter has a place back when its scope ends, however it does", () => {
  const counter = new Counter();
  try {
    using _place = counter.take();
    equal(counter.count, 1);
    throw new Error("the work failed");
  } catch {
    equal(counter.count, 0);
  }
});

Deno.test("Counter says when the last place is back", () => {
  const seen: string[] = [];
  const counter = new Counter(() => seen.push("empty"));
  const places = [counter.take(), counter.take()];
  for (const place of places) place.release();
  counter.take().release();
  deepEqual(seen, ["empty", "empty"]);
});
