/**
 * A cluster in which the operator does everything that it can: tunnels with routes, policies and DNS of
 * two providers, rotation, injection, and the relay's side with Argo CD.
 */
import type { Condition, KubeObject } from "../../../lib/kube/objects.ts";
import { namespaces, type Resource, secrets, services } from "../../../lib/kube/resources.ts";
import {
  accessPolicies,
  clusters,
  registrationTokens,
  tunnelBindings,
  tunnels,
} from "../../../lib/operator/api/crds.ts";
import { eventually } from "../../support/deadline.ts";
import { FakeCloudflare, serveCloudflare } from "../../support/fake_cloudflare.ts";
import { freePort } from "../../support/free_port.ts";
import { addressOf, type RunningAgent, startAgent } from "../../support/programs.ts";
import { Bind, zone } from "./bind.ts";
import { namespace, OperatorWorld, patienceMs } from "./cluster.ts";
import { agentToken, applications, hub, MountedRelay, sha256 } from "./hub.ts";
import { create, pod } from "./injected_pods.ts";
import type { OwnKube } from "./own_kube.ts";

/** A second namespace, with a tunnel that has no agents. */
export const other = "other";
/** Three tunnels, four services and two policies are put again with each resync. */
export const entriesAtRelay = 9;
export const argocdToken = "argocd-token-0123456789abcdef";

/** All of it. */
export class Everything implements AsyncDisposable {
  readonly world: OperatorWorld;
  readonly bind: Bind;
  readonly cloudflare: FakeCloudflare;
  readonly #stack: AsyncDisposableStack;
  readonly #start: () => Promise<void>;
  readonly #relay: MountedRelay;

  private constructor(parts: {
    world: OperatorWorld;
    bind: Bind;
    cloudflare: FakeCloudflare;
    relay: MountedRelay;
    stack: AsyncDisposableStack;
    start: () => Promise<void>;
  }) {
    this.world = parts.world;
    this.bind = parts.bind;
    this.cloudflare = parts.cloudflare;
    this.#relay = parts.relay;
    this.#stack = parts.stack;
    this.#start = parts.start;
  }

  /**
   * Starts everything, and waits until all is done.
   *
   * @param watched The only namespaces that the operator works in; it injects no agents then, as a
   *   webhook's configuration is cluster-wide.
   * @param resync How often entries at the relay are written again; undefined leaves the default.
   */
  static async start(
    kube: OwnKube,
    { watched = [], resync }: { readonly watched?: readonly string[]; readonly resync?: string } =
      {},
  ): Promise<Everything> {
    await using stack = new AsyncDisposableStack();
    const world = stack.use(await OperatorWorld.start(kube));
    const bind = stack.use(await Bind.start());
    const cloudflare = new FakeCloudflare();
    const cloudflareUrl = stack.use(serveCloudflare(cloudflare)).url;
    const relay = stack.use(await MountedRelay.create(world.client));
    const port = freePort();
    const webhook = `https://127.0.0.1:${port}/mutate-pods`;
    const isWide = watched.length === 0;
    const where = isWide
      ? `injection.mode=webhook,injection.url=${webhook}`
      : `watchNamespaces={${watched}}`;
    const values = ["--set", `controllers={tunnels,clusters},agentClusterRoles={view},${where}`];
    const args = [
      ...["--controllers", "tunnels,clusters", "--cloudflare-api", cloudflareUrl],
      ...resync === undefined ? [] : ["--resync", resync],
      ...isWide
        ? ["--injection", "webhook", "--webhook-addr", `127.0.0.1:${port}`]
        : ["--watch-namespaces", watched.join(",")],
      ...["--relay-admin-url", relay.adminUrl, "--relay-secret", "relay-tls"],
    ];
    const start = async () => {
      await world.startOperator(values, args);
    };
    for (const name of ["argocd", other]) {
      await world.client.create(namespaces, { metadata: { name } });
    }
    await world.apply(JSON.stringify(applications));
    if (isWide) {
      const rendered = await world.helm("culvert-operator", values);
      const isWebhook = (text: string) => text.includes("kind: MutatingWebhookConfiguration");
      await world.apply(rendered.split(/^---$/m).filter(isWebhook).join("---\n"));
    }
    await start();
    world.startKubelet();
    const own = new AsyncDisposableStack();
    const all = new Everything({ world, bind, cloudflare, relay, stack: own, start });
    await all.#putTunnels();
    await all.#putHub();
    await all.settle();
    own.use(stack.move());
    return all;
  }

  /** Waits until everything is as wanted. */
  async settle(): Promise<void> {
    await this.ready(tunnels, namespace, "main");
    await this.ready(tunnelBindings, namespace, "shop");
    await this.ready(tunnelBindings, namespace, "service-web");
    await this.ready(clusters, hub, "by-hand", "ArgoCDReady");
    await this.ready(clusters, hub, "edge-1", "Programmed");
    await this.ready(registrationTokens, hub, "edge");
    await this.ready(tunnelBindings, namespace, "cloud", "DNSReady");
    await this.ready(tunnelBindings, other, "shop", "DNSReady");
    await this.ready(tunnels, other, "main", "Registered");
    await this.ready(accessPolicies, namespace, "staff");
  }

  /** Starts an agent of the cluster that has registered itself, and waits until its Cluster says so. */
  async connectEdge(): Promise<RunningAgent> {
    const agent = await startAgent({
      relayUrl: `ws://${await this.#relay.addressOf("public")}/connect`,
      token: `${agentToken}-edge-1`,
      target: "127.0.0.1:1",
    });
    await this.ready(clusters, hub, "edge-1");
    return agent;
  }

  /** Has what stands for kubelets look so seldom. */
  lookEvery(ms: number): void {
    this.world.lookMs = this.#relay.lookMs = ms;
  }

  /** How many entries of tunnels, services and policies the operator has put at the relay. */
  async relayPuts(): Promise<number> {
    const lines = (await this.world.metrics()).split("\n");
    return lines.filter((line) =>
      line.startsWith('culvert_operator_relay_requests_total{method="PUT"')
    )
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  /** Stops the operator, in order. */
  async stopOperator(): Promise<void> {
    await this.world.operator!.stop();
  }

  /** Starts the operator once more. */
  async startOperator(): Promise<void> {
    await this.#start();
  }

  /** Waits until the webhook is there, and creates a pod with an agent. */
  async inject(name: string): Promise<KubeObject> {
    const address = await addressOf(this.world.operator!, "health");
    await eventually(
      async () => {
        const response = await fetch(`http://${address}/readyz`);
        await response.body?.cancel();
        return response.ok;
      },
      "the webhook to be ready",
      patienceMs,
    );
    return await create(this.world.client, pod(name));
  }

  /** Waits until a condition is true. */
  async ready(resource: Resource, namespace: string, name: string, type = "Ready"): Promise<void> {
    let last: Condition | undefined;
    await eventually(
      async () => {
        const object = await this.world.client.find(resource, { namespace, name });
        const { conditions = [] } = (object?.["status"] ?? {}) as { conditions?: Condition[] };
        last = conditions.find((condition) => condition.type === type);
        return last?.status === "True";
      },
      () =>
        `${type} of ${resource.kind} ${name} to be True; it is ${JSON.stringify(last)}\n` +
        this.world.operator?.logText(),
      patienceMs,
    );
  }

  async #putTunnels(): Promise<void> {
    const { world: { client }, world, bind, cloudflare } = this;
    const dns = {
      ...{ provider: "RFC2136", target: "relay.example.com", zone, server: bind.server },
      secretRef: { name: "tsig" },
    };
    const tsig = { keyname: "culvert", secret: bind.secret };
    await client.create(secrets, {
      metadata: { name: "relay-api", namespace: other },
      data: (await client.get(secrets, { namespace, name: "relay-api" }))["data"],
    });
    for (const where of [namespace, other]) {
      await client.create(secrets, {
        metadata: { name: "tsig", namespace: where },
        stringData: tsig,
      });
      await client.apply(services, {
        metadata: { name: "backend", namespace: where },
        spec: { ports: [{ name: "http", port: 80 }] },
      });
    }
    await client.create(secrets, {
      metadata: { name: "cloudflare", namespace },
      stringData: { token: cloudflare.token },
    });
    await world.putTunnel({ dns, tokenRotation: { every: "1h", overlap: "1s" } });
    const { spec } = world.tunnel() as unknown as { spec: Record<string, unknown> };
    await client.apply(tunnels, {
      metadata: { name: "cloud", namespace },
      spec: {
        ...spec,
        agent: { replicas: 0 },
        dns: {
          ...{ provider: "Cloudflare", target: "relay.example.com", zone: cloudflare.zone },
          secretRef: { name: "cloudflare" },
        },
      },
    });
    await client.apply(tunnels, {
      metadata: { name: "main", namespace: other },
      spec: { ...spec, id: "apps-other", agent: { replicas: 0 }, dns },
    });
    await this.#putBinding(namespace, "shop", `shop.${zone}`);
    await this.#putBinding(namespace, "cloud", "cloud.example.com", "cloud");
    await this.#putBinding(other, "shop", `other.${zone}`);
    for (const where of [namespace, other]) {
      await client.apply(accessPolicies, {
        metadata: { name: "staff", namespace: where },
        spec: { targetRefs: [{ name: "shop" }], any: [{ address: "203.0.113.0/24" }] },
      });
    }
    await world.putService("web", 80, {
      "culvert.dev/tunnel": "main",
      "culvert.dev/hostname": `web.${zone}`,
    });
  }

  async #putBinding(namespace: string, name: string, hostname: string, tunnel = "main") {
    await this.world.client.apply(tunnelBindings, {
      metadata: { name, namespace },
      spec: {
        tunnelRef: { name: tunnel },
        routes: [{
          name: "main",
          hostnames: [hostname],
          backend: { service: { name: "backend", port: 80 } },
        }],
      },
    });
  }

  async #putHub(): Promise<void> {
    const { client } = this.world;
    await client.create(secrets, {
      metadata: { name: "relay-tls", namespace: hub },
      stringData: { token: argocdToken },
    });
    await client.apply(clusters, {
      metadata: { name: "by-hand", namespace: hub },
      spec: {
        tokens: [{ name: "first", sha256: sha256("by-hand") }],
        targets: ["127.0.0.1:1"],
        argocd: { enabled: true },
      },
    });
    await client.apply(registrationTokens, {
      metadata: { name: "edge", namespace: hub },
      spec: { idPrefixes: ["edge-"], autoAccept: true },
    });
    await this.ready(registrationTokens, hub, "edge");
    await this.#relay.start();
    const token = await this.token(hub, "edge-registration");
    await eventually(
      async () => [200, 201].includes(await this.#relay.register("edge-1", token)),
      "the relay to know the token",
      patienceMs,
    );
  }

  /** The text of a Secret's key. */
  async token(namespace: string, name: string, key = "token"): Promise<string> {
    const { data } = await this.world.client.get(secrets, { namespace, name }) as unknown as {
      data: Record<string, string>;
    };
    return atob(data[key] ?? "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
