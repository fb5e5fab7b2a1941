/** The relay's side of the operator on a fake cluster, with a fake relay and Argo CD's kinds. */
import { clusters, registrationTokens } from "../../lib/operator/api/crds.ts";
import { argocdApplications } from "../../lib/operator/management/argocd.ts";
import { clusterProfiles } from "../../lib/operator/management/cluster_profile.ts";
import { Management, type ManagementOptions } from "../../lib/operator/management/management.ts";
import { RelayApi } from "../../lib/operator/relay/relay_api.ts";
import { KubeClient } from "../../lib/kube/client.ts";
import type { Condition, KubeObject } from "../../lib/kube/objects.ts";
import { events, leases, pods, type Resource, secrets } from "../../lib/kube/resources.ts";
import { keptLog, quickTiming } from "../kube/kube_setup.ts";
import { eventually } from "../support/deadline.ts";
import { FakeKube } from "../support/fake_kube.ts";
import { FakeRelay } from "../support/fake_relay.ts";
import { conditionsOf, digest, endpoint, type Wrap } from "./harness.ts";
import { LeadingController } from "./leading_controller.ts";

export const relayUrl = "https://relay.test:8080";

/** A cluster with a relay's namespace, `hub`, and Argo CD's. */
export class Hub {
  readonly kube = new FakeKube([
    ...[clusters, registrationTokens, argocdApplications, clusterProfiles],
    ...[secrets, pods, events, leases],
  ]);
  readonly relay = new FakeRelay();
  #tokens = 0;

  constructor() {
    this.kube.put(secrets, {
      metadata: { name: "relay-tls", namespace: "hub" },
      data: { "ca.crt": btoa("a CA"), token: btoa("argo-token\n") },
    });
    this.kube.put(pods, {
      metadata: {
        name: "relay-0",
        namespace: "hub",
        labels: { "app.kubernetes.io/name": "culvert-relay" },
      },
    });
  }

  /** Starts the relay's side of an operator. */
  start(
    settings: Partial<ManagementOptions["settings"]> = {},
    wrap: Wrap = {},
  ): AsyncDisposable & {
    readonly management: Management;
    readonly log: ReturnType<typeof keptLog>;
    /** Another replica leads from now on. */
    readonly resign: () => Promise<void>;
    /** This one leads again. */
    readonly lead: () => void;
  } {
    const client = new KubeClient({
      fetch: wrap.kube?.(this.kube.fetch) ?? this.kube.fetch,
      fieldManager: "culvert-operator",
      timeoutMs: 5_000,
    });
    const log = keptLog();
    const management = new Management({
      client,
      relays: new RelayApi({
        fetch: wrap.relay?.(this.relay.fetch) ?? this.relay.fetch,
        ...{ firstBackoffMs: 10, maxBackoffMs: 50 },
      }),
      watchRelay: wrap.relay?.(this.relay.fetch) ?? this.relay.fetch,
      settings: {
        namespace: "hub",
        argocdServer: relayUrl,
        argocdNamespaces: ["argocd"],
        clusterProfileNamespaces: ["fleet"],
        relayAdminUrl: endpoint,
        relaySecret: "relay-tls",
        relaySelector: "app.kubernetes.io/name=culvert-relay",
        pollMs: 10,
        resyncMs: 3_600_000,
        checkMs: 20,
        goneMs: 50,
        orphanMs: 600_000,
        ...settings,
      },
      watchNamespaces: [],
      isDraining: wrap.isDraining ?? false,
      digest,
      newToken: () => {
        const token = `made-token-${++this.#tokens}`;
        this.relay.tokens.set(token, { prefixes: [""], suffixes: [""] });
        return token;
      },
      instance: "test",
      log,
      cacheTiming: quickTiming,
      firstBackoffMs: 5,
    });
    const leading = new LeadingController(management);
    return {
      ...{ management, log, resign: leading.resign, lead: leading.lead },
      [Symbol.asyncDispose]: () => leading[Symbol.asyncDispose](),
    };
  }

  putCluster(name: string, spec: Record<string, unknown> = {}): KubeObject {
    return this.kube.put(clusters, {
      metadata: { name, namespace: "hub" },
      spec: {
        tokens: [{ name: "first", sha256: digest(name) }],
        targets: ["kubernetes.default.svc:443"],
        argocd: { enabled: true },
        ...spec,
      },
    });
  }

  putToken(name: string, spec: Record<string, unknown> = {}): KubeObject {
    return this.kube.put(registrationTokens, {
      metadata: { name, namespace: "hub" },
      spec: { idPrefixes: ["edge-"], argocd: { enabled: true }, ...spec },
    });
  }

  putApplication(name: string, destination: Record<string, unknown>): KubeObject {
    return this.kube.put(argocdApplications, {
      metadata: { name, namespace: "argocd" },
      spec: { destination },
    });
  }

  /** What a Secret holds; undefined where there is none. */
  secret(namespace: string, name: string): Record<string, string> | undefined {
    const secret = this.kube.read(secrets, namespace, name);
    const data = secret?.["data"] as Record<string, string> | undefined;
    return data &&
      Object.fromEntries(Object.entries(data).map(([key, text]) => [key, atob(text)]));
  }

  /** Entries of the relay's folder, by id. */
  entries(): Record<string, Record<string, unknown>> {
    const files = Object.values(this.secret("hub", "culvert-relay-clusters") ?? {});
    const entries = files.map((text) => JSON.parse(text)).filter((it) => !Array.isArray(it));
    return Object.fromEntries(entries.map((entry) => [entry.id, entry]));
  }

  /** The relay's admin tokens. */
  adminTokens(): Record<string, unknown>[] {
    const text = this.secret("hub", "culvert-relay-admin-tokens")?.["tokens.json"];
    return text === undefined ? [] : JSON.parse(text);
  }

  /** Waits for a condition of a Cluster, or of another object. */
  async condition(
    name: string,
    type: string,
    reason: string,
    resource: Resource = clusters,
  ): Promise<Condition> {
    const find = () =>
      conditionsOf(this.kube.read(resource, "hub", name)).find((it) => it.type === type);
    await eventually(
      () => find()?.reason === reason,
      () => `${type} of ${name} to be ${reason}; it is ${JSON.stringify(find())}`,
      60_000,
    );
    return find()!;
  }
}
