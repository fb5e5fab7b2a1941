/**
 * Both charts installed on the real cluster, in a namespace of their own, with a caller beside them.
 * Pods share the host's network, so the relay is on loopback like everything else.
 */
import { fileURLToPath } from "node:url";
import { eventually } from "../support/deadline.ts";
import { fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchName } from "../e2e/scratch.ts";
import { imageRepository, imageTag } from "./build_images.ts";
import { chartFolder, type ChartName } from "./helm.ts";
import { must } from "./tools.ts";

/** The cluster's id at the relay. */
export const CLUSTER = "customer-a";

/** A name by which callers may ask for the relay. */
export const RELAY = "relay.test";

/** Ports of these tests' relays and agents; one installation is there at a time. */
export const ports = { public: 28443, internal: 28080, relayHealth: 28082, agentHealth: 28081 };
/** Of an agent that starts while another still has `ports.agentHealth`. */
const nextAgentHealth = 28083;

/** For a pod to be scheduled, started and ready on a busy machine. */
const WAIT = ["--wait", "--timeout", "180s"];
/** A little longer than that, so that helm and kubectl can say what they waited for. */
const patience = { timeoutMs: 200_000 };

/** Values of a chart. */
export type Values = { readonly [key: string]: unknown };

/** How an installation is set up. */
export interface InstallationOptions {
  /** Mutual TLS on both of the relay's listeners; else plain HTTP. */
  readonly isMutual: boolean;
  /** Whether callers, and with them the relay, have certificates of another CA than agents. */
  readonly hasCallersCa?: boolean;
  /** Whether the relay's chart makes a cluster Secret for Argo CD. */
  readonly hasArgocd?: boolean;
}

/** Names of the Secrets that hold what OpenSSL made. */
const secrets = {
  relay: "relay-tls",
  /** The CA of the relay's certificate and of callers'. */
  ca: "culvert-ca",
  agent: "agent-tls",
  agentsCa: "agents-ca",
};

/** One namespace with what the tests put there. */
export class Installation implements AsyncDisposable {
  readonly namespace = `culvert-${scratchName()}`;
  readonly folder: string;
  /** Beside the tunnel, with all rights. */
  readonly direct: KubeClient;
  /** Through the tunnel; has a client certificate if one is wanted. */
  readonly caller: KubeClient;
  readonly isMutual: boolean;
  readonly #hasCallersCa: boolean;
  readonly #hasArgocd: boolean;
  readonly #releases = new Set<string>();
  #agentHealth = ports.agentHealth;

  private constructor(folder: string, options: InstallationOptions) {
    this.folder = folder;
    this.isMutual = options.isMutual;
    this.#hasCallersCa = options.hasCallersCa ?? false;
    this.#hasArgocd = options.hasArgocd ?? false;
    this.direct = new KubeClient(fromEnvironment("KUBECONFIG"), `${folder}/direct`);
    this.caller = new KubeClient(`${folder}/caller.kubeconfig`, `${folder}/caller`);
  }

  /** Makes the namespace, and certificates if it is mutual TLS; installs nothing yet. */
  static async create(options: InstallationOptions): Promise<Installation> {
    const folder = await Deno.makeTempDir({ prefix: "culvert-deploy-" });
    const installation = new Installation(folder, options);
    try {
      await installation.direct.output(["create", "namespace", installation.namespace]);
      if (options.isMutual) await installation.renewCertificates();
      const kubeconfig = JSON.stringify(installation.#kubeconfig());
      await Deno.writeTextFile(`${folder}/caller.kubeconfig`, kubeconfig);
      return installation;
    } catch (error) {
      await installation[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What a caller has as its server, without a slash at the end. */
  get tunnelUrl(): string {
    return `${this.#scheme}://127.0.0.1:${ports.internal}/tunnel/${CLUSTER}`;
  }

  /** What agents dial. */
  get serverUrl(): string {
    return `${this.isMutual ? "wss" : "ws"}://127.0.0.1:${ports.public}/connect`;
  }

  get #scheme(): string {
    return this.isMutual ? "https" : "http";
  }

  /** Path of a file that `certificates.sh` made; `ca.crt` is the CA of the relay and of callers. */
  certificate(name: string): string {
    return `${name.startsWith("agent-") ? this.#agentsFolder : this.#folder}/${name}`;
  }

  /** What `certificates.sh` makes for the relay and for callers. */
  get #folder(): string {
    return `${this.folder}/certificates`;
  }

  /** What it makes for agents. */
  get #agentsFolder(): string {
    return this.#hasCallersCa ? `${this.folder}/agents` : this.#folder;
  }

  /**
   * A client for `fetch` that may name any host, with a certificate if there is one to be shown: Argo
   * CD's unless said.
   */
  async httpClient(certificate = "argocd"): Promise<Deno.HttpClient> {
    if (!this.isMutual) return Deno.createHttpClient({ allowHost: true });
    return Deno.createHttpClient({
      allowHost: true,
      caCerts: [await Deno.readTextFile(this.certificate("ca.crt"))],
      cert: await Deno.readTextFile(this.certificate(`${certificate}.crt`)),
      key: await Deno.readTextFile(this.certificate(`${certificate}.key`)),
    });
  }

  /** New certificates of the same CAs, and the Secrets that hold them. */
  async renewCertificates(): Promise<void> {
    const script = fileURLToPath(
      new URL("../../deploy/openssl/certificates.sh", import.meta.url),
    );
    const ofNode = ["get", "node", "-o", "jsonpath={.items[0].status.addresses[0].address}"];
    const names = ["127.0.0.1", "localhost", await this.direct.output(ofNode)];
    for (const folder of new Set([this.#folder, this.#agentsFolder])) {
      await must(script, [folder, CLUSTER, ...names]);
    }
    const pair = (name: string) => [
      `--cert=${this.certificate(`${name}.crt`)}`,
      `--key=${this.certificate(`${name}.key`)}`,
    ];
    await this.#secret(["tls", secrets.relay, ...pair("relay")]);
    await this.#secret(["tls", secrets.agent, ...pair(`agent-${CLUSTER}`)]);
    const ca = (folder: string) => `--from-file=ca.crt=${folder}/ca.crt`;
    await this.#secret(["generic", secrets.ca, ca(this.#folder)]);
    await this.#secret(["generic", secrets.agentsCa, ca(this.#agentsFolder)]);
  }

  /** A Secret with an agent's token, for the agent chart's `existingSecret`. */
  async tokenSecret(name: string, token: string): Promise<void> {
    await this.#secret(["generic", name, `--from-literal=token=${token}`]);
  }

  async #secret(args: readonly string[]): Promise<void> {
    const create = ["-n", this.namespace, "create", "secret", ...args];
    const stdin = await this.direct.output([...create, "--dry-run=client", "-o", "json"]);
    await this.direct.output(["-n", this.namespace, "apply", "-f", "-"], { stdin });
  }

  /** Installs or upgrades a relay, and waits until it is ready. */
  async installRelay(
    clusters: readonly Values[],
    more: Values = {},
    release = "culvert-relay",
  ): Promise<void> {
    const pem = async (name: string) => btoa(await Deno.readTextFile(this.certificate(name)));
    const argocdTls = this.isMutual && {
      caData: await pem("ca.crt"),
      clientCertData: await pem("argocd.crt"),
      clientKeyData: await pem("argocd.key"),
    };
    const tls = { enabled: true, certSecret: secrets.relay, clientCASecret: secrets.agentsCa };
    const callersTls = {
      certificates: [{ name: "argocd", clusters: [CLUSTER] }],
      ...this.#hasCallersCa && { caSecret: secrets.ca },
    };
    await this.#install("relay", release, {
      port: ports.public,
      internalPort: ports.internal,
      healthPort: ports.relayHealth,
      ...this.isMutual && { tls },
      // Nothing but this machine reaches the listeners.
      callers: { hosts: [RELAY], ...this.isMutual ? callersTls : { mode: "open" } },
      clusters,
      argocd: {
        enabled: this.#hasArgocd,
        serverURL: `${this.#scheme}://127.0.0.1:${ports.internal}`,
        ...argocdTls,
      },
      grace: "10s",
      test: { healthURL: `http://127.0.0.1:${ports.relayHealth}` },
      ...more,
    });
  }

  /** Installs or upgrades the agent, and waits until it is ready, which is: connected. */
  async installAgent(tokenSecret: string, more: Values = {}): Promise<void> {
    const tls = { serverCASecret: secrets.ca, clientCertSecret: secrets.agent };
    await this.#install("agent", "culvert-agent", {
      serverURL: this.serverUrl,
      ...this.isMutual ? { tls } : { allowInsecureServer: true },
      existingSecret: tokenSecret,
      targetAddr: fromEnvironment("KUBE_API"),
      healthPort: ports.agentHealth,
      maxRetryInterval: "500ms",
      grace: "10s",
      test: { healthURL: `http://127.0.0.1:${ports.agentHealth}` },
      ...more,
    });
  }

  /**
   * Upgrades the agent as on a network of pods: the new one connects beside the old one. Each has a
   * port of its own, as both are on the host's network.
   */
  async upgradeAgent(tokenSecret: string, more: Values = {}): Promise<void> {
    const rollingUpdate = { maxSurge: 1, maxUnavailable: 0 };
    this.#agentHealth = this.#agentHealth === nextAgentHealth ? ports.agentHealth : nextAgentHealth;
    const strategy = { type: "RollingUpdate", rollingUpdate };
    await this.installAgent(tokenSecret, { strategy, healthPort: this.#agentHealth, ...more });
  }

  async #install(chart: ChartName, release: string, values: Values): Promise<void> {
    this.#releases.add(release);
    const file = `${this.folder}/${release}.yaml`;
    const image = { repository: imageRepository(chart), tag: imageTag, pullPolicy: "Never" };
    await Deno.writeTextFile(file, JSON.stringify({ image, hostNetwork: true, ...values }));
    const where = ["--namespace", this.namespace, "--values", file];
    try {
      await this.direct.helm(
        ["upgrade", "--install", release, chartFolder(chart), ...where, ...WAIT],
        patience,
      );
      await this.#rolledOut(release);
    } catch (error) {
      throw new Error(`${String(error)}\n${await this.logs(release)}`, { cause: error });
    }
  }

  /** Waits until old pods are gone: helm waits for new ones to be ready, and not any longer. */
  async #rolledOut(release: string): Promise<void> {
    const status = ["rollout", "status", `deployment/${release}`, "--timeout=180s"];
    await this.direct.output(["-n", this.namespace, ...status], patience);
    await eventually(
      async () => (await this.pods(release)).split(";").length === 2,
      `one pod of ${release} to be left`,
      60_000,
    );
  }

  /** The pods of a release and what they logged, for failure messages. */
  async logs(release: string): Promise<string> {
    const { stdout, stderr } = await this.direct.kubectl(
      ["-n", this.namespace, "logs", `deployment/${release}`],
    );
    // Thousands of these are of no interest.
    const lines = stdout.split("\n").filter((line) => !line.includes('"status":200'));
    const pods = await this.direct.kubectl(["-n", this.namespace, "describe", "pods"]);
    return [...lines.slice(-100), stderr, pods.stdout.slice(-4_000)].join("\n");
  }

  /** A release's pods with their restarts: what an upgrade that restarts nothing leaves. */
  async pods(release: string): Promise<string> {
    const fields =
      "{range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount};{end}";
    const labels = ["-l", `app.kubernetes.io/instance=${release}`];
    return await this.direct.output(
      ["-n", this.namespace, "get", "pods", ...labels, "-o", `jsonpath=${fields}`],
    );
  }

  /**
   * Has the node look at its pods' Secrets now. It does so by itself within a minute or two, or when
   * a pod's metadata change.
   */
  async refreshVolumes(): Promise<void> {
    const stamp = `culvert-test/refreshed=${Date.now()}`;
    const annotate = ["-n", this.namespace, "annotate", "pods", "--all", "--overwrite", stamp];
    await this.direct.output(annotate);
  }

  /** Uninstalls all releases, and waits until none of their pods is left. */
  async uninstall(): Promise<void> {
    for (const release of this.#releases) {
      const where = ["--namespace", this.namespace, "--ignore-not-found", ...WAIT];
      await this.direct.helm(["uninstall", release, ...where], patience);
    }
    const pods = ["-n", this.namespace, "get", "pods", "-o", "name"];
    await eventually(
      async () => await this.direct.output(pods) === "",
      "the pods to be gone",
      60_000,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.uninstall();
    const namespace = ["delete", "namespace", this.namespace, "--ignore-not-found"];
    await this.direct.output([...namespace, "--wait=false"]);
    await Deno.remove(this.folder, { recursive: true });
  }

  /** A kubeconfig as JSON, which is YAML too. */
  #kubeconfig() {
    const authority = this.isMutual ? { "certificate-authority": this.certificate("ca.crt") } : {};
    const user = this.isMutual
      ? {
        "client-certificate": this.certificate("argocd.crt"),
        "client-key": this.certificate("argocd.key"),
      }
      : {};
    return {
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "tunnel", cluster: { server: this.tunnelUrl, ...authority } }],
      users: [{ name: "caller", user }],
      contexts: [{ name: "tunnel", context: { cluster: "tunnel", user: "caller" } }],
      "current-context": "tunnel",
    };
  }
}
