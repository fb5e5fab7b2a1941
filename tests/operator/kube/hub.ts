/** The relay's side of a cluster: a relay that has the operator's Secrets mounted, and Argo CD's kind. */
import { createHash } from "node:crypto";
import type { KubeClient } from "../../../lib/kube/client.ts";
import { namespaces, secrets } from "../../../lib/kube/resources.ts";
import { secretText } from "../../../lib/operator/secret_text.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { addressOf, Program } from "../../support/programs.ts";
import { type OperatorWorld, patienceMs } from "./cluster.ts";

/** Where the relay is. */
export const hub = "culvert";
/** Begins the tokens of all clusters' agents; `-ID` follows. */
export const agentToken = "agent-token-of-edge-0123456789abcdef";
/** Argo CD's kind, without its schema. */
export const applications = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "applications.argoproj.io" },
  spec: {
    group: "argoproj.io",
    scope: "Namespaced",
    names: { plural: "applications", singular: "application", kind: "Application" },
    versions: [{
      name: "v1alpha1",
      served: true,
      storage: true,
      schema: {
        openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
      },
    }],
  },
};

/** A list whose entries are told apart by one field. */
function mapList(key: string, properties: Record<string, unknown>): unknown {
  return {
    type: "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": [key],
    items: { type: "object", required: [key], properties },
  };
}

const text = { type: "string" };

/**
 * The kind ClusterProfile with the fields that the operator writes, as strict as cluster-inventory-api's
 * definition of v1alpha1: a field that is not in here would be dropped.
 */
export const clusterProfileKind = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: {
    name: "clusterprofiles.multicluster.x-k8s.io",
    annotations: { "api-approved.kubernetes.io": "unapproved, for a test" },
  },
  spec: {
    group: "multicluster.x-k8s.io",
    scope: "Namespaced",
    names: { plural: "clusterprofiles", singular: "clusterprofile", kind: "ClusterProfile" },
    versions: [{
      name: "v1alpha1",
      served: true,
      storage: true,
      subresources: { status: {} },
      schema: {
        openAPIV3Schema: {
          type: "object",
          required: ["spec"],
          properties: {
            spec: {
              type: "object",
              required: ["clusterManager"],
              properties: {
                displayName: text,
                clusterManager: {
                  type: "object",
                  required: ["name"],
                  properties: { name: text },
                  "x-kubernetes-validations": [{
                    rule: "self == oldSelf",
                    message: "immutable",
                  }],
                },
              },
            },
            status: {
              type: "object",
              properties: {
                accessProviders: mapList("name", {
                  name: text,
                  cluster: {
                    type: "object",
                    required: ["server"],
                    properties: {
                      server: text,
                      "certificate-authority-data": { type: "string", format: "byte" },
                      "tls-server-name": text,
                      extensions: {
                        type: "array",
                        items: {
                          type: "object",
                          required: ["extension", "name"],
                          properties: {
                            name: text,
                            extension: {
                              type: "object",
                              "x-kubernetes-preserve-unknown-fields": true,
                            },
                          },
                        },
                      },
                    },
                  },
                }),
                conditions: mapList("type", {
                  type: text,
                  status: { type: "string", enum: ["True", "False", "Unknown"] },
                  reason: { type: "string", minLength: 1 },
                  message: text,
                  observedGeneration: { type: "integer", format: "int64" },
                  lastTransitionTime: { type: "string", format: "date-time" },
                }),
              },
            },
          },
        },
      },
    }],
  },
};

/** A relay that has the operator's Secrets mounted: this copies them as a kubelet would. */
export class MountedRelay implements AsyncDisposable {
  readonly #client: KubeClient;
  readonly #folder: string;
  readonly adminUrl: string;
  /** How often it looks for new Secrets. */
  lookMs = 200;
  readonly #adminPort = freePort();
  #program: Program | undefined;
  #mounting: Promise<void> | undefined;
  #isOver = false;

  private constructor(client: KubeClient, folder: string) {
    this.#client = client;
    this.#folder = folder;
    this.adminUrl = `http://127.0.0.1:${this.#adminPort}`;
  }

  static async create(client: KubeClient): Promise<MountedRelay> {
    return new MountedRelay(client, await Deno.makeTempDir({ prefix: "culvert-hub-" }));
  }

  /** One in a cluster that gets Argo CD's namespace and kind. */
  static async besideArgocd(world: OperatorWorld): Promise<MountedRelay> {
    await world.client.create(namespaces, { metadata: { name: "argocd" } });
    await world.apply(JSON.stringify(applications));
    return await MountedRelay.create(world.client);
  }

  /** Options of an operator beside it. */
  get operatorOptions(): readonly string[] {
    return [
      ...["--controllers", "clusters", "--watch-namespaces", hub, "--relay-poll", "200ms"],
      ...["--relay-admin-url", this.adminUrl, "--argocd-server", "https://relay.test:8080"],
    ];
  }

  /** Starts it as soon as there are tokens for its admin API. */
  async start(): Promise<void> {
    await Deno.mkdir(`${this.#folder}/clusters`);
    await Deno.writeTextFile(`${this.#folder}/clusters/_values.json`, "[]");
    await eventually(
      async () => await this.#mount("culvert-relay-admin-tokens", this.#folder),
      "the admin tokens",
      patienceMs,
    );
    this.#program = Program.start("relay.ts", [
      ...["--addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0", "--log-format", "json"],
      ...["--clusters", `${this.#folder}/clusters`, "--callers", "open", "--health-addr", ""],
      ...["--admin-addr", `127.0.0.1:${this.#adminPort}`, "--state", `${this.#folder}/state`],
      ...["--admin-tokens", `${this.#folder}/tokens.json`],
    ]);
    await this.addressOf("admin");
    this.#mounting = this.#mountAll();
  }

  async addressOf(listener: string): Promise<string> {
    return await addressOf(this.#program!, listener);
  }

  /** Puts a cluster; what the admin API answers. */
  async register(id: string, token: string): Promise<number> {
    const response = await fetch(`${this.adminUrl}/admin/v1/clusters/${id}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({
        tokenSha256: sha256(`${agentToken}-${id}`),
        targetAddr: "127.0.0.1:1",
        owner: "edge",
        leaseSeconds: 3_600,
      }),
    });
    await response.body?.cancel();
    return response.status;
  }

  async #mountAll(): Promise<void> {
    while (!this.#isOver) {
      try {
        await this.#mount("culvert-relay-admin-tokens", this.#folder);
        await this.#mount("culvert-relay-clusters", `${this.#folder}/clusters`);
      } catch (error) {
        // Tests freeze and kill the API server; the files stay.
        if (!this.#isOver) console.error(`mounts of the test's relay: ${error}`);
      }
      await new Promise((resolve) => setTimeout(resolve, this.lookMs));
    }
  }

  async #mount(name: string, folder: string): Promise<boolean> {
    const secret = await this.#client.find(secrets, { namespace: hub, name });
    if (!secret) return false;
    for (const key of Object.keys((secret["data"] ?? {}) as object)) {
      const [path, text] = [`${folder}/${key}`, secretText(secret, key)!];
      if (await Deno.readTextFile(path).catch(() => undefined) === text) continue;
      await Deno.writeTextFile(`${path}.new`, text);
      await Deno.rename(`${path}.new`, path);
    }
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#mounting;
    await this.#program?.stop();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
