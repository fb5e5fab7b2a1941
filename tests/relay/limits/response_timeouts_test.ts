import assert from "node:assert/strict";
import type { ServiceRoute } from "../../../lib/relay/route.ts";
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

Deno.test("ResponseTimeouts: a service's timeout replaces its cluster's", () => {
  const timeouts = new ResponseTimeouts(1_000);
  timeouts.useClusters([{ id: "a", responseTimeoutMs: 2_000 }]);
  const route = (service: object | undefined) =>
    timeouts.ofRoute({ kind: "service", cluster: "a", service } as unknown as ServiceRoute);
  assert.equal(route({ responseTimeoutMs: 3_000 }), route({ responseTimeoutMs: 3_000 }));
  assert.notEqual(route({ responseTimeoutMs: 3_000 }), timeouts.of("a"));
  assert.equal(route({}), timeouts.of("a"));
  assert.equal(timeouts.ofRoute({ kind: "cluster", cluster: "a", path: "/" }), timeouts.of("a"));
  // Another relay has let it in, and waits for its answer.
  assert.equal(route(undefined).begin(() => {}), undefined);
});
