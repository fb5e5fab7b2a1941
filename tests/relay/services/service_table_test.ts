import assert from "node:assert/strict";
import type { ClusterEntry } from "../../../lib/domain/cluster.ts";
import type { Service } from "../../../lib/domain/service.ts";
import { judgeClaims } from "../../../lib/relay/services/claims.ts";
import { ServiceTable } from "../../../lib/relay/services/service_table.ts";
import { Services } from "../../../lib/relay/services/services.ts";
import type { ServiceAuthorizer } from "../../../lib/relay/services/service_authorizer.ts";
import { readServices } from "../../../lib/config/entries/services.ts";
import { readClusters } from "../../../lib/config/entries/clusters.ts";

/** Nobody asks it here. */
const noGate: ServiceAuthorizer = {
  wouldIdentify: () => {
    throw new Error("nobody asks");
  },
  identify: () => {
    throw new Error("Nobody was to be identified");
  },
};

/** Services by name, with their hostnames. */
function servicesOf(names: Readonly<Record<string, readonly string[]>>): readonly Service[] {
  const services = Object.entries(names).map(([name, hostnames]) => ({
    name,
    hostnames,
    cluster: "dev",
    target: "t",
    policy: "public",
  }));
  const text = JSON.stringify({ services });
  return readServices([{ text, source: "Test" }], { ownNames: [], hasJwtIssuer: false }).services;
}

/** A cluster whose agents may claim hostnames. */
function claiming(...hostnames: string[]): readonly ClusterEntry[] {
  const entry = { id: "claims", token: "claims-token-0123456789", hostnames, policy: "public" };
  return readClusters(JSON.stringify([entry]), "Test").clusters;
}

Deno.test("ServiceTable: an exact name wins over a wildcard, and both over claims", () => {
  const services = servicesOf({ exact: ["a.test"], wild: ["*.test"], deep: ["*.b.test"] });
  const table = new ServiceTable(services, claiming("a.test", "c.test", "*.other", "x.other"));
  const found = (host: string) => {
    const it = table.find(host);
    return it && `${it.service.name} ${it.claim}`;
  };
  assert.equal(found("a.test"), "exact none");
  assert.equal(found("b.test"), "wild none");
  // Agents must not take a name from under a service's wildcard.
  assert.equal(found("c.test"), "wild none");
  assert.equal(found("a.b.test"), "deep none");
  assert.equal(found("a.b.b.test"), undefined);
  assert.equal(found("test"), undefined);
  assert.equal(found("x.other"), "claims exact");
  assert.equal(found("y.other"), "claims wildcard");
  assert.equal(found("other"), undefined);
});

Deno.test("ServiceTable: a route has what the entry says, and the path as it came", () => {
  const table = new ServiceTable(servicesOf({ one: ["one.test"] }), claiming("*.team"));
  const { service: _service, ...route } = table.route("one.test", "/a//b?c")!;
  assert.deepEqual(route, {
    kind: "service",
    cluster: "dev",
    path: "/a//b?c",
    name: "one",
    hostname: "one.test",
    target: "t",
    transport: "http",
    rules: { host: "public", authorization: "app", impersonation: "refuse" },
    isOpenWildcard: false,
  });
  const claimed = table.route("a.team", "/")!;
  assert.deepEqual([claimed.target, claimed.isOpenWildcard], [undefined, true]);
});

Deno.test("judgeClaims gives agents what their entry lists", () => {
  const claimable = claiming("a.test", "*.team")[0]!.claims;
  const claimed = ["a.test", "b.test", "x.team", "x.y.team", "team"].map((hostname) => ({
    hostname,
    target: `t-${hostname}`,
  }));
  const { claims, refused } = judgeClaims(claimed, claimable);
  assert.deepEqual([...claims], [["a.test", "t-a.test"], ["x.team", "t-x.team"]]);
  assert.deepEqual(refused, ["b.test", "x.y.team", "team"]);
  assert.equal(judgeClaims(claimed, undefined).refused.length, 5);
});

Deno.test("Services ends what is open of a service, or under a hostname, that is gone", () => {
  const before = new ServiceTable(servicesOf({ a: ["a.test", "aa.test"], b: ["b.test"] }), []);
  const services = new Services(before, noGate);
  const ended: string[] = [];
  for (const host of ["a.test", "aa.test", "b.test"]) {
    services.began({
      route: before.route(host, "/")!,
      revoke: (code) => void ended.push(`${host} ${code}`),
    });
  }
  services.replace(new ServiceTable(servicesOf({ a: ["a.test"], c: ["b.test"] }), []));
  assert.deepEqual(ended, ["aa.test service_removed", "b.test service_removed"]);
});
