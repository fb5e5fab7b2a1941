/** Routes that come, change and go at a tunnel that serves others meanwhile. */
import assert from "node:assert/strict";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import { configMaps, pods, secrets } from "../../../lib/kube/resources.ts";
import { eventually } from "../../support/deadline.ts";
import {
  accessPolicies,
  namespace,
  OperatorWorld,
  patienceMs,
  tunnelBindings,
  tunnels,
} from "./cluster.ts";
import { kubeTest } from "./own_kube.ts";

/** Answers `/stream` with what the test writes, and all else with the request's `Authorization`. */
class Backend implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #streams: ReadableStreamDefaultController<Uint8Array>[] = [];

  constructor() {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      ({ url, headers }) =>
        new URL(url).pathname === "/stream"
          ? new Response(
            new ReadableStream({ start: (controller) => void this.#streams.push(controller) }),
          )
          : new Response(`credential ${headers.get("authorization")}`),
    );
  }

  get port(): number {
    return this.#server.addr.port;
  }

  /** Writes to all streams that are open. */
  write(text: string): void {
    for (const stream of this.#streams) stream.enqueue(new TextEncoder().encode(text));
  }

  /** Ends all streams. */
  end(): void {
    for (const stream of this.#streams) stream.close();
    this.#streams.length = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** A response that is read bit by bit. */
class Download implements Disposable {
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #client: Deno.HttpClient;
  #text = "";

  private constructor(client: Deno.HttpClient, response: Response) {
    this.#client = client;
    this.#reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  }

  static async open(world: OperatorWorld, host: string): Promise<Download> {
    const client = Deno.createHttpClient({ allowHost: true });
    const url = `http://127.0.0.1:${world.webPort}/stream`;
    const response = await fetch(url, { headers: { host }, client });
    assert.equal(response.status, 200);
    return new Download(client, response);
  }

  /** Reads until a text has come. @throws when the response breaks off */
  async until(text: string): Promise<void> {
    while (!this.#text.includes(text)) {
      const { done, value } = await this.#reader.read();
      assert.equal(done, false, `the response ended behind "${this.#text}"`);
      this.#text += value;
    }
  }

  /** All of it, once it has ended in order. */
  async whole(): Promise<string> {
    for (;;) {
      const { done, value } = await this.#reader.read();
      if (done) return this.#text;
      this.#text += value;
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

async function bind(
  world: OperatorWorld,
  name: string,
  more: Record<string, unknown> = {},
): Promise<KubeObject> {
  return await world.client.apply(tunnelBindings, {
    metadata: { name, namespace },
    spec: {
      tunnelRef: { name: "main" },
      routes: [{
        name: "main",
        hostnames: [`${name}.example.com`],
        backend: { service: { name: "backend", port: "http" } },
        ...more,
      }],
    },
  });
}

async function answers(world: OperatorWorld, name: string, statuses: readonly number[]) {
  let last: unknown;
  await eventually(
    async () => {
      last = await world.web(`${name}.example.com`);
      return statuses.includes((last as { status: number }).status);
    },
    () => `status ${statuses.join(" or ")} at ${name}; the last answer is ${JSON.stringify(last)}`,
    patienceMs,
  );
}

/** The text of the agents' targets file. */
async function tableOf({ client }: OperatorWorld): Promise<string> {
  const { data } = await client.get(configMaps, { namespace, name: "main-routes" }) as unknown as {
    data: Record<string, string>;
  };
  return data["targets.yaml"]!;
}

/** What tells agents' pods from others, their start among it. */
async function podsOf(world: OperatorWorld): Promise<unknown> {
  const { items } = await world.client.list(pods, { namespace });
  const started = items.map(({ metadata }) => [metadata.uid, metadata.creationTimestamp]);
  return [started, world.agentPids()];
}

kubeTest(
  "routes come and go: pods stay, an open watch of another route goes on, a download ends whole",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await using backend = new Backend();
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.putService("backend", backend.port);
    await bind(world, "first");
    await world.condition(tunnels, "main", "Ready", "Ready");
    await world.condition(tunnelBindings, "first", "Ready", "Ready");
    using watch = await Download.open(world, "first.example.com");
    backend.write("one ");
    await watch.until("one");
    const before = await podsOf(world);

    const { metadata } = await bind(world, "second");
    await answers(world, "second", [200]);
    backend.write("two ");
    await watch.until("two");
    using download = await Download.open(world, "second.example.com");
    backend.write("three ");
    await download.until("three");

    await world.client.delete(tunnelBindings, { namespace, name: "second" }, metadata.uid!);
    // The operator has looked at the deletion, and the agents' next table has the first route alone.
    await eventually(
      async () => !(await tableOf(world)).includes("second-main"),
      "the route to leave the table",
      patienceMs,
    );
    backend.write("four ");
    await Promise.all([watch.until("four"), download.until("four")]);
    backend.end();
    assert.equal(await download.whole(), "three four ");
    assert.equal(await watch.whole(), "one two three four ");
    await answers(world, "second", [421]);
    await eventually(
      async () =>
        await world.client.find(tunnelBindings, { namespace, name: "second" }) === undefined,
      "the binding to go",
      patienceMs,
    );
    assert.deepEqual(await podsOf(world), before, "the same pods");
  },
);

kubeTest(
  "a route's credential gets to its Service alone, follows its Secret, and without it nothing is served",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await using backend = new Backend();
    const operator = await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.putService("backend", backend.port);
    const name = `api-${crypto.randomUUID().slice(0, 8)}`;
    const tokens = ["first", "second"].map((word) => `${word}-${crypto.randomUUID()}`);
    const putSecret = (token: string, label: string | null = "true") =>
      world.client.merge(secrets, { namespace, name: "api-token" }, {
        metadata: { labels: { "culvert.dev/use": label } },
        stringData: { token },
      });
    await world.client.create(secrets, { metadata: { name: "api-token", namespace } });
    await bind(world, "plain");
    await bind(world, name, { authorization: { secretRef: { name: "api-token" } } });
    await world.condition(tunnelBindings, "plain", "Ready", "Ready");
    await world.condition(tunnelBindings, name, "ResolvedRefs", "RefNotPermitted");
    await answers(world, name, [421]);
    const before = await podsOf(world);

    const caller = { authorization: "Bearer of-the-caller" };
    const shows = async (token: string) => {
      let last = "";
      await eventually(
        async () =>
          (last = (await world.web(`${name}.example.com`, "/", caller)).text) ===
            `credential Bearer ${token}`,
        () => `the Service to get the credential; it says "${last.slice(0, 20)}…"`,
        patienceMs,
      );
    };
    for (const token of tokens) {
      await putSecret(token);
      await shows(token);
    }
    const plain = await world.web("plain.example.com", "/", caller);
    assert.equal(plain.text, "credential Bearer of-the-caller", "another route gets none");
    await putSecret(tokens[1]!, null);
    await answers(world, name, [421]);
    await world.condition(tunnelBindings, name, "ResolvedRefs", "RefNotPermitted");
    assert.deepEqual(await podsOf(world), before, "the same pods");

    const targets = await fetch(`http://127.0.0.1:${world.healthPort}/targets`);
    const text = [
      JSON.stringify(await kube.everything()),
      await world.metrics(),
      await targets.text(),
      operator.logText(),
      world.agentLogs(),
    ].join("\n");
    for (const token of tokens) {
      assert.equal(text.includes(token) || text.includes(btoa(token)), false);
    }
  },
);

kubeTest("a hostname outside the token's scope is refused by the relay itself", async (kube) => {
  await using world = await OperatorWorld.start(kube, ["*.example.com"]);
  await using backend = new Backend();
  await world.startOperator();
  world.startKubelet();
  // Neither the tunnel nor the namespace says anything of hostnames.
  await world.putTunnel();
  await world.putService("backend", backend.port);
  await bind(world, "good");
  await bind(world, "bad", { hostnames: ["bad.example.org"] });
  await world.condition(tunnelBindings, "bad", "Accepted", "Accepted");
  await world.condition(tunnelBindings, "bad", "Programmed", "HostnameNotPermitted");
  await answers(world, "good", [200]);
  assert.equal((await world.web("bad.example.org")).status, 421);
});

kubeTest(
  "of two AccessPolicies both must let a caller in, who else gets 403 and nothing of the Service",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    let asked = 0;
    await using backend = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      () => new Response(`request ${++asked}`),
    );
    await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.putService("backend", backend.addr.port);
    await bind(world, "shop");
    await world.condition(tunnelBindings, "shop", "Ready", "Ready");
    const put = async (name: string, address: string, more = {}) =>
      await world.client.apply(accessPolicies, {
        metadata: { name, namespace },
        spec: { targetRefs: [{ name: "shop", route: "main" }], any: [{ address, ...more }] },
      });
    await put("here", "127.0.0.0/8");
    await world.condition(accessPolicies, "here", "Ready", "Ready");
    await answers(world, "shop", [200]);
    const { metadata } = await put("elsewhere", "203.0.113.0/24");
    await answers(world, "shop", [403]);
    const before = asked;
    const denied = await world.web("shop.example.com");
    assert.equal(denied.status, 403);
    assert.equal(JSON.parse(denied.text).error.code, "policy_denied");
    assert.equal(asked, before, "the Service was not asked");
    await world.client.delete(accessPolicies, { namespace, name: "elsewhere" }, metadata.uid!);
    await answers(world, "shop", [200]);
    await put("here", "127.0.0.0/8", { methods: ["POST"], paths: ["/"] });
    await answers(world, "shop", [403]);
    const other = await world.web("shop.example.com");
    assert.equal(JSON.parse(other.text).error.code, "request_denied");
    await assert.rejects(put("here", "127.0.0.0/8", { methods: ["get"] }), /methods/);
    await assert.rejects(put("here", "127.0.0.0/8", { paths: ["/a?b"] }), /paths/);
    await put("here", "127.0.0.0/8", { methods: ["GET"], paths: ["/"] });
    await answers(world, "shop", [200]);
    await put("here", "203.0.113.0/33");
    await world.condition(tunnelBindings, "shop", "Programmed", "AccessPolicyInvalid");
    await answers(world, "shop", [421]);
  },
);

kubeTest(
  "a caller's token from a Secret lets its callers in until the Secret has another",
  async (kube) => {
    await using world = await OperatorWorld.start(kube);
    await using backend = new Backend();
    const operator = await world.startOperator();
    world.startKubelet();
    await world.putTunnel();
    await world.putService("backend", backend.port);
    await bind(world, "shop");
    const [first, second] = [`first-${crypto.randomUUID()}`, `second-${crypto.randomUUID()}`];
    const put = async (token: string) =>
      await world.client.apply(secrets, {
        metadata: { name: "ci", namespace, labels: { "culvert.dev/use": "true" } },
        data: { token: btoa(token) },
      });
    await world.client.apply(accessPolicies, {
      metadata: { name: "ci", namespace },
      spec: {
        targetRefs: [{ name: "shop" }],
        any: [{ token: "nightly", tokenRef: { name: "ci" } }],
      },
    });
    await world.condition(accessPolicies, "ci", "ResolvedRefs", "TokenNotFound");
    await world.condition(tunnelBindings, "shop", "Programmed", "AccessPolicyInvalid");
    await put(first);
    await world.condition(accessPolicies, "ci", "Ready", "Ready");
    const ask = async (token: string) => {
      const caller = { authorization: `Bearer ${token}` };
      const { status, text } = await world.web("shop.example.com", "/", caller);
      assert.equal(text.includes(token), false, "the Service gets no caller's token");
      return status;
    };
    const admits = async (inside: string, outside: string) => {
      let last: readonly number[] = [];
      await eventually(
        async () => String(last = [await ask(inside), await ask(outside)]) === "200,401",
        () => `200 and 401, not ${last}`,
        patienceMs,
      );
    };
    await admits(first, second);
    await put(second);
    await admits(second, first);
    const objects = await world.client.list(accessPolicies, { namespace });
    const { text: policies } = await world.admin("policies");
    const told = [JSON.stringify(objects), policies, operator.logText(), world.agentLogs()].join();
    for (const token of [first, second]) {
      assert.equal(told.includes(token) || told.includes(btoa(token)), false);
    }
  },
);
