/**
 * `deno task bench agents`: one relay and many agents that do nothing: what an idle agent costs in
 * memory, how fast agents can come, and what keeping them alive takes. docs/scale.md has the figures
 * and what follows from them.
 *
 * The agents are simulated: the real session over a real WebSocket, without a process each.
 */
import { parseArgs } from "node:util";
import { Session } from "../../lib/protocol/session.ts";
import { defaultSettings } from "../../lib/protocol/settings.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { loopbackFiles } from "../support/certificates.ts";
import { randomToken, startTask } from "./culvert_programs.ts";
import { describeMachine, type Machine } from "./machine.ts";
import { positiveInteger, UsageError } from "./options.ts";
import { twoFreePorts } from "./ports.ts";
import { cpuSeconds, settledResidentBytes } from "./process_figures.ts";
import { pause } from "./wait.ts";

/** What `--help` prints. */
export const AGENTS_HELP = `Usage: deno task bench agents [options]

Starts a relay, connects simulated agents to it, one for each cluster, and prints what they cost:
memory for each idle agent, handshakes a second, and CPU time for keeping them alive.

Options:
  --agents N         Agents, and clusters (default 2000)
  --clusters N       Clusters that the relay knows, if more than agents
  --idle SECONDS     How long the idle agents are watched (default 60)
  --parallel N       Handshakes at a time (default 64)
  --tls              TLS between agents and relay
  --json             Print JSON instead of the table
  --help             Print this text

Needs Linux (/proc), and openssl for --tls. Each agent takes a file descriptor on both sides.`;

interface AgentsOptions {
  readonly agents: number;
  readonly clusters: number;
  readonly idleSeconds: number;
  readonly parallel: number;
  readonly usesTls: boolean;
}

/** What was measured; the relay's own cost throughout. */
interface AgentsReport {
  readonly machine: Machine;
  readonly agents: number;
  readonly clusters: number;
  readonly tls: boolean;
  /** Resident memory with all clusters known and no agent, in bytes. */
  readonly relayBytes: number;
  readonly bytesPerAgent: number;
  /** As the machine allows with the agents on it too. */
  readonly handshakesPerSecond: number;
  readonly cpuMsPerHandshake: number;
  /** Pings included. */
  readonly cpuMsPerIdleAgentAndMinute: number;
}

/** Runs it; the exit code. */
export async function benchAgents(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { values } = parse(args);
  if (values.help) {
    console.log(AGENTS_HELP);
    return 0;
  }
  const agents = positiveInteger("agents", values.agents ?? "2000");
  const report = await measure({
    agents,
    clusters: Math.max(agents, positiveInteger("clusters", values.clusters ?? "1")),
    idleSeconds: positiveInteger("idle", values.idle ?? "60"),
    parallel: positiveInteger("parallel", values.parallel ?? "64"),
    usesTls: values.tls ?? false,
  }, signal);
  console.log(values.json ? JSON.stringify(report, null, 2) : formatted(report));
  return 0;
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        agents: { type: "string" },
        clusters: { type: "string" },
        idle: { type: "string" },
        parallel: { type: "string" },
        tls: { type: "boolean" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${reason.split(". ")[0]} ("agents --help" lists the options)`);
  }
}

async function measure(options: AgentsOptions, signal: AbortSignal): Promise<AgentsReport> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-bench-agents-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const tokens = Array.from({ length: options.clusters }, randomToken);
  const clustersPath = `${folder}/clusters.json`;
  const clusters = tokens.map((token, index) => ({ id: `c${index}`, token, targetAddr: "t:1" }));
  await Deno.writeTextFile(clustersPath, JSON.stringify(clusters));
  const files = options.usesTls ? await loopbackFiles(folder) : undefined;
  const [publicPort, internalPort] = twoFreePorts();
  const relay = stack.use(
    await startTask("relay", [
      ...["-addr", `127.0.0.1:${publicPort}`, "-internal-addr", `127.0.0.1:${internalPort}`],
      ...["-clusters", clustersPath, "-log-level", "warn"],
      ...(files ? ["-tls-cert", files.certPath, "-tls-key", files.keyPath] : []),
      // The internal listener would speak TLS as well: probes go here.
      ...["-health-addr", "127.0.0.1:0"],
    ]),
  );
  await untilListens(publicPort, relay.ended, signal);
  const relayBytes = await settledResidentBytes(relay.pid, { signal });

  const ca = files && await Deno.readTextFile(files.caPath);
  const url = `${files ? "wss" : "ws"}://127.0.0.1:${publicPort}/connect`;
  const crowd = stack.use(new Crowd({ url, ca }));
  const cpuAtStart = await cpuSeconds(relay.pid);
  const startMs = performance.now();
  await crowd.connect(tokens.slice(0, options.agents), options.parallel);
  const seconds = (performance.now() - startMs) / 1000;
  const cpuOfHandshakes = await cpuSeconds(relay.pid) - cpuAtStart;

  const bytes = await settledResidentBytes(relay.pid, { timeoutMs: 30_000, signal });
  const cpuBefore = await cpuSeconds(relay.pid);
  await pause(options.idleSeconds * 1000, signal);
  const cpuOfIdle = await cpuSeconds(relay.pid) - cpuBefore;
  if (crowd.lost > 0) throw new Error(`${crowd.lost} agents lost their session meanwhile`);
  return {
    machine: await describeMachine(),
    agents: options.agents,
    clusters: options.clusters,
    tls: options.usesTls,
    relayBytes,
    bytesPerAgent: (bytes - relayBytes) / options.agents,
    handshakesPerSecond: options.agents / seconds,
    cpuMsPerHandshake: cpuOfHandshakes * 1000 / options.agents,
    cpuMsPerIdleAgentAndMinute: cpuOfIdle * 1000 / options.agents * 60 / options.idleSeconds,
  };
}

async function untilListens(
  port: number,
  ended: Promise<unknown>,
  signal: AbortSignal,
): Promise<void> {
  let hasEnded = false;
  ended.then(() => hasEnded = true);
  for (;;) {
    signal.throwIfAborted();
    if (hasEnded) throw new Error("The relay ended");
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    }
    await pause(50, signal);
  }
}

/** Agents that keep their sessions up and do nothing. */
class Crowd implements Disposable {
  readonly #relay: { url: string; ca: string | undefined };
  readonly #sessions: Session[] = [];
  readonly #stop = new AbortController();
  /** Sessions that ended though nobody asked for it. */
  lost = 0;

  constructor(relay: { url: string; ca: string | undefined }) {
    this.#relay = relay;
  }

  /** Connects an agent for each token, and waits until the relay knows them all. */
  async connect(tokens: readonly string[], parallel: number): Promise<void> {
    const left = [...tokens];
    const worker = async (): Promise<void> => {
      for (let token = left.pop(); token !== undefined; token = left.pop()) await this.#add(token);
    };
    await Promise.all(Array.from({ length: parallel }, worker));
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    for (const session of this.#sessions) session.close(1001, "The benchmark is over");
  }

  async #add(token: string): Promise<void> {
    const socket = await dialRelay({ ...this.#relay, token }, this.#stop.signal);
    const session = new Session(socket, {
      role: "agent",
      settings: { ...defaultSettings, instance: crypto.randomUUID(), software: "bench" },
      offersVersion2: true,
      defer: setImmediate,
      events: { opened: (stream) => stream.close() },
    });
    this.#sessions.push(session);
    session.closed.then(() => {
      if (!this.#stop.signal.aborted) this.lost++;
    });
    await session.ready;
  }
}

function formatted(report: AgentsReport): string {
  const kib = (bytes: number): string => `${(bytes / 1024).toFixed(1)} KiB`;
  const { agents, clusters, tls, machine } = report;
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.system}, Deno ${machine.deno}; ` +
    `load before ${machine.loadBefore.toFixed(1)}`,
    `${agents} agents, ${clusters} clusters, ${tls ? "TLS" : "no TLS"}`,
    "",
    `the relay without agents             ${(report.relayBytes / 1024 / 1024).toFixed(1)} MiB`,
    `memory for each idle agent           ${kib(report.bytesPerAgent)}`,
    `handshakes a second                  ${report.handshakesPerSecond.toFixed(0)}`,
    `CPU for a handshake                  ${report.cpuMsPerHandshake.toFixed(2)} ms`,
    `CPU for an idle agent, each minute   ${report.cpuMsPerIdleAgentAndMinute.toFixed(2)} ms`,
  ].join("\n");
}
