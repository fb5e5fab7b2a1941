import assert from "node:assert/strict";
import { ResponseTimeouts } from "../../../lib/relay/limits/response_timeouts.ts";

Deno.test("ResponseTimeouts finds a cluster's own deadlines, else the relay's", () => {
  const timeouts = new ResponseTimeouts(1_000);
  const ofRelay = timeouts.of("a");
  timeouts.useClusters([
    { id: "a", responseTimeoutMs: 5_000 },
    { id: "b" },
    { id: "c", responseTimeoutMs: 5_000 },
    { id: "d", responseTimeoutMs: 0 },
  ]);
  const ofA = timeouts.of("a");
  assert.notEqual(ofA, ofRelay);
  assert.equal(timeouts.of("c"), ofA);
  assert.equal(timeouts.of("b"), ofRelay);
  assert.equal(timeouts.of("unknown"), ofRelay);
  assert.equal(timeouts.of("d").begin(() => {}), undefined, "no limit");
  timeouts.useClusters([{ id: "b", responseTimeoutMs: 5_000 }]);
  assert.equal(timeouts.of("a"), ofRelay);
  assert.equal(timeouts.of("b"), ofA, "deadlines outlive a reload");
});
