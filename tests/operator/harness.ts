/** Operators on a fake cluster with a fake relay, and a kubelet that has agents ready at once. */
import { createHash } from "node:crypto";
import {
  accessPolicies,
  clusterTunnels,
  tunnelBindings,
  tunnels,
} from "../../lib/operator/api/crds.ts";
import { Operator, type OperatorOptions } from "../../lib/operator/operator.ts";
import { Cloudflare } from "../../lib/operator/dns/cloudflare.ts";
import type { CloudflareFetch } from "../../lib/operator/dns/cloudflare_api.ts";
import { type DnsExchange, Rfc2136 } from "../../lib/operator/dns/rfc2136.ts";
import { dnsEndpoints } from "../../lib/operator/dns/dns_endpoint.ts";
import { RelayApi } from "../../lib/operator/relay/relay_api.ts";
import { KubeClient, type KubeFetch } from "../../lib/kube/client.ts";
import type { Condition, KubeObject } from "../../lib/kube/objects.ts";
import {
  clusterRoleBindings,
  clusterRoles,
  configMaps,
  deployments,
  events,
  leases,
  namespaces,
  networkPolicies,
  podDisruptionBudgets,
  pods,
  type Resource,
  roleBindings,
  secrets,
  serviceAccounts,
  services,
} from "../../lib/kube/resources.ts";
import type { AgentSession, RelayFetch } from "../../lib/operator/relay/relay_api.ts";
import { keptLog, quickTiming } from "../kube/kube_setup.ts";
import { FakeCloudflare } from "../support/fake_cloudflare.ts";
import { eventually } from "../support/deadline.ts";
import { FakeKube } from "../support/fake_kube.ts";
import { FakeRelay } from "../support/fake_relay.ts";
import { LeadingController } from "./leading_controller.ts";

const mainHost = "relay.test";
export const endpoint = `https://${mainHost}:8444`;

export function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** A cluster with a namespace, the Secret for the relay's API, and a Service. */
export class Cluster {
  readonly kube = new FakeKube([
    ...[
      tunnels,
      clusterTunnels,
      tunnelBindings,
      accessPolicies,
      configMaps,
      secrets,
      deployments,
      pods,
      services,
    ],
    ...[clusterRoles, clusterRoleBindings, roleBindings, serviceAccounts],
    ...[namespaces, events, leases, podDisruptionBudgets, networkPolicies, dnsEndpoints],
  ]);
  readonly relay = new FakeRelay();
  /** Others, by host and port. */
  readonly #relays = new Map<string, FakeRelay>();
  /** What proxies make of relays, by the proxy's URL. */
  readonly #proxied = new Map<string, FakeRelay>();
  readonly #fetchRelay: RelayFetch = (url, init, tls) => {
    const relay = this.#proxied.get(tls.proxy?.url ?? "") ?? this.#relays.get(new URL(url).host);
    return (relay ?? this.relay).fetch(url, init, tls);
  };
  /** Cloudflare's API. */
  cloudflare: CloudflareFetch = () => Promise.reject(new Error("there is no Cloudflare"));
  /** What answers DNS updates. */
  exchange: DnsExchange = () => Promise.reject(new Error("there is no name server"));
  /** Whether pods get ready and their volumes follow. */
  hasKubelet = true;
  /** Whether an external-dns looks at DNSEndpoints. */
  hasExternalDns = false;
  // Either may be set while an operator runs.
  readonly #cloudflare: CloudflareFetch = (...args) => this.cloudflare(...args);
  readonly #exchange: DnsExchange = (...args) => this.exchange(...args);
  /** By a pod's address: the ConfigMap of its routes. */
  readonly #routesOf = new Map<string, string>();
  #tokens = 0;
  /** Why agents do not take their table. */
  refusal: string | undefined;
  /** By id: the token that agents are connected by, where it is not that of their Secret. */
  readonly agentTokens = new Map<string, string>();
  /** By id: how many agents in users' pods are connected. */
  readonly injected = new Map<string, number>();

  constructor() {
    this.relay.sessions = (id) => this.#sessions(this.relay, mainHost, id);
    for (const name of ["apps", "infra", "ops"]) this.kube.put(namespaces, { metadata: { name } });
    for (const namespace of ["apps", "ops"]) {
      this.kube.put(secrets, {
        metadata: { name: "relay-api", namespace },
        data: { token: btoa("admin-token") },
      });
    }
    this.putService("web");
  }

  putService(
    name: string,
    more: Partial<KubeObject> & { annotations?: Record<string, string> } = {},
  ) {
    const { annotations = {}, ...rest } = more;
    return this.kube.put(services, {
      metadata: { name, namespace: "apps", annotations },
      spec: { type: "ClusterIP", clusterIP: "10.0.0.7", ports: [{ name: "http", port: 80 }] },
      ...rest,
    });
  }

  /** Starts an operator. @param wrap Stands between it and the world, to break things. */
  start(wrap: Wrap = {}): RunningOperator {
    const { kube } = this;
    const client = new KubeClient({
      fetch: wrap.kube?.(kube.fetch) ?? kube.fetch,
      fieldManager: "culvert-operator",
      timeoutMs: 5_000,
    });
    const log = keptLog();
    const options: OperatorOptions = {
      client,
      relays: new RelayApi({
        fetch: wrap.relay?.(this.#fetchRelay) ?? this.#fetchRelay,
        firstBackoffMs: 10,
        maxBackoffMs: 50,
      }),
      watchRelay: this.#fetchRelay,
      settings: {
        namespace: "ops",
        idPrefix: "",
        agentImage: "culvert-agent:test",
        agentClusterRoles: ["view", "edit", "none"],
        resyncMs: 3_600_000,
        checkMs: 20,
        orphanMs: 600_000,
        ...wrap.settings,
      },
      watchNamespaces: [],
      isDraining: wrap.isDraining ?? false,
      digest,
      newToken: () => `agent-token-${++this.#tokens}`,
      caFault: (text) => text.startsWith("PEM") ? undefined : "which is not PEM",
      probe: (address) => {
        const hash = this.#servedHash(address);
        if (hash === undefined || this.refusal === undefined) {
          return Promise.resolve(hash === undefined ? undefined : { hash });
        }
        const refused = { hash, reason: this.refusal };
        return Promise.resolve({ hash: "before", refused });
      },
      dns: new Rfc2136({ exchange: wrap.dns?.(this.#exchange) ?? this.#exchange }),
      cloudflare: new Cloudflare({
        fetch: wrap.cloudflare?.(this.#cloudflare) ?? this.#cloudflare,
        timing: { quietMs: 20, maxQuietMs: 20, maxMs: 100 },
      }),
      ...wrap.metrics && { metrics: wrap.metrics },
      instance: "test",
      log,
      cacheTiming: quickTiming,
      firstBackoffMs: 5,
    };
    const operator = new Operator(options);
    const leading = new LeadingController(operator);
    const kubelet = setInterval(() => this.#kubelet(), 5);
    return {
      ...{ operator, log, resign: leading.resign, lead: leading.lead },
      async [Symbol.asyncDispose]() {
        clearInterval(kubelet);
        await leading[Symbol.asyncDispose]();
        // Batches that wait are sent even so.
        const { cloudflare } = options;
        await eventually(() => cloudflare.waiting === 0, "Cloudflare's answers");
      },
    };
  }

  /** What the volume of a pod's routes holds. */
  #servedHash(address: string): string | undefined {
    const [namespace, name = ""] = (this.#routesOf.get(address) ?? "").split("/");
    const routes = this.kube.read(configMaps, namespace, name);
    const data = routes?.["data"] as Record<string, string> | undefined;
    return this.hasKubelet && data ? digest(data["targets.yaml"] ?? "") : undefined;
  }

  /** A second relay, at `wss://HOST/connect` and `https://HOST:8444`. */
  addRelay(host: string): FakeRelay {
    const relay = new FakeRelay();
    relay.sessions = (id) => this.#sessions(relay, host, id);
    this.#relays.set(`${host}:8444`, relay);
    return relay;
  }

  /** A proxy that answers in place of relays. */
  addProxy(url: string): FakeRelay {
    const relay = new FakeRelay();
    this.#proxied.set(url, relay);
    return relay;
  }

  /** Another address of the relay. */
  addAlias(host: string): void {
    this.#relays.set(`${host}:8444`, this.relay);
  }

  /** Agents whose token's digest is in an entry are connected with the entry's id. */
  #sessions(relay: FakeRelay, host: string, id: string): AgentSession[] {
    const { tokens = [] } = (relay.clusters.get(id) ?? {}) as {
      tokens?: readonly { readonly tokenSha256: string }[];
    };
    const known = new Set(tokens.map(({ tokenSha256 }) => tokenSha256));
    const other = this.agentTokens.get(id);
    const used = [...this.#agents(host)].filter((it) => known.has(it.digest)).flatMap((it) =>
      Array<string>(it.ready).fill(other === undefined ? it.digest : digest(other))
    );
    const injected = Array<string>(this.injected.get(id) ?? 0).fill([...known][0] ?? "");
    return [...used, ...injected].map((digest, index) => ({
      id: `${host}-${id}-${index}`,
      tokenName: `t-${digest.slice(0, 8)}`,
    }));
  }

  /** Of each Deployment with a relay: the digest of its agents' token, and how many of its pods are ready. */
  *#agents(host: string): Generator<{ readonly digest: string; readonly ready: number }> {
    for (const { metadata: { name, namespace }, ...rest } of this.kube.all(deployments)) {
      const isAt = (host: string) =>
        JSON.stringify(rest).includes(`"--server=wss://${host}/connect"`);
      // Agents that go to none of the others are at the first relay.
      const others = [...this.#relays.keys()].map((address) => address.split(":")[0]!);
      if (host === mainHost ? others.some(isAt) : !isAt(host)) continue;
      const secret = this.kube.read(secrets, namespace, `${name}-token`);
      const { token } = (secret?.["data"] ?? {}) as { token?: string };
      const { readyReplicas = 0 } = (rest["status"] ?? {}) as { readyReplicas?: number };
      if (token !== undefined) yield { digest: digest(atob(token)), ready: readyReplicas };
    }
  }

  #externalDns(): void {
    for (const object of this.kube.all(dnsEndpoints)) {
      const { generation } = object.metadata;
      const { observedGeneration } = (object["status"] ?? {}) as { observedGeneration?: number };
      if (observedGeneration === generation) continue;
      this.kube.put(dnsEndpoints, { ...object, status: { observedGeneration: generation } });
    }
  }

  #kubelet(): void {
    if (this.hasExternalDns) this.#externalDns();
    if (!this.hasKubelet) return;
    for (const deployment of this.kube.all(deployments)) {
      const { replicas, template } = deployment["spec"] as {
        replicas: number;
        template: { metadata: KubeObject["metadata"] };
      };
      const { generation, name, namespace = "" } = deployment.metadata;
      const status = {
        observedGeneration: generation,
        ...{ replicas, readyReplicas: replicas, updatedReplicas: replicas },
      };
      if (JSON.stringify(deployment["status"]) !== JSON.stringify(status)) {
        this.kube.put(deployments, { ...deployment, status: status });
      }
      for (let index = 0; index < replicas; index++) {
        if (this.kube.read(pods, namespace, `${name}-${index}`)) continue;
        const { uid = "" } = deployment.metadata;
        const podIP = `10.1.${this.#routesOf.size >> 8}.${this.#routesOf.size & 255}`;
        this.#routesOf.set(podIP, `${namespace}/${name.replace(/-agent$/, "-routes")}`);
        this.kube.put(pods, {
          metadata: {
            ...template.metadata,
            name: `${name}-${index}`,
            namespace,
            ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name, uid }],
          },
          status: { podIP, conditions: [{ type: "Ready", status: "True" }] },
        });
      }
    }
  }

  putTunnel(spec: Record<string, unknown> = {}, name = "home", namespace = "apps"): KubeObject {
    return this.kube.put(tunnels, { metadata: { name, namespace }, spec: tunnelSpec(spec) });
  }

  /** A zone at Cloudflare, and the Secret `cloudflare` with the token for it. */
  useCloudflare(namespace = "apps"): FakeCloudflare {
    const api = new FakeCloudflare();
    this.cloudflare = api.fetch;
    this.putCloudflareToken(api.token, namespace);
    return api;
  }

  putCloudflareToken(token: string, namespace = "apps"): void {
    this.kube.put(secrets, {
      metadata: { name: "cloudflare", namespace },
      data: { token: btoa(token) },
    });
  }

  putBinding(
    name: string,
    routes: readonly unknown[],
    tunnelRef: unknown = { name: "home" },
    namespace = "apps",
  ): KubeObject {
    return this.kube.put(tunnelBindings, {
      metadata: { name, namespace },
      spec: { tunnelRef, routes },
    });
  }

  /** Waits for a condition of an object. */
  async condition(
    resource: Resource,
    name: string,
    type: string,
    reason: string,
    namespace: string | null = "apps",
  ): Promise<Condition> {
    const find = () =>
      conditionsOf(this.kube.read(resource, namespace ?? undefined, name)).find((it) =>
        it.type === type
      );
    await eventually(
      () => find()?.reason === reason,
      () => `${type} of ${name} to be ${reason}; it is ${JSON.stringify(find())}`,
      60_000,
    );
    return find()!;
  }

  /** Waits until a tunnel is ready. */
  async ready(resource = tunnels, name = "home", namespace: string | null = "apps") {
    return await this.condition(resource, name, "Ready", "Ready", namespace);
  }

  /** Waits until there is no such object. */
  async gone(resource: Resource, name: string, namespace = "apps"): Promise<void> {
    await eventually(
      () => this.kube.read(resource, namespace, name) === undefined,
      `${resource.kind} ${namespace}/${name} to be gone`,
    );
  }

  /** The targets of a tunnel's agents. */
  targets(name = "home-routes", namespace = "apps"): readonly Record<string, unknown>[] {
    const routes = this.kube.read(configMaps, namespace, name);
    const data = routes?.["data"] as Record<string, string> | undefined;
    return data ? JSON.parse(data["targets.yaml"]!).targets : [];
  }
}

/** What stands between an operator and the world. */
export interface Wrap {
  readonly kube?: (fetch: KubeFetch) => KubeFetch;
  readonly relay?: (fetch: RelayFetch) => RelayFetch;
  readonly cloudflare?: (fetch: CloudflareFetch) => CloudflareFetch;
  readonly dns?: (exchange: DnsExchange) => DnsExchange;
  readonly settings?: Partial<OperatorOptions["settings"]>;
  readonly isDraining?: boolean;
  readonly metrics?: OperatorOptions["metrics"];
}

/** A fake API server whose lists and watches of namespaces lack `apps`, and how it is read by name. */
export function withoutNamespace(read: (next: () => Promise<Response>) => Promise<Response>): Wrap {
  return {
    kube: (fetch) => async (path, init) => {
      const { pathname, searchParams } = new URL(path, "https://kube.test");
      if (pathname === "/api/v1/namespaces/apps") return await read(() => fetch(path, init));
      if (pathname !== "/api/v1/namespaces") return await fetch(path, init);
      if (searchParams.get("watch") === "true") {
        // The first list is compared with this watch; it shows no namespace either.
        if (searchParams.get("resourceVersion") === "0") return new Response("");
        throw new TypeError("the connection was refused");
      }
      const list = await (await fetch(path, init)).json() as { items: KubeObject[] };
      const items = list.items.filter(({ metadata }) => metadata.name !== "apps");
      return Response.json({ ...list, items });
    },
  };
}

export interface RunningOperator extends AsyncDisposable {
  readonly operator: Operator;
  readonly log: ReturnType<typeof keptLog>;
  /** Another replica leads from now on. */
  readonly resign: () => Promise<void>;
  /** This one leads again. */
  readonly lead: () => void;
}

export function tunnelSpec(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    relay: {
      url: "wss://relay.test/connect",
      registration: { api: { endpoint, tokenRef: { name: "relay-api", key: "token" } } },
    },
    defaultPolicy: "staff",
    ...more,
  };
}

export function route(name: string, hostname: string, more: Record<string, unknown> = {}) {
  return {
    name,
    hostnames: [hostname],
    backend: { service: { name: "web", port: 80 } },
    ...more,
  };
}

export function conditionsOf(object: KubeObject | undefined): readonly Condition[] {
  return ((object?.["status"] ?? {}) as { conditions?: readonly Condition[] }).conditions ?? [];
}
