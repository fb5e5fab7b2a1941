import assert from "node:assert/strict";
import type { LimitValues } from "../../../lib/domain/limits.ts";
import { Limits, noLimits as none, type Permit } from "../../../lib/relay/limits/limits.ts";

/** Limits whose clock the test moves. */
class Setup {
  nowMs = 1_000;
  readonly limits: Limits;

  constructor(relay: Partial<LimitValues>, cluster: Partial<LimitValues> = {}) {
    const nowMs = () => this.nowMs;
    this.limits = new Limits({ ...none, ...relay }, { ...none, ...cluster }, nowMs);
  }

  /** The code of the refusal, or the admission. */
  ask(id: string | undefined, own?: Partial<LimitValues>): Permit | string {
    this.limits.useClusters([
      ...["a", "b", "c"].filter((other) => other !== id).map((other) => ({ id: other })),
      ...(id === undefined ? [] : [{ id, limits: own }]),
    ]);
    const result = this.limits.permit({ cluster: id ?? "unknown" });
    return "status" in result ? result.code : result;
  }

  admit(id: string, own?: Partial<LimitValues>): Permit {
    const result = this.ask(id, own);
    assert.ok(typeof result === "object", `${id} is refused: ${result}`);
    return result;
  }

  /** What so many requests of a cluster get. */
  codes(id: string | undefined, count: number): string[] {
    return Array.from({ length: count }, () => {
      const result = this.ask(id);
      return typeof result === "string" ? result : "ok";
    });
  }
}

Deno.test("Limits without values let everything in", () => {
  const setup = new Setup({});
  assert.deepEqual(new Set(setup.codes("a", 1_000)), new Set(["ok"]));
  assert.deepEqual(setup.admit("a").bandwidths, []);
});

Deno.test("Limits count what is open until it is over, for each cluster and for all", () => {
  const setup = new Setup({ openRequests: 3 }, { openRequests: 2 });
  const first = setup.admit("a");
  setup.admit("a");
  assert.equal(setup.ask("a"), "cluster_max_requests");
  setup.admit("b");
  assert.equal(setup.ask("b"), "max_requests");
  assert.equal(setup.ask("a"), "cluster_max_requests");
  first.release();
  setup.admit("a");
  assert.equal(setup.ask("b"), "max_requests");
});

Deno.test("Limits on requests a second: one cluster's storm costs the others nothing", () => {
  const setup = new Setup({ requestsPerSecond: 10 }, { requestsPerSecond: 4 });
  const storm = setup.codes("a", 1_000);
  assert.deepEqual(storm.slice(0, 4), ["ok", "ok", "ok", "ok"]);
  assert.deepEqual(new Set(storm.slice(4)), new Set(["cluster_rate_limit"]));
  assert.deepEqual(setup.codes("b", 4), ["ok", "ok", "ok", "ok"]);
  assert.deepEqual(setup.codes("c", 3), ["ok", "ok", "rate_limit"]);
});

Deno.test("Limits count requests for clusters that nobody serves, at the relay alone", () => {
  const setup = new Setup({ requestsPerSecond: 2 }, { requestsPerSecond: 1 });
  assert.deepEqual(setup.codes(undefined, 3), ["ok", "ok", "rate_limit"]);
});

Deno.test("Limits say when to try again", () => {
  const setup = new Setup({}, { requestsPerSecond: 0.2 });
  setup.admit("a");
  setup.nowMs += 1_500;
  const refusal = setup.limits.permit({ cluster: "a" });
  assert.ok("status" in refusal);
  assert.deepEqual([refusal.status, refusal.retryAfterSeconds], [429, 4]);
});

Deno.test("Limits on bytes a second refuse new requests only far over the rate", () => {
  const setup = new Setup({}, { bytesPerSecond: 1_000 });
  const [bandwidth] = setup.admit("a").bandwidths;
  let resumed = 0;
  const resume = () => resumed++;
  assert.equal(bandwidth!.pass(3_000, resume), false);
  setup.admit("a");
  assert.equal(bandwidth!.pass(1, resume), false);
  assert.equal(setup.ask("a"), "cluster_bandwidth");
  setup.admit("b");
  setup.nowMs += 5_000;
  setup.admit("a");
  bandwidth!.check();
  assert.equal(resumed, 2);
});

Deno.test("Limits of a cluster's own replace the defaults, one by one", () => {
  const setup = new Setup({}, { openRequests: 1, requestsPerSecond: 100 });
  setup.admit("a", { openRequests: 2 });
  setup.admit("a", { openRequests: 2 });
  assert.equal(setup.ask("a", { openRequests: 2 }), "cluster_max_requests");
  setup.admit("a", { openRequests: 0 });
});

Deno.test("Limits forget the clusters that are no more", () => {
  const setup = new Setup({}, { openRequests: 1 });
  setup.admit("a");
  setup.admit("b");
  setup.limits.useClusters([{ id: "b" }]);
  setup.admit("a");
  assert.equal(setup.ask("b"), "cluster_max_requests");
});

Deno.test("Limits that change go on counting what is open", () => {
  const setup = new Setup({}, {});
  const first = setup.admit("a", { openRequests: 1 });
  assert.equal(setup.ask("a", { openRequests: 1, requestsPerSecond: 5 }), "cluster_max_requests");
  first.release();
  setup.admit("a", { openRequests: 1, requestsPerSecond: 5 });
});

Deno.test("Limits: a service has bounds of its own, besides those of its cluster", () => {
  const setup = new Setup({}, { openRequests: 3 });
  setup.limits.useClusters([{ id: "a" }]);
  setup.limits.useServices([{ name: "s", limits: { openRequests: 1 } }, { name: "free" }]);
  const code = (service?: string) => {
    const result = setup.limits.permit({ cluster: "a", service });
    return "status" in result ? result.code : "ok";
  };
  assert.deepEqual([code("s"), code("s"), code("free"), code()], [
    "ok",
    "service_max_requests",
    "ok",
    "ok",
  ]);
  // The cluster's three are used up, whoever asks.
  assert.deepEqual([code("free"), code()], ["cluster_max_requests", "cluster_max_requests"]);
});
