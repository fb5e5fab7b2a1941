/**
 * culvert: one relay, and an agent for each of the target's listeners, so that the same relay serves
 * a plain and a TLS target. The caller speaks plain HTTP to the relay; TLS is the agent's work.
 */
import { randomToken, startTask } from "./culvert_programs.ts";
import { lineTo } from "./line.ts";
import { twoFreePorts } from "./ports.ts";
import { waitUntilAnswers } from "./probe.ts";
import { makeRoute, type Route, type RouteContext, type TargetKind, targetPort } from "./route.ts";
import type { Subprocess } from "./subprocess.ts";

const KINDS = ["plain", "tls"] as const;

/** Starts relay.ts and two agent.ts, and waits until requests pass through both agents. */
export async function startCulvert(context: RouteContext): Promise<Route> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-bench-culvert-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const tokens = { plain: randomToken(), tls: randomToken() };
  const [publicPort, internalPort] = twoFreePorts();

  const relay = stack.use(
    await startTask("relay", [
      ...["-addr", `127.0.0.1:${publicPort}`, "-internal-addr", `127.0.0.1:${internalPort}`],
      ...["-clusters", await writeClusters(folder, context, tokens)],
      ...["-log-level", context.logLevel],
    ]),
  );
  await waitUntilAnswers(`http://127.0.0.1:${internalPort}/healthz`, [relay], context.signal);
  const dialPort = await lineTo(publicPort, context, stack);
  const agents = {
    plain: stack.use(await startAgent("plain", dialPort, tokens.plain, folder, context)),
    tls: stack.use(await startAgent("tls", dialPort, tokens.tls, folder, context)),
  };

  const url: Route["url"] = (kind, path) =>
    `http://127.0.0.1:${internalPort}/tunnel/${kind}${path}`;
  for (const kind of KINDS) {
    const small = url(kind, context.target.smallPath);
    await waitUntilAnswers(small, [relay, agents[kind]], context.signal);
  }
  const processes: Route["processes"] = (kind) => [
    { role: "relay", pid: relay.pid },
    { role: "agent", pid: agents[kind].pid },
  ];
  return makeRoute(stack, [relay, agents.plain, agents.tls], { url, processes });
}

async function writeClusters(
  folder: string,
  { target }: RouteContext,
  tokens: Record<TargetKind, string>,
): Promise<string> {
  const path = `${folder}/clusters.json`;
  const clusters = KINDS.map((kind) => ({
    id: kind,
    token: tokens[kind],
    targetAddr: `127.0.0.1:${targetPort(target, kind)}`,
  }));
  await Deno.writeTextFile(path, JSON.stringify(clusters));
  return path;
}

async function startAgent(
  kind: TargetKind,
  dialPort: number,
  token: string,
  folder: string,
  context: RouteContext,
): Promise<Subprocess> {
  const credentialPath = `${folder}/token-${kind}`;
  await Deno.writeTextFile(credentialPath, randomToken());
  const toTarget = kind === "plain"
    ? ["-plain-target"]
    : ["-ca-cert", context.target.certificate.caPath];
  return await startTask("agent", [
    ...["-server", `ws://127.0.0.1:${dialPort}/connect`, "-allow-insecure-server"],
    ...["-token", token, "-sa-token-path", credentialPath],
    ...["-target", `127.0.0.1:${targetPort(context.target, kind)}`, ...toTarget],
    ...["-health-addr", "127.0.0.1:0", "-max-retry", "1s", "-log-level", context.logLevel],
  ]);
}
