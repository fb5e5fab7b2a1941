import { deepEqual, equal } from "node:assert/strict";
import type { RequestStatus } from "../../../lib/domain/status.ts";
import type { Service } from "../../../lib/domain/service.ts";
import { RecentRequests } from "../../../lib/relay/status/recent_requests.ts";

function request(atMs: number): RequestStatus {
  return {
    ...{ relay: "r", atMs, requestId: `r-${atMs}`, cluster: "dev", method: "GET" },
    ...{ path: "/", status: 200, ms: 1, bytes: 0 },
  };
}

function service(name: string, recentRequests?: number): Service {
  return { name, ...recentRequests !== undefined && { recentRequests } } as Service;
}

const times = (recent: RecentRequests) => recent.all.map(({ atMs }) => atMs);

Deno.test("the latest requests are kept of services that ask for it, and of no others", () => {
  const recent = new RecentRequests();
  recent.useServices([service("app", 3), service("none", 0), service("unsaid")]);
  for (const name of ["app", "none", "unsaid", "other"]) recent.add(name, request(1));
  deepEqual(times(recent), [1]);
  equal(recent.keeps("none"), false);
  for (const at of [2, 3, 4, 5]) recent.add("app", request(at));
  deepEqual(times(recent), [5, 4, 3]);
});

Deno.test("the latest requests of several services are in one order", () => {
  const recent = new RecentRequests();
  recent.useServices([service("app", 2), service("other", 2)]);
  for (const at of [1, 3, 5]) recent.add("app", request(at));
  for (const at of [2, 4]) recent.add("other", request(at));
  deepEqual(times(recent), [5, 4, 3, 2]);
});

Deno.test("another number keeps the newest requests, and none lets go of them", () => {
  const recent = new RecentRequests();
  recent.useServices([service("app", 4)]);
  for (const at of [1, 2, 3, 4, 5, 6]) recent.add("app", request(at));
  recent.useServices([service("app", 2)]);
  deepEqual(times(recent), [6, 5]);
  recent.add("app", request(7));
  deepEqual(times(recent), [7, 6]);
  recent.useServices([service("app", 3)]);
  recent.add("app", request(8));
  deepEqual(times(recent), [8, 7, 6]);
  recent.useServices([]);
  deepEqual(times(recent), []);
});
