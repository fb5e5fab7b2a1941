import assert from "node:assert/strict";
import type { Condition, KubeObject } from "../../lib/kube/objects.ts";
import { tunnelBindings, tunnels } from "../../lib/operator/api/crds.ts";
import { dnsEndpoints } from "../../lib/operator/dns/dns_endpoint.ts";
import { eventually } from "../support/deadline.ts";
import { failure } from "../support/fake_kube.ts";
import { Cluster, route } from "./harness.ts";

const dns = { provider: "ExternalDNS", target: "relay.example.com", ttl: 60 };

function endpoint(cluster: Cluster): KubeObject | undefined {
  return cluster.kube.read(dnsEndpoints, "apps", "culvert-shop");
}

/** External-dns has looked at the records. */
function observe(cluster: Cluster): void {
  const object = endpoint(cluster)!;
  const status = { observedGeneration: object.metadata.generation };
  cluster.kube.put(dnsEndpoints, { ...object, status });
}

Deno.test("hostnames become a DNSEndpoint that the binding owns, and DNSReady follows it", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ dns });
  cluster.putBinding("shop", [route("main", "shop.example.com"), route("all", "*.example.com")]);
  await using _ = cluster.start();
  await eventually(() => endpoint(cluster) !== undefined, "the DNSEndpoint");
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Pending");
  const { endpoints } = endpoint(cluster)!["spec"] as { endpoints: unknown[] };
  assert.deepEqual(
    endpoints,
    ["shop.example.com", "*.example.com"].map((dnsName) => (
      { dnsName, recordType: "CNAME", targets: ["relay.example.com"], recordTTL: 60 }
    )),
  );
  observe(cluster);
  await cluster.ready(tunnelBindings, "shop");
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await eventually(
    () => (endpoint(cluster)!["spec"] as { endpoints: unknown[] }).endpoints.length === 1,
    "one record",
  );
  cluster.putTunnel({ dns: { provider: "None" } });
  await eventually(() => endpoint(cluster) === undefined, "the DNSEndpoint to go");
  await cluster.ready(tunnelBindings, "shop");
});

Deno.test("an address as target makes A and AAAA records", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ dns: { ...dns, target: "192.0.2.7" } });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  const has = (recordType: string, target: string) => () => {
    const { endpoints = [] } = (endpoint(cluster)?.["spec"] ?? {}) as { endpoints?: unknown[] };
    const [first] = endpoints as { recordType?: string; targets?: string[] }[];
    return first?.recordType === recordType && first.targets?.join() === target;
  };
  await eventually(has("A", "192.0.2.7"), "an A record");
  cluster.putTunnel({ dns: { ...dns, target: "2001:DB8:0::7" } });
  await eventually(has("AAAA", "2001:db8::7"), "an AAAA record");
  cluster.putTunnel({ dns: { ...dns, target: "Relay.example.com." } });
  await eventually(has("CNAME", "relay.example.com"), "a CNAME record");
});

Deno.test("DNSReady waits for external-dns' condition Ready of this generation, where it has one", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ dns });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await eventually(() => endpoint(cluster) !== undefined, "the DNSEndpoint");
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Pending");
  const { generation = 1 } = endpoint(cluster)!.metadata;
  const say = (conditions: readonly Partial<Condition>[], of = generation) => {
    const told = conditions.map((it) => ({ message: "", ...it, observedGeneration: of }));
    const status = { observedGeneration: of, conditions: told };
    cluster.kube.put(dnsEndpoints, { ...endpoint(cluster)!, status });
  };
  const accepted = { type: "Accepted", status: "True", reason: "Accepted" } as const;
  const ready = { type: "Ready", status: "True", reason: "Programmed" } as const;
  say([accepted, { ...ready, status: "Unknown", reason: "DryRun", message: "dry run" }]);
  const verdict = await cluster.condition(tunnelBindings, "shop", "DNSReady", "DryRun");
  assert.deepEqual([verdict.status, verdict.message], ["Unknown", "external-dns: dry run"]);
  say([accepted]);
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Pending");
  say([accepted, ready]);
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "RecordsMade");
  say([{ ...accepted, status: "False", reason: "Invalid", message: "bad" }, ready]);
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Invalid");
  say([accepted, ready], generation - 1);
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Pending");
});

Deno.test("what external-dns refuses is the condition's reason", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ dns });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await eventually(() => endpoint(cluster) !== undefined, "the DNSEndpoint");
  cluster.kube.put(dnsEndpoints, {
    ...endpoint(cluster)!,
    status: {
      conditions: [{ type: "Ready", status: "False", reason: "ZoneMissing", message: "no zone" }],
    },
  });
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "ZoneMissing");
});

Deno.test("a cluster without the kind DNSEndpoint has a condition that says so; the rest works", async () => {
  const cluster = new Cluster();
  cluster.kube.intercept = ({ path }) =>
    path.includes("externaldns.k8s.io") ? failure(404, "NotFound", "no such kind") : undefined;
  cluster.putTunnel({ dns });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "CRDMissing");
  await cluster.condition(tunnelBindings, "shop", "Programmed", "Programmed");
});

Deno.test("a DNSEndpoint that has lost its label gets it back", async () => {
  const cluster = new Cluster();
  cluster.hasExternalDns = true;
  cluster.putTunnel({ dns: { provider: "ExternalDNS", target: "relay.example.net" } });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  const { labels, ...metadata } = endpoint(cluster)!.metadata;
  cluster.kube.put(dnsEndpoints, { ...endpoint(cluster)!, metadata: { ...metadata, labels: {} } });
  await eventually(
    () => JSON.stringify(endpoint(cluster)?.metadata.labels) === JSON.stringify(labels),
    "the label to return",
  );
  await cluster.ready(tunnelBindings, "shop");
});

Deno.test("somebody else's DNSEndpoint of the name stays as it is", async () => {
  const cluster = new Cluster();
  cluster.kube.put(dnsEndpoints, {
    metadata: { name: "culvert-shop", namespace: "apps" },
    spec: { endpoints: [] },
  });
  cluster.putTunnel({ dns });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.condition(tunnelBindings, "shop", "DNSReady", "Conflict");
  assert.deepEqual(endpoint(cluster)!["spec"], { endpoints: [] });
});

Deno.test("a Tunnel with deletionPolicy Retain leaves its bindings' services at the relay", async () => {
  const cluster = new Cluster();
  cluster.putTunnel({ deletionPolicy: "Retain" });
  cluster.putBinding("shop", [route("main", "shop.example.com")]);
  await using _ = cluster.start();
  await cluster.ready(tunnelBindings, "shop");
  cluster.kube.remove(tunnels, "apps", "home");
  await cluster.gone(tunnels, "home");
  await cluster.condition(tunnelBindings, "shop", "Accepted", "TunnelNotFound");
  assert.equal(cluster.relay.services.size, 1);
  assert.equal(cluster.relay.clusters.size, 1);
});
