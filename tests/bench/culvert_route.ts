/**
 * culvert: one relay, and an agent for each of the target's listeners and for TCP streams. The caller
 * speaks plain HTTP to the relay; TLS is the agent's work. The service at a hostname is the plain
 * target's, over the relay's web listener; TCP streams come in at a port of the relay's.
 */
import { randomToken, startTask, type TaskOptions } from "./culvert_programs.ts";
import { lineTo } from "./line.ts";
import { twoFreePorts } from "./ports.ts";
import { waitUntilAnswers } from "./probe.ts";
import { makeRoute, type Route, type RouteContext, type StartRoute, targetPort } from "./route.ts";
import { outputOf, type Subprocess } from "./subprocess.ts";

/** Clusters, each with an agent of its own. */
const CLUSTERS = ["plain", "tls", "tcp"] as const;
type Cluster = typeof CLUSTERS[number];

/** The hostname of the service. */
const HOST = "bench.example.com";

/** Starts relay.ts and agent.ts of this checkout, and waits until requests pass through each agent. */
export async function startCulvert(context: RouteContext): Promise<Route> {
  return await startTunnel(context, {});
}

/** The same with the programs of another checkout, for a comparison with an earlier state. */
export function startCulvertOf(root: URL): StartRoute {
  return async (context) => await startTunnel(context, { root });
}

async function startTunnel(context: RouteContext, source: TaskOptions): Promise<Route> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-bench-culvert-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const tokens = { plain: randomToken(), tls: randomToken(), tcp: randomToken() };
  const [publicPort, internalPort] = twoFreePorts();
  const [webPort, tcpPort] = twoFreePorts();
  const knowsServices = await hasServices(source);
  const services = knowsServices
    ? [
      ...["-web-addr", `127.0.0.1:${webPort}`],
      ...["-services", await writeServices(folder, context, tcpPort)],
    ]
    : [];

  const relay = stack.use(
    await startTask("relay", [
      ...["-addr", `127.0.0.1:${publicPort}`, "-internal-addr", `127.0.0.1:${internalPort}`],
      ...["-clusters", await writeClusters(folder, context, tokens), ...services],
      ...["-log-level", context.logLevel],
    ], source),
  );
  await waitUntilAnswers(`http://127.0.0.1:${internalPort}/healthz`, [relay], context.signal);
  const dialPort = await lineTo(publicPort, context, stack);
  const clusters = knowsServices ? CLUSTERS : CLUSTERS.filter((cluster) => cluster !== "tcp");
  const agents = new Map<Cluster, Subprocess>();
  for (const cluster of clusters) {
    const args = await agentArguments(cluster, dialPort, tokens[cluster], folder, context);
    agents.set(cluster, stack.use(await startTask("agent", args, source)));
  }

  const url: Route["url"] = (kind, path) => {
    if (kind === "service" && knowsServices) return `http://127.0.0.1:${webPort}${path}`;
    if (kind === "tcp" && knowsServices) return `http://127.0.0.1:${tcpPort}${path}`;
    return `http://127.0.0.1:${internalPort}/tunnel/${kind === "tls" ? "tls" : "plain"}${path}`;
  };
  for (const [cluster, agent] of agents) {
    const small = url(cluster, context.target.smallPath);
    await waitUntilAnswers(small, [relay, agent], context.signal);
  }
  const processes: Route["processes"] = (kind) => {
    const agent = agents.get(kind === "service" ? "plain" : kind) ?? agents.get("plain")!;
    return [{ role: "relay", pid: relay.pid }, { role: "agent", pid: agent.pid }];
  };
  const host: Route["host"] = (kind) => kind === "service" ? HOST : undefined;
  return makeRoute(stack, [relay, ...agents.values()], { url, host, processes });
}

/** Whether the programs know services at hostnames: the first versions did not. */
async function hasServices({ root }: TaskOptions): Promise<boolean> {
  if (root === undefined) return true;
  const relay = new URL("relay.ts", root).pathname;
  return /-services\b/.test(await outputOf([Deno.execPath(), "run", "-A", relay, "--help"]));
}

async function writeClusters(
  folder: string,
  { target }: RouteContext,
  tokens: Record<Cluster, string>,
): Promise<string> {
  const path = `${folder}/clusters.json`;
  const clusters = CLUSTERS.map((id) => ({
    id,
    token: tokens[id],
    targetAddr: `127.0.0.1:${targetPort(target, id)}`,
  }));
  await Deno.writeTextFile(path, JSON.stringify(clusters));
  return path;
}

async function writeServices(
  folder: string,
  { target }: RouteContext,
  tcpPort: number,
): Promise<string> {
  const path = `${folder}/services.json`;
  const web = `127.0.0.1:${targetPort(target, "service")}`;
  const services = [
    { name: "web", hostnames: [HOST], cluster: "plain", target: web, policy: "public" },
    {
      ...{
        name: "tcp",
        hostnames: ["tcp.example.com"],
        cluster: "tcp",
        target: "bytes",
        kind: "tcp",
      },
      ...{ policy: "public", listen: `127.0.0.1:${tcpPort}`, allow: ["127.0.0.0/8"] },
    },
  ];
  await Deno.writeTextFile(path, JSON.stringify({ services }));
  return path;
}

async function agentArguments(
  cluster: Cluster,
  dialPort: number,
  token: string,
  folder: string,
  context: RouteContext,
): Promise<string[]> {
  const toTarget = cluster === "tcp"
    ? ["-targets", await writeTargets(folder, context)]
    : await httpTarget(cluster, folder, context);
  return [
    ...["-server", `ws://127.0.0.1:${dialPort}/connect`, "-allow-insecure-server"],
    ...["-token", token, ...toTarget],
    ...["-health-addr", "127.0.0.1:0", "-max-retry", "1s", "-log-level", context.logLevel],
  ];
}

async function httpTarget(
  kind: "plain" | "tls",
  folder: string,
  { target }: RouteContext,
): Promise<string[]> {
  const credentialPath = `${folder}/token-${kind}`;
  await Deno.writeTextFile(credentialPath, randomToken());
  const security = kind === "plain" ? ["-plain-target"] : ["-ca-cert", target.certificate.caPath];
  const address = `127.0.0.1:${targetPort(target, kind)}`;
  return ["-target", address, "-sa-token-path", credentialPath, ...security];
}

async function writeTargets(folder: string, { target }: RouteContext): Promise<string> {
  const path = `${folder}/targets.json`;
  const address = `127.0.0.1:${targetPort(target, "tcp")}`;
  await Deno.writeTextFile(
    path,
    JSON.stringify({ targets: [{ name: "bytes", address, kind: "tcp" }] }),
  );
  return path;
}
