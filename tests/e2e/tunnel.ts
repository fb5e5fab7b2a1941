/**
 * The whole way from kubectl to the API server, made of the real programs: a relay, an agent beside
 * the API server, and a caller whose kubeconfig knows the relay only.
 */
import { loopbackFiles } from "../support/certificates.ts";
import { eventually } from "../support/deadline.ts";
import { type ClusterEntry, Program, type RunningRelay, startRelay } from "../support/programs.ts";
import { clusterTest, fromEnvironment } from "./environment.ts";
import { KubeClient } from "./kube_client.ts";

const CLUSTER = "e2e";
const AGENT_TOKEN = "e2e-agent-token-0123456789";

/** How a tunnel differs from the plain one. */
export interface TunnelOptions {
  /** Further keys of the cluster's entry in the clusters file. */
  readonly cluster?: Readonly<Record<string, unknown>>;
  /** Whether both listeners speak TLS and ask for client certificates. */
  readonly usesTls?: boolean;
  /** Path of the agent's ServiceAccount token; KUBE_SA_TOKEN by default. */
  readonly tokenPath?: string;
}

/** A relay and an agent at work, with the two ways to the API server: through them and beside them. */
export interface Tunnel extends AsyncDisposable {
  /** What a kubeconfig has as `server`; no final slash. */
  readonly url: string;
  readonly relay: RunningRelay;
  readonly agent: Program;
  /** Through the tunnel. Without credentials of its own: see {@link bogusTokenContext}. */
  readonly caller: KubeClient;
  /** Straight to the API server with KUBECONFIG's rights: to compare, to prepare, to clean up. */
  readonly direct: KubeClient;
  /** The path as `kubectl get --raw` needs it, which ignores the path of a kubeconfig's `server`. */
  rawPath(path: string): string;
  /** Starts another agent, such as after the first was killed. */
  startAgent(): Promise<Program>;
  /** Waits until the relay counts no open stream: what is over must not leave one behind. */
  untilIdle(): Promise<void>;
}

/** The caller's kubeconfig context that adds a bearer token which no API server would accept. */
export const bogusTokenContext = "bogus-token";

/** Where the TLS files lie that relay, agent and caller share. */
interface TlsFiles {
  readonly caPath: string;
  readonly certPath: string;
  readonly keyPath: string;
}

/** A test of what a caller sees through a tunnel; when it fails, both programs' logs are printed. */
export function tunnelTest(
  name: string,
  body: (tunnel: Tunnel) => Promise<void>,
  options: TunnelOptions = {},
): void {
  clusterTest(name, () => withTunnel(body, options));
}

/** Runs `body` with a tunnel of its own; when it throws, both programs' logs are printed. */
export async function withTunnel(
  body: (tunnel: Tunnel) => Promise<void>,
  options: TunnelOptions = {},
): Promise<void> {
  await using tunnel = await startTunnel(options);
  try {
    await body(tunnel);
  } catch (error) {
    // A program that crashed fails the disposal too, and a test runner shows only one of the two.
    console.error(error);
    console.error(`${tunnel.relay.program.logText()}\n${tunnel.agent.logText()}`);
    throw error;
  }
}

async function startTunnel(options: TunnelOptions): Promise<Tunnel> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-e2e-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const tls = options.usesTls ? await loopbackFiles(folder) : undefined;
  const relay = stack.use(await startRelay(relayOptions(options, tls)));
  const agent = stack.use(await startE2eAgent(relay, options, tls));
  await relay.waitForAgent(CLUSTER);
  const url = `${tls ? "https" : "http"}://${relay.internalAddress}/tunnel/${CLUSTER}`;
  const kubeconfig = `${folder}/caller.kubeconfig`;
  await Deno.writeTextFile(kubeconfig, JSON.stringify(callerKubeconfig(url, tls)));
  const owned = stack.move();
  return {
    url,
    relay,
    agent,
    caller: new KubeClient(kubeconfig, `${folder}/caller`),
    direct: new KubeClient(fromEnvironment("KUBECONFIG"), `${folder}/direct`),
    rawPath: (path) => `/tunnel/${CLUSTER}${path}`,
    startAgent: async () => owned.use(await startE2eAgent(relay, options, tls)),
    untilIdle: () => untilIdle(relay),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function relayOptions(options: TunnelOptions, tls: TlsFiles | undefined) {
  const entry: ClusterEntry = {
    id: CLUSTER,
    token: AGENT_TOKEN,
    targetAddr: fromEnvironment("KUBE_API"),
    ...options.cluster,
  };
  const args = tls
    ? ["-tls-cert", tls.certPath, "-tls-key", tls.keyPath, "-tls-client-ca", tls.caPath]
    : [];
  return { clusters: [entry], args };
}

async function startE2eAgent(
  relay: RunningRelay,
  options: TunnelOptions,
  tls: TlsFiles | undefined,
): Promise<Program> {
  const tokenPath = options.tokenPath ?? fromEnvironment("KUBE_SA_TOKEN");
  const toTarget = ["-target", fromEnvironment("KUBE_API"), "-ca-cert", fromEnvironment("KUBE_CA")];
  const toRelay = tls
    ? [
      ...["-server", `wss://${relay.publicAddress}/connect`, "-server-ca-cert", tls.caPath],
      ...["-client-cert", tls.certPath, "-client-key", tls.keyPath],
    ]
    : ["-server", relay.connectUrl, "-allow-insecure-server"];
  const agent = Program.start("agent.ts", [
    ...toRelay,
    ...["-token", AGENT_TOKEN, ...toTarget, "-sa-token-path", tokenPath],
    ...["-health-addr", "127.0.0.1:0", "--log-format", "json"],
  ]);
  try {
    await agent.waitForLog(({ message }) => message === "Connected to relay", {
      what: '"Connected to relay"',
    });
    return agent;
  } catch (error) {
    await agent.kill();
    throw error;
  }
}

/** How long a stream may outlive the kubectl that it served. */
const IDLE_TIMEOUT_MS = 5_000;

async function untilIdle(relay: RunningRelay): Promise<void> {
  let open = "";
  const isIdle = async () => {
    const metrics = await (await fetch(`http://${relay.internalAddress}/metrics`)).text();
    open = /^tunnel_active_connections\{.*\} (\d+)$/m.exec(metrics)?.[1] ?? "an unknown number of";
    return open === "0";
  };
  const what = () => `the relay to have no open stream; it has ${open}`;
  await eventually(isIdle, what, IDLE_TIMEOUT_MS);
}

/** A kubeconfig as JSON, which is YAML too. */
function callerKubeconfig(server: string, tls: TlsFiles | undefined) {
  const authority = tls ? { "certificate-authority": tls.caPath } : {};
  const identity = tls ? { "client-certificate": tls.certPath, "client-key": tls.keyPath } : {};
  return {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "tunnel", cluster: { server, ...authority } }],
    users: [
      { name: "nobody", user: identity },
      { name: "bogus", user: { ...identity, token: "bogus-token-of-the-caller" } },
    ],
    contexts: [
      { name: "plain", context: { cluster: "tunnel", user: "nobody" } },
      { name: bogusTokenContext, context: { cluster: "tunnel", user: "bogus" } },
    ],
    "current-context": "plain",
  };
}
