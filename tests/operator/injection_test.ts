/** What a pod gets from its Tunnel, and how the webhook answers; without a cluster. */
import assert from "node:assert/strict";
import type { KubeObject } from "../../lib/kube/objects.ts";
import {
  type AdmissionParts,
  type AdmissionReply,
  maxReviewBytes,
  replyTo,
} from "../../lib/operator/injection/admission.ts";
import type { Operation } from "../../lib/operator/injection/inject.ts";
import { tunnelSpec } from "./harness.ts";

const image = "culvert-agent:test";

interface Asked {
  readonly labels?: Record<string, string>;
  readonly annotations?: Record<string, string>;
  readonly spec?: Record<string, unknown>;
  readonly operation?: string;
  readonly request?: Record<string, unknown>;
}

function review(
  { labels = { "culvert.dev/inject": "home" }, annotations = {}, spec = {}, ...asked }: Asked = {},
): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: "review-1",
      namespace: "apps",
      operation: asked.operation ?? "CREATE",
      resource: { group: "", version: "v1", resource: "pods" },
      object: {
        metadata: { generateName: "web-", labels, annotations },
        spec: { containers: [{ name: "app" }], ...spec },
      },
      ...asked.request,
    },
  }));
}

/** A webhook of a cluster with one Tunnel. */
class Webhook {
  readonly results: string[] = [];
  readonly parts: AdmissionParts;

  constructor(
    { spec = {}, isNative = true, deletionTimestamp }: {
      spec?: Record<string, unknown>;
      isNative?: boolean;
      deletionTimestamp?: string;
    } = {},
  ) {
    const metadata = {
      name: "home",
      namespace: "apps",
      ...deletionTimestamp && { deletionTimestamp },
    };
    const tunnel = { metadata, spec: tunnelSpec(spec) };
    this.parts = {
      tunnel: (namespace, name) =>
        Promise.resolve(namespace === "apps" && name === "home" ? tunnel : undefined),
      isNative: () => isNative,
      agentImage: image,
      answered: (result) => this.results.push(result),
    };
  }

  async answer(asked?: Asked): Promise<Answer> {
    const { status, body } = await replyTo(review(asked), this.parts);
    assert.equal(status, 200, String(body));
    const { response } = body as { response: Response };
    const patch = response.patch === undefined ? [] : JSON.parse(atob(response.patch));
    return { ...response, operations: patch };
  }

  /** The container that a pod gets. */
  async container(asked?: Asked): Promise<Container> {
    const { operations } = await this.answer(asked);
    const value = operations.find(({ path }) => /\/(initContainers|containers)/.test(path))?.value;
    return (Array.isArray(value) ? value[0] : value) as Container;
  }

  async refusal(asked: Asked): Promise<string> {
    const { allowed, status } = await this.answer(asked);
    assert.equal(allowed, false);
    return status?.message ?? "";
  }
}

interface Response {
  readonly uid: string;
  readonly allowed: boolean;
  readonly patch?: string;
  readonly status?: { readonly code: number; readonly message: string };
}

interface Answer extends Response {
  readonly operations: readonly Operation[];
}

interface Container {
  readonly name: string;
  readonly image: string;
  readonly restartPolicy?: string;
  readonly args: readonly string[];
  readonly env: readonly { name: string; value?: string }[];
  readonly ports: readonly { containerPort: number }[];
  readonly resources?: unknown;
}

Deno.test("a pod gets a native sidecar with the tunnel's relay, token and routes", async () => {
  const webhook = new Webhook();
  const { uid, allowed, operations } = await webhook.answer();
  assert.deepEqual([uid, allowed, webhook.results], ["review-1", true, ["injected"]]);
  assert.deepEqual(operations.map(({ op, path }) => [op, path]), [
    ["add", "/spec/initContainers"],
    ["add", "/spec/volumes"],
  ]);
  const container = await webhook.container();
  assert.equal(container.name, "culvert-agent");
  assert.equal(container.image, image);
  assert.equal(container.restartPolicy, "Always");
  assert.ok(container.args.includes("--server=wss://relay.test/connect"));
  assert.ok(container.args.includes("--token-file=/etc/culvert/relay-token/token"));
  assert.match(JSON.stringify(operations), /"secretName":"home-agent-token"/);
  assert.match(JSON.stringify(operations), /"configMap":\{"name":"home-routes"\}/);
  const [volume] = (operations[1]!.value as { name: string }[])
    .filter(({ name }) => name === "culvert-credentials");
  const secret = { secretName: "home-agent-credentials", optional: true };
  assert.deepEqual(volume, { name: "culvert-credentials", secret });
  assert.match(
    JSON.stringify(container),
    /\{"name":"culvert-credentials","mountPath":"\/etc\/culvert\/credentials","readOnly":true\}/,
  );
});

Deno.test("a sidecar reaches the relay as the tunnel's agents do: proxy and client certificate", async () => {
  const known = tunnelSpec()["relay"] as Record<string, unknown>;
  const webhook = new Webhook({
    spec: {
      relay: { ...known, proxyRef: { name: "way-out" }, clientCertRef: { name: "agent-tls" } },
    },
  });
  const { args } = await webhook.container();
  assert.ok(args.includes("--client-cert=/etc/culvert/relay-client/tls.crt"));
  assert.ok(args.includes("--proxy-file=/etc/culvert/relay-proxy/proxy"));
  const { operations } = await webhook.answer();
  const proxy = { secretName: "way-out", items: [{ key: "proxy", path: "proxy" }] };
  const volumes = [
    { name: "culvert-relay-client", secret: { secretName: "agent-tls" } },
    { name: "culvert-relay-proxy", secret: proxy },
  ];
  for (const volume of volumes) {
    assert.ok(JSON.stringify(operations).includes(JSON.stringify(volume)), volume.name);
  }
});

Deno.test("what a pod has already stays where it is, and the agent comes behind it", async () => {
  const { operations } = await new Webhook({
    spec: { agent: { imagePullSecrets: [{ name: "registry" }, { name: "other" }] } },
  }).answer({
    spec: {
      initContainers: [{ name: "migrate" }],
      volumes: [{ name: "data" }],
      imagePullSecrets: [{ name: "registry" }],
    },
  });
  assert.deepEqual(operations.map(({ path }) => path), [
    "/spec/initContainers/-",
    "/spec/volumes/-",
    "/spec/volumes/-",
    "/spec/volumes/-",
    "/spec/imagePullSecrets/-",
  ]);
  assert.deepEqual(operations[4]?.value, { name: "other" });
});

Deno.test("a pod that has lost the agent alone gets the agent alone", async () => {
  const webhook = new Webhook();
  const { operations } = await webhook.answer();
  const volumes = operations.filter(({ path }) => path.startsWith("/spec/volumes"))
    .flatMap(({ value }) => value as { name: string }[]);
  const again = await webhook.answer({ spec: { volumes, initContainers: [{ name: "other" }] } });
  assert.deepEqual(again.operations.map(({ path }) => path), ["/spec/initContainers/-"]);
});

Deno.test("a pod that has the agent is left alone, and so is all that is no new pod", async () => {
  const cases: Asked[] = [
    { spec: { initContainers: [{ name: "culvert-agent" }] } },
    { spec: { containers: [{ name: "app" }, { name: "culvert-agent" }] } },
    { operation: "UPDATE" },
    { request: { subResource: "exec" } },
    { request: { resource: { group: "apps", version: "v1", resource: "deployments" } } },
  ];
  for (const asked of cases) {
    const webhook = new Webhook();
    const { allowed, patch } = await webhook.answer(asked);
    assert.deepEqual([allowed, patch, webhook.results], [true, undefined, ["unchanged"]]);
  }
});

Deno.test("before Kubernetes 1.29 the agent is a container like others", async () => {
  const { operations } = await new Webhook({ isNative: false }).answer();
  assert.equal(operations[0]?.path, "/spec/containers/-");
  assert.equal((operations[0]?.value as Container).restartPolicy, undefined);
});

Deno.test("a pod's annotations name the port that it publishes, and its hostnames", async () => {
  const webhook = new Webhook({
    spec: { sidecar: { hostnames: ["*.a.example.com", "b.example.com"] } },
  });
  const annotations = {
    "culvert.dev/port": "8080",
    "culvert.dev/hostname": "web.a.example.com, b.example.com",
  };
  const { args, env } = await webhook.container({ annotations });
  assert.ok(args.includes("--plain-target"));
  assert.equal(args.some((arg) => arg.startsWith("--targets")), false, "no route of the tunnel");
  assert.deepEqual(env.map(({ name }) => name), [
    ...["HEALTH_ADDR", "CULVERT_PORT", "TARGET", "HOSTNAMES"],
  ]);
});

Deno.test("the health port is the tunnel's, or the one that the pod's annotation names", async () => {
  const webhook = new Webhook({ spec: { sidecar: { healthPort: 19000 } } });
  const portsOf = ({ env, ports }: Container) => [env[0]?.value, ports[0]?.containerPort];
  assert.deepEqual(portsOf(await webhook.container()), [":19000", 19000]);
  const annotations = { "culvert.dev/health-port": "19001" };
  assert.deepEqual(portsOf(await webhook.container({ annotations })), [":19001", 19001]);
});

Deno.test("image and resources are the tunnel's own where it has some", async () => {
  const agent = { image: "agent:2", resources: { requests: { cpu: "1" } } };
  const container = await new Webhook({ spec: { agent } }).container();
  assert.deepEqual([container.image, container.resources], ["agent:2", agent.resources]);
  const resources = { limits: { memory: "64Mi" } };
  const other = await new Webhook({ spec: { agent, sidecar: { resources } } }).container();
  assert.deepEqual(other.resources, resources);
});

Deno.test("what can't be injected is refused with one line that names what is wrong", async () => {
  const webhook = new Webhook({ spec: { sidecar: { hostnames: ["a.example.com"] } } });
  const hostname = (name: string) => ({ "culvert.dev/hostname": name });
  const port = { "culvert.dev/port": "80" };
  const cases: [Asked, RegExp][] = [
    [{ labels: { "culvert.dev/inject": "" } }, /label culvert.dev\/inject must name a Tunnel/],
    [
      { labels: { "culvert.dev/inject": ".." } },
      /must name a Tunnel of the pod's namespace; it is ".."/,
    ],
    [{ labels: { "culvert.dev/inject": "x" } }, /There is no Tunnel "x" in namespace apps/],
    [{ request: { namespace: "b" } }, /There is no Tunnel "home" in namespace b/],
    [{ annotations: { "culvert.dev/port": "0" } }, /port is "0"; it must be a port from 1/],
    [{ annotations: { "culvert.dev/port": "65536" } }, /port is "65536"/],
    [{ annotations: { "culvert.dev/health-port": "x" } }, /health-port is "x"/],
    [{ annotations: hostname("a.example.com") }, /hostname needs culvert.dev\/port/],
    [{ annotations: { ...hostname("b.example.com"), ...port } }, /asks for "b.example.com", which/],
    [{ annotations: { ...hostname(""), ...port } }, /asks for ""/],
  ];
  for (const [asked, expected] of cases) {
    const message = await webhook.refusal(asked);
    assert.match(message, expected);
    assert.equal(message.includes("\n"), false);
  }
  const leaving = new Webhook({ deletionTimestamp: "2026-01-01T00:00:00Z" });
  assert.match(await leaving.refusal({}), /Tunnel home is being deleted/);
});

Deno.test("an answer that is not there yet, and what is no review, are errors of the request", async () => {
  const webhook = new Webhook();
  const statusOf = async (reply: Promise<AdmissionReply>) => (await reply).status;
  const text = (value: string) => new TextEncoder().encode(value);
  assert.equal(await statusOf(replyTo("too_large", webhook.parts)), 413);
  assert.equal(await statusOf(replyTo("cut", webhook.parts)), 400);
  for (const body of ["", "{", "[]", "{}", '{"kind":"AdmissionReview"}', "\xff"]) {
    assert.equal(await statusOf(replyTo(text(body), webhook.parts)), 400, body);
  }
  const away = {
    ...webhook.parts,
    tunnel: (): Promise<KubeObject> => Promise.reject(new Error("The API server is away")),
  };
  assert.equal(await statusOf(replyTo(review(), away)), 503);
  const early = { ...webhook.parts, isNative: () => assert.fail("not known yet") };
  assert.equal(await statusOf(replyTo(review(), early)), 503);
  assert.ok(maxReviewBytes > 3 * 1024 * 1024, "the API server takes objects of 3 MiB");
});
