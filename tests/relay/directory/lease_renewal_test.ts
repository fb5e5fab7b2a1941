import { deepEqual, equal } from "node:assert/strict";
import { LeaseRenewal } from "../../../lib/relay/directory/lease_renewal.ts";

function leases(count: number): Map<number, number> {
  return new Map(Array.from({ length: count }, (_, at) => [at, at]));
}

Deno.test("LeaseRenewal has every lease renewed once in the time, a share with each heartbeat", () => {
  const renewal = new LeaseRenewal<number>({ heartbeatMs: 1_000, renewalMs: 10_000 });
  const all = leases(95);
  const round = Array.from({ length: 10 }, () => renewal.due(all));
  deepEqual(round.map(({ length }) => length), [10, 10, 10, 10, 10, 10, 10, 10, 10, 5]);
  deepEqual(round.flat(), [...all.values()]);
  deepEqual(renewal.due(all), round[0], "and goes round again");
});

Deno.test("LeaseRenewal passes leases that have gone, and takes those that have come", () => {
  const renewal = new LeaseRenewal<number>({ heartbeatMs: 1_000, renewalMs: 2_000 });
  const all = leases(4);
  deepEqual(renewal.due(all), [0, 1]);
  all.delete(2);
  all.set(9, 9);
  deepEqual(renewal.due(all), [3, 9]);
  equal(renewal.due(new Map()).length, 0);
});
