/**
 * A real API server with the operator's kinds and rights, a real relay with an admin API, the operator
 * as a program, and real agents that this test starts as a kubelet would: from a Deployment, with the
 * files of its ConfigMap and the token of its Secret.
 */
import { createHash } from "node:crypto";
import type { KubeClient } from "../../../lib/kube/client.ts";
import type { Condition, KubeObject } from "../../../lib/kube/objects.ts";
import {
  configMaps,
  deployments,
  namespaces,
  pods,
  type Resource,
  secrets,
  serviceAccounts,
  services,
} from "../../../lib/kube/resources.ts";
import { run } from "../../e2e/command.ts";
import { eventually } from "../../support/deadline.ts";
import { freePort } from "../../support/free_port.ts";
import { withName } from "../../support/host_names.ts";
import { addressOf, Program, type RunningRelay, startRelay } from "../../support/programs.ts";
import type { OwnKube } from "./own_kube.ts";

/** What happens on a busy machine takes its time. */
export const patienceMs = 120_000;
/** How long a command may take: kubectl waits until what it deletes is gone. */
const commandMs = 300_000;

export const adminToken = "admin-token-of-operators-0123456789";
export const namespace = "apps";
/** The targets file names files there; their names are the routes', which tests make their own. */
const credentialsFolder = "/etc/culvert/credentials";

const tools = { PATH: `${Deno.env.get("PATH")}:${Deno.env.get("HOME")}/.cache/kube/bin` };

/**
 * Options of a relay with an admin API, which takes {@link adminToken}.
 *
 * @param folder Where it keeps what it is given.
 * @param hostnames Those that the token is for.
 */
export function adminArgs(folder: string, hostnames: readonly string[] = ["*"]): readonly string[] {
  const tokens = [{ name: "ops", token: adminToken, clusters: ["apps-*"], hostnames }];
  return [
    ...["--admin-addr", "127.0.0.1:0", "--state", `${folder}/state`],
    ...["--admin-tokens", JSON.stringify(tokens)],
  ];
}

/** Everything that runs. */
export class OperatorWorld implements AsyncDisposable {
  readonly kube: OwnKube;
  readonly client: KubeClient;
  readonly relay: RunningRelay;
  readonly adminUrl: string;
  readonly webPort: number;
  readonly #close: () => void;
  readonly #folder: string;
  readonly #agents = new Map<string, Program>();
  readonly #others: Program[] = [];
  /** Services' names, which agents look up as programs on this machine. */
  readonly #hosts = new Map<string, AsyncDisposable>();
  readonly #credentials = new Set<string>();
  operator: Program | undefined;
  /** Where operators reach the API server, if something stands between. */
  apiServer: string | undefined;
  /** How often what stands for a kubelet looks. */
  lookMs = 200;
  #healthPort = 0;
  #kubelet: Promise<void> | undefined;
  #isOver = false;

  private constructor(parts: {
    kube: OwnKube;
    client: KubeClient;
    close: () => void;
    relay: RunningRelay;
    adminUrl: string;
    webPort: number;
    folder: string;
  }) {
    this.kube = parts.kube;
    this.client = parts.client;
    this.#close = parts.close;
    this.relay = parts.relay;
    this.adminUrl = parts.adminUrl;
    this.webPort = parts.webPort;
    this.#folder = parts.folder;
  }

  /** @param hostnames Those that the operator's token at the relay is for. */
  static async start(
    kube: OwnKube,
    hostnames: readonly string[] = ["*"],
    { hasKinds = true } = {},
  ): Promise<OperatorWorld> {
    const folder = await Deno.makeTempDir({ prefix: "culvert-operator-" });
    const { client, close } = kube.client();
    const relay = await startRelay({
      clusters: [],
      args: [...adminArgs(folder, hostnames), "--web-addr", "127.0.0.1:0"],
    });
    const world = new OperatorWorld({
      ...{ kube, client, close, relay, folder },
      adminUrl: `http://${await addressOf(relay, "admin")}`,
      webPort: Number((await addressOf(relay, "web")).split(":").at(-1)),
    });
    await world.#prepare();
    if (hasKinds) await world.installKinds();
    return world;
  }

  /** The chart with the operator's kinds. */
  async installKinds(): Promise<void> {
    await this.apply(await this.helm("culvert-crds", []));
  }

  async #prepare(): Promise<void> {
    await this.client.create(namespaces, { metadata: { name: namespace } });
    await this.client.create(namespaces, { metadata: { name: "culvert" } });
    // Pods need it, and there is no controller manager to make it.
    await this.client.create(serviceAccounts, { metadata: { name: "default", namespace } });
    await this.client.create(secrets, {
      metadata: { name: "relay-api", namespace },
      stringData: { token: adminToken },
    });
  }

  /** A chart's objects. */
  async helm(chart: string, args: readonly string[]): Promise<string> {
    const folder = new URL(`../../../deploy/helm/${chart}`, import.meta.url).pathname;
    const all = ["template", "culvert-operator", folder, "--namespace", "culvert", ...args];
    return await must("helm", [...all, "--kube-version", await this.#version()]);
  }

  /** What Helm asks the API server when it installs a chart. */
  async #version(): Promise<string> {
    const { gitVersion } = JSON.parse(await this.kubectl("get", "--raw", "/version"));
    return gitVersion;
  }

  async apply(manifests: string): Promise<void> {
    const args = ["--kubeconfig", this.kube.kubeconfig, "apply", "--server-side", "-f", "-"];
    await must("kubectl", args, manifests);
  }

  /** What `kubectl apply` says of an object. */
  async tryApply(object: unknown): Promise<string> {
    const args = ["--kubeconfig", this.kube.kubeconfig, "apply", "--dry-run=server", "-f", "-"];
    const options = { stdin: JSON.stringify(object), env: tools };
    const { stderr } = await run("kubectl", args, options);
    return stderr;
  }

  /** Starts the operator with the rights that its chart gives it, and no others. */
  async startOperator(
    values: readonly string[] = [],
    args: readonly string[] = [],
  ): Promise<Program> {
    const rendered = await this.helm("culvert-operator", values);
    const roles = /"--agent-cluster-roles=.*"/.exec(rendered)?.[0];
    const rights = rendered.split(/^---$/m).filter((text) =>
      /^kind: (\w*Role|ServiceAccount)/m.test(text)
    );
    await this.apply(rights.join("---\n"));
    const kubeconfig = await this.#kubeconfigOf("operator");
    this.operator = Program.start("operator.ts", [
      ...["--kubeconfig", kubeconfig, "--namespace", "culvert", "--log-format", "json"],
      ...["--health-addr", "127.0.0.1:0", ...roles ? [JSON.parse(roles)] : [], ...args],
    ]);
    await this.operator.waitForLog(({ message }) => message === "Became the leader", {
      timeoutMs: patienceMs,
    });
    return this.operator;
  }

  /** With a token of its own, in a file beside it. */
  async #kubeconfigOf(name: string): Promise<string> {
    await this.renewToken(name);
    const { clusters } = parseConfig(await Deno.readTextFile(this.kube.kubeconfig));
    const cluster = { ...clusters, ...this.apiServer !== undefined && { server: this.apiServer } };
    const path = `${this.#folder}/${name}.conf`;
    await Deno.writeTextFile(
      path,
      JSON.stringify({
        clusters: [{ name: "c", cluster }],
        users: [{ name: "u", user: { tokenFile: `${name}.token` } }],
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
        "current-context": "c",
      }),
    );
    return path;
  }

  /** Replaces an operator's token, as kubelet does in a pod. @returns the new one */
  async renewToken(name = "operator"): Promise<string> {
    const token = (await this.kubectl("-n", "culvert", "create", "token", "culvert-operator"))
      .trim();
    await replaceFile(`${this.#folder}/${name}.token`, token);
    return token;
  }

  /** `operator drain`, with the rights of the chart's Job. */
  drain(args: readonly string[]): Program {
    return Program.start("operator.ts", [
      ...["drain", "--kubeconfig", `${this.#folder}/operator.conf`, "--namespace", "culvert"],
      ...["--log-format", "json", ...args],
    ]);
  }

  /** What `kubectl` prints. */
  async kubectl(...args: readonly string[]): Promise<string> {
    return await must("kubectl", ["--kubeconfig", this.kube.kubeconfig, ...args]);
  }

  /** The names of what the operator has made in the namespace. */
  async owned(): Promise<string> {
    const kinds =
      "deployments,configmaps,secrets,poddisruptionbudgets,networkpolicies,rolebindings";
    const selector = "app.kubernetes.io/managed-by=culvert-operator";
    return await this.kubectl("-n", namespace, "get", kinds, "-l", selector, "-o", "name");
  }

  /** A second replica. */
  async anotherOperator(args: readonly string[] = []): Promise<Program> {
    const kubeconfig = await this.#kubeconfigOf("another");
    const program = Program.start("operator.ts", [
      ...["--kubeconfig", kubeconfig, "--namespace", "culvert"],
      ...["--log-format", "json", "--health-addr", "127.0.0.1:0", ...args],
    ]);
    this.#others.push(program);
    await program.waitForLog(({ message }) => message === "Starting", { timeoutMs: patienceMs });
    return program;
  }

  /** Waits until the Deployment asks for so many agents. */
  async replicas(count: number): Promise<void> {
    await eventually(
      async () => {
        const found = await this.client.find(deployments, { namespace, name: "main-agent" });
        return (found?.["spec"] as { replicas?: number } | undefined)?.replicas === count;
      },
      `${count} replicas`,
      patienceMs,
    );
  }

  /** The operator's metrics. */
  async metrics(): Promise<string> {
    const line = await this.operator!.waitForLog(({ message }) => message === "Listening");
    return await (await fetch(`http://${line.address}/metrics`)).text();
  }

  /** A Tunnel with one agent. */
  async putTunnel(more: Record<string, unknown> = {}): Promise<KubeObject> {
    this.#healthPort ||= freePort();
    const object = this.tunnel(more);
    return await this.client.apply(kind("Tunnel", "tunnels"), object);
  }

  tunnel(more: Record<string, unknown> = {}): KubeObject {
    return {
      metadata: { name: "main", namespace },
      spec: {
        relay: {
          url: this.relay.connectUrl,
          allowInsecure: true,
          registration: { api: { endpoint: this.adminUrl, tokenRef: { name: "relay-api" } } },
        },
        agent: { replicas: 1, healthPort: this.#healthPort || 8081 },
        defaultPolicy: "public",
        ...more,
      },
    };
  }

  /** A Service whose name leads to a server of this test. */
  async putService(
    name: string,
    port: number,
    annotations: Record<string, string> = {},
  ): Promise<void> {
    await this.client.apply(services, {
      metadata: { name, namespace, annotations },
      spec: { ports: [{ name: "http", port }], selector: { app: name } },
    });
    const host = `${name}.${namespace}.svc`;
    if (!this.#hosts.has(host)) this.#hosts.set(host, await withName(host));
  }

  /** Runs agents for the Deployments that there are. */
  startKubelet(): void {
    this.#kubelet = this.#runKubelet();
  }

  async #runKubelet(): Promise<void> {
    while (!this.#isOver) {
      try {
        for (const { metadata } of (await this.client.list(deployments)).items) {
          const deployment = await this.client.get(deployments, metadata);
          const { replicas } = deployment["spec"] as { replicas?: number };
          if (replicas !== 0) await this.#sync(deployment);
        }
      } catch (error) {
        if (!this.#isOver) console.error(`kubelet of the test: ${error}`);
      }
      await new Promise((resolve) => setTimeout(resolve, this.lookMs));
    }
  }

  async #sync(deployment: KubeObject): Promise<void> {
    const { name, namespace = "", generation, uid = "" } = deployment.metadata;
    const { template, replicas } = deployment["spec"] as {
      template: PodTemplate;
      replicas: number;
    };
    const routes = template.spec.volumes.find(({ configMap }) => configMap)?.configMap?.name ?? "";
    const { data } = await this.client.get(configMaps, { namespace, name: routes }) as unknown as {
      data: Record<string, string>;
    };
    const folder = `${this.#folder}/${uid}`;
    await Deno.mkdir(folder, { recursive: true });
    for (const [file, text] of Object.entries(data)) await replaceFile(`${folder}/${file}`, text);
    await this.#mountSecrets(template, namespace, folder);
    const print = createHash("sha256").update(JSON.stringify(template)).digest("hex").slice(0, 8);
    const names = Array.from({ length: replicas }, (_, index) => `${name}-${print}-${index}`);
    await this.#stopAgents(namespace, (pod) => pod.startsWith(`${name}-`) && !names.includes(pod));
    let ready = 0;
    for (const [index, pod] of names.entries()) {
      const at = { name: pod, namespace, ip: `127.0.0.${index + 1}` };
      if (!this.#agents.has(pod)) await this.#startAgent(deployment, template, folder, at);
      if (await this.#probe(at)) ready++;
    }
    const status = {
      observedGeneration: generation,
      ...{ replicas, updatedReplicas: replicas, readyReplicas: ready, availableReplicas: ready },
    };
    await this.client.apply(deployments, { metadata: { name, namespace }, status }, "status");
  }

  async #startAgent(
    { metadata: { name, uid = "" } }: KubeObject,
    { metadata, spec }: PodTemplate,
    folder: string,
    pod: Pod,
  ): Promise<void> {
    const [container] = spec.containers;
    const args = container!.args.map((arg) =>
      arg.replace("/etc/culvert/targets", folder).replace("=/etc/culvert/", `=${folder}/`)
        // Pods have addresses of their own.
        .replace(/^--health-addr=:/, `--health-addr=${pod.ip}:`)
    );
    await this.client.create(pods, {
      metadata: {
        ...metadata,
        ...{ name: pod.name, namespace: pod.namespace },
        ownerReferences: [{ apiVersion: "apps/v1", kind: "Deployment", name, uid }],
      },
      spec: { containers: [{ name: "agent", image: container!.image }] },
    });
    this.#agents.set(pod.name, Program.start("agent.ts", args));
  }

  /** Writes down whether an agent is ready. */
  async #probe({ name, namespace, ip }: Pod): Promise<boolean> {
    const isReady = await fetch(`http://${ip}:${this.healthPort}/readyz`).then(
      async (response) => {
        await response.text();
        return response.ok;
      },
      () => false,
    );
    await this.client.apply(pods, {
      metadata: { name, namespace },
      status: {
        ...{ phase: "Running", podIP: ip, podIPs: [{ ip }] },
        conditions: [{ type: "Ready", status: isReady ? "True" : "False" }],
      },
    }, "status");
    return isReady;
  }

  /** Each in a folder of its own, as the Deployment's containers have them below /etc/culvert. */
  async #mountSecrets({ spec }: PodTemplate, namespace: string, folder: string): Promise<void> {
    for (const { name, secret } of spec.volumes) {
      if (!secret) continue;
      const found = await this.client.find(secrets, { namespace, name: secret.secretName });
      const data = (found?.["data"] ?? {}) as Record<string, string>;
      await Deno.mkdir(`${folder}/${name}`, { recursive: true });
      const items = secret.items ?? Object.keys(data).map((key) => ({ key, path: key }));
      for (const { key, path } of items) {
        if (data[key] !== undefined) {
          await replaceFile(`${folder}/${name}/${path}`, atob(data[key]));
        }
      }
      if (name === "credentials") await this.#mountCredentials(data);
    }
  }

  async #mountCredentials(data: Readonly<Record<string, string>>): Promise<void> {
    await Deno.mkdir(credentialsFolder, { recursive: true });
    for (const [file, text] of Object.entries(data)) {
      this.#credentials.add(file);
      await replaceFile(`${credentialsFolder}/${file}`, atob(text));
    }
    for (const file of this.#credentials) {
      if (data[file] !== undefined) continue;
      this.#credentials.delete(file);
      await Deno.remove(`${credentialsFolder}/${file}`);
    }
  }

  async #stopAgents(namespace: string, isUnwanted: (pod: string) => boolean): Promise<void> {
    for (const [name, program] of this.#agents) {
      if (!isUnwanted(name)) continue;
      await program.stop();
      this.#agents.delete(name);
      const pod = await this.client.find(pods, { namespace, name });
      if (pod) await this.client.delete(pods, { namespace, name }, pod.metadata.uid!);
    }
  }

  get healthPort(): number {
    return this.#healthPort;
  }

  /** Names of the agents' pods, and their uids. */
  async podUids(): Promise<readonly string[]> {
    const { items } = await this.client.list(pods, { namespace });
    return items.map(({ metadata }) => metadata.uid!);
  }

  agentPids(): readonly number[] {
    return [...this.#agents.values()].map(({ pid }) => pid);
  }

  agentLogs(): string {
    return [...this.#agents.values()].map((program) => program.logText()).join("\n");
  }

  /** Waits for a condition. @param at The object's namespace. */
  async condition(
    resource: Resource,
    name: string,
    type: string,
    reason: string,
    at = namespace,
  ): Promise<void> {
    let last: Condition | undefined;
    await eventually(
      async () => {
        const object = await this.client.find(resource, { namespace: at, name });
        const { conditions = [] } = (object?.["status"] ?? {}) as { conditions?: Condition[] };
        last = conditions.find((condition) => condition.type === type);
        return last?.reason === reason;
      },
      () =>
        `${type} of ${name} to be ${reason}; it is ${JSON.stringify(last)}\n` +
        `${this.operator?.logText()}\n${this.agentLogs()}`,
      patienceMs,
    );
  }

  /** A request to the relay's web listener. */
  async web(
    host: string,
    path = "/",
    fields: Readonly<Record<string, string>> = {},
  ): Promise<{ status: number; text: string }> {
    using client = Deno.createHttpClient({ allowHost: true });
    try {
      const response = await fetch(`http://127.0.0.1:${this.webPort}${path}`, {
        headers: { ...fields, host },
        client,
      });
      return { status: response.status, text: await response.text() };
    } catch (error) {
      // The connections of a service that changes may end.
      return { status: 0, text: String(error) };
    }
  }

  /** Asks the relay's admin API. */
  async admin(path: string): Promise<{ status: number; text: string }> {
    const headers = { authorization: `Bearer ${adminToken}` };
    const response = await fetch(`${this.adminUrl}/admin/v1/${path}`, { headers });
    return { status: response.status, text: await response.text() };
  }

  /** Adds a cluster at the relay. @returns the answer's status */
  async putEntry(id: string, entry: unknown): Promise<number> {
    const response = await fetch(`${this.adminUrl}/admin/v1/clusters/${id}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${adminToken}`, "content-type": "application/json" },
      body: JSON.stringify(entry),
    });
    await response.text();
    return response.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#kubelet;
    for (const program of [this.operator, ...this.#others]) await program?.stop();
    for (const program of this.#agents.values()) await program.stop();
    await this.relay.stop();
    this.#close();
    for (const host of this.#hosts.values()) await host[Symbol.asyncDispose]();
    for (const file of this.#credentials) await Deno.remove(`${credentialsFolder}/${file}`);
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** A pod that stands for one agent. */
interface Pod {
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
}

interface PodTemplate {
  readonly metadata: KubeObject["metadata"];
  readonly spec: {
    readonly containers: readonly {
      readonly image: string;
      readonly args: readonly string[];
    }[];
    readonly volumes: readonly {
      readonly name: string;
      readonly configMap?: { readonly name: string };
      readonly secret?: {
        readonly secretName: string;
        readonly items?: readonly { readonly key: string; readonly path: string }[];
      };
    }[];
  };
}

/** Writes a file at once, unless it is as wanted. */
async function replaceFile(path: string, text: string): Promise<void> {
  const before = await Deno.readTextFile(path).catch(() => undefined);
  if (before === text) return;
  await Deno.writeTextFile(`${path}.new`, text);
  await Deno.rename(`${path}.new`, path);
}

/** A kind of ours. */
export function kind(name: string, plural: string): Resource {
  return { group: "culvert.dev", version: "v1alpha1", kind: name, plural, isNamespaced: true };
}

export const tunnels = kind("Tunnel", "tunnels");
export const accessPolicies = kind("AccessPolicy", "accesspolicies");
export const tunnelBindings = kind("TunnelBinding", "tunnelbindings");

async function must(program: string, args: readonly string[], stdin = ""): Promise<string> {
  const options = { stdin, env: tools, timeoutMs: commandMs };
  const { code, stdout, stderr } = await run(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** The cluster of the tools' own kubeconfig. */
function parseConfig(text: string): { clusters: Record<string, string> } {
  const server = /server: "([^"]+)"/.exec(text)?.[1] ?? "";
  const authority = /certificate-authority: ([^}\s]+)/.exec(text)?.[1] ?? "";
  return { clusters: { server, "certificate-authority": authority } };
}
