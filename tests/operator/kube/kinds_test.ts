/** What the operator's kinds let through and refuse, by the word of a real API server. */
import assert from "node:assert/strict";
import { namespaces } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import { namespace, OperatorWorld, patienceMs } from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

const objects: Record<string, [(world: OperatorWorld) => unknown, RegExp]> = {
  "two registrations": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: { relay: Record<string, unknown> } };
      const registration = { ...spec.relay.registration as object, secret: { name: "entry" } };
      return tunnelOf({ ...spec, relay: { ...spec.relay, registration } });
    },
    /exactly one of api, secret and existing/,
  ],
  "no registration": [
    () => tunnelOf({ relay: { url: "wss://relay.test/connect", registration: {} } }),
    /exactly one of api, secret and existing/,
  ],
  "a relay without TLS": [
    () =>
      tunnelOf({
        relay: { url: "ws://relay.test/connect", registration: { secret: { name: "x" } } },
      }),
    /must begin with wss:\/\/, or relay.allowInsecure must be true/,
  ],
  "an API without TLS": [
    () =>
      tunnelOf({
        relay: {
          url: "wss://relay.test/connect",
          registration: { api: { endpoint: "http://relay.test", tokenRef: { name: "x" } } },
        },
      }),
    /endpoint must begin with https:\/\//,
  ],
  "a client certificate without TLS": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: { relay: object } };
      return tunnelOf({ ...spec, relay: { ...spec.relay, clientCertRef: { name: "tls" } } });
    },
    /relay.clientCertRef needs a relay.url that begins with wss:\/\//,
  ],
  "a relay URL without a host": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: { relay: object } };
      return tunnelOf({ ...spec, relay: { ...spec.relay, url: "wss://[" } });
    },
    /relay\.url must have a host, and a port up to 65535/,
  ],
  "a relay URL whose port is none": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: { relay: object } };
      const url = "wss://relay.example.com:99999/connect";
      return tunnelOf({ ...spec, relay: { ...spec.relay, url } });
    },
    /relay\.url must have a host, and a port up to 65535/,
  ],
  "an endpoint whose port is none": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: { relay: Record<string, unknown> } };
      const { api } = spec.relay["registration"] as { api: object };
      const registration = { api: { ...api, endpoint: "https://relay.example.com:65536" } };
      return tunnelOf({ ...spec, relay: { ...spec.relay, registration } });
    },
    /endpoint must have a host, and a port up to 65535/,
  ],
  "a client certificate for an API without TLS": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: { relay: Record<string, unknown> } };
      const { api } = spec.relay["registration"] as { api: object };
      const registration = { api: { ...api, clientCertRef: { name: "tls" } } };
      return tunnelOf({ ...spec, relay: { ...spec.relay, registration } });
    },
    /clientCertRef needs an endpoint that begins with https:\/\//,
  ],
  "an API server that nobody may use": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: object };
      return tunnelOf({ ...spec, kubernetesApi: {} });
    },
    /kubernetesApi must have serviceAccountName, clusterRole, or both/,
  ],
  "a selector without its mode": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: object };
      return tunnelOf({ ...spec, allowedBindings: { selector: { matchLabels: { a: "b" } } } });
    },
    /selector belongs to namespaces: Selector/,
  ],
  "a policy that binds nobody": [
    (world) => {
      const { spec } = world.tunnel() as unknown as { spec: object };
      return tunnelOf({ ...spec, agent: { hostNetwork: true, networkPolicy: { enabled: true } } });
    },
    /networkPolicy has no effect on agents with hostNetwork/,
  ],
  "a name that is too long": [
    (world) => ({
      ...tunnelOf(world.tunnel()["spec"]),
      metadata: { name: "x".repeat(51), namespace },
    }),
    /at most 50 characters/,
  ],
  "TLS on a route without it": [
    () => bindingOf({ tls: { serverName: "x" } }),
    /tls belongs to protocol: https/,
  ],
  "headers on TCP": [
    () => bindingOf({ protocol: "tcp", responseHeaders: { remove: ["Server"] } }),
    /have no use for protocol: tcp/,
  ],
  "a path without a slash": [
    () => bindingOf({ path: { value: "api" } }),
    /path\.value must begin with "\/"/,
  ],
  "a path with a query": [
    () => bindingOf({ path: { value: "/api?x=1" } }),
    /path\.value must be a path as URLs have it, without "\?", "#" and ";"/,
  ],
  "a path that leads upwards": [
    () => bindingOf({ path: { value: "/api/../admin" } }),
    /path\.value must have no empty segment, no segment "\." or "\.\."/,
  ],
  "a path that is encoded twice": [
    () => bindingOf({ path: { value: "/a%252Fb" } }),
    /path\.value must have no empty segment/,
  ],
  "a path with a letter that is encoded": [
    () => bindingOf({ path: { value: "/%61pi" } }),
    /path\.value must have letters, digits, "-", "_" and "~" as they are, not percent-encoded/,
  ],
  "a path that is too long": [
    () => bindingOf({ path: { value: `/${"x".repeat(1_024)}` } }),
    /may not be (?:longer|more) than 1024/i,
  ],
  "a path of another type": [
    () => bindingOf({ path: { type: "RegularExpression", value: "/" } }),
    /supported values: "Prefix", "Exact"/,
  ],
  "a path on TCP": [
    () => bindingOf({ protocol: "tcp", path: { value: "/api" } }),
    /path needs protocol http or https/,
  ],
  "a hostname that is none": [() => bindingOf({ hostnames: ["not a name"] }), /should match/],
  "a digest and a reference for one token": [
    () => policyOf({ token: "ci", tokenRef: { name: "ci" }, tokenSha256: "0a".repeat(32) }),
    /a rule has one of tokenSha256 and tokenRef/,
  ],
  "a token without a name for logs": [
    () => policyOf({ address: "10.0.0.0/8", tokenRef: { name: "ci" } }),
    /tokenRef needs token, which names it in logs/,
  ],
  "a token in another namespace": [
    () => policyOf({ token: "ci", tokenRef: { name: "ci", namespace: "infra" } }),
    /strict decoding error|unknown field/,
  ],
  "a URL as backend": [
    () => bindingOf({ backend: { url: "http://10.0.0.1" } }),
    /backend.service|strict decoding error|unknown field/,
  ],
};

function tunnelOf(spec: unknown): Record<string, unknown> {
  return {
    apiVersion: "culvert.dev/v1alpha1",
    kind: "Tunnel",
    metadata: { name: "bad", namespace },
    spec,
  };
}

function bindingOf(route: Record<string, unknown>): Record<string, unknown> {
  return {
    apiVersion: "culvert.dev/v1alpha1",
    kind: "TunnelBinding",
    metadata: { name: "bad", namespace },
    spec: {
      tunnelRef: { name: "main" },
      routes: [{
        name: "main",
        hostnames: ["a.example.com"],
        backend: { service: { name: "web", port: 80 } },
        ...route,
      }],
    },
  };
}

function policyOf(rule: Record<string, unknown>): Record<string, unknown> {
  return {
    apiVersion: "culvert.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name: "bad", namespace },
    spec: { targetRefs: [{ name: "shop" }], any: [rule] },
  };
}

/** With the chart's policy, the API server itself keeps a namespace to its hostnames. */
async function refusesForeignHostnames(world: OperatorWorld): Promise<void> {
  const chart = await world.helm("culvert-operator", ["--set", "hostnamePolicy.enabled=true"]);
  const policy = chart.split(/^---$/m).filter((text) => /^kind: ValidatingAdmission/m.test(text));
  await world.apply(policy.join("---\n"));
  await world.client.merge(namespaces, { name: namespace }, {
    metadata: { annotations: { "culvert.dev/hostnames": "*.shop.example.com, example.org" } },
  });
  const said = (hostnames: string[]) => world.tryApply(bindingOf({ hostnames }));
  let last = "";
  await eventually(
    async () =>
      /must be one of \*\.shop\.example\.com, example\.org/.test(
        last = await said(["example.org", "shop.example.com"]),
      ),
    () => `a refusal of the hostname; the API server said "${last}"`,
    patienceMs,
  );
  assert.equal(await said(["example.org", "web.shop.example.com"]), "");
}

async function takesTargetsOfRecords(world: OperatorWorld): Promise<void> {
  const said = (target: string) =>
    world.tryApply({
      ...{ apiVersion: "culvert.dev/v1alpha1", kind: "Tunnel" },
      ...world.tunnel({ dns: { provider: "ExternalDNS", target } }),
    });
  for (const target of ["relay.example.com.", "relay", "192.0.2.7", "2001:db8::7", "a.1b"]) {
    assert.equal(await said(target), "", target);
  }
  for (const target of ["300.1.1.1", "1.2.3", "a..b", ".", "-", "zz::1"]) {
    const expected = /dns.target must be a hostname, an IPv4 or an IPv6 address/;
    assert.match(await said(target), expected, target);
  }
}

kubeTest("the API server refuses what an object shows to be wrong", async (kube) => {
  await using world = await OperatorWorld.start(kube);
  await takesTargetsOfRecords(world);
  for (const [name, [make, message]] of Object.entries(objects)) {
    assert.match(await world.tryApply(make(world)), message, name);
  }
  await world.putTunnel({ id: "one" });
  await assert.rejects(world.putTunnel({ id: "two" }), /id is immutable/);
  await refusesForeignHostnames(world);
});
