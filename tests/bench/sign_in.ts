/**
 * `deno task bench sign-in`: what a signed-in request costs beside an anonymous one, and what people's
 * sessions take of the relay's memory. docs/benchmarks.md and docs/scale.md have the figures.
 */
import { parseArgs } from "node:util";
import { clientId, clientSecret, FakeProvider } from "../signin/fake_provider.ts";
import { originOf, SocketBrowser } from "../signin/programs.ts";
import { randomToken, startTask } from "./culvert_programs.ts";
import { describeMachine, type Machine } from "./machine.ts";
import { positiveInteger, UsageError } from "./options.ts";
import { twoFreePorts } from "./ports.ts";
import { cpuSeconds } from "./process_figures.ts";
import { waitUntilAnswers } from "./probe.ts";
import { findRequestGenerator, type RequestGenerator } from "./request_load.ts";
import { measureSessionBytes } from "./session_memory.ts";
import { median } from "./statistics.ts";
import type { Subprocess } from "./subprocess.ts";
import { type BenchTarget, startTarget } from "./target.ts";

const HELP = `Usage: deno task bench sign-in [options]

Sends small requests to two services of one relay in turn: one is public, the other demands a session.
Prints what a signed-in request costs beside an anonymous one: CPU time of the relay, and latency. Then
makes sessions in a process of their own, and prints what each takes of memory.

Options:
  --rounds N         Turns of each kind (default 7)
  --seconds N        Length of a turn (default 5)
  --connections N    Connections at a time (default 8)
  --sessions N       Sessions in memory (default 10000)
  --groups N         Groups of each person (default 20)
  --json             Print JSON instead of the table
  --help             Print this text

Needs Linux (/proc). The goal is at most 1.15 times the CPU and the latency of an anonymous request.`;

/** A signed-in request may cost this much of an anonymous one's. */
const maxRatio = 1.15;
const services = ["open", "app"] as const;

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly sessions: number;
  readonly groups: number;
}

interface Turn {
  /** Of the relay, for one request. */
  readonly cpuUs: number;
  readonly p50Ms: number;
}

/** What was measured; medians of the turns. */
interface SignInReport {
  readonly machine: Machine;
  readonly anonymous: Turn;
  readonly signedIn: Turn;
  /** Medians of the ratios of turns that followed each other. */
  readonly cpuRatio: number;
  readonly p50Ratio: number;
  readonly sessions: number;
  readonly bytesPerSession: number;
}

/** Runs it; the exit code is 1 if the goal is missed. */
export async function benchSignIn(args: readonly string[], signal: AbortSignal): Promise<number> {
  const { values } = parse(args);
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const number = (name: keyof Options, usual: string) =>
    positiveInteger(name, values[name] ?? usual);
  const report = await measure({
    rounds: number("rounds", "7"),
    seconds: number("seconds", "5"),
    connections: number("connections", "8"),
    sessions: number("sessions", "10000"),
    groups: number("groups", "20"),
  }, signal);
  console.log(values.json ? JSON.stringify(report, null, 2) : format(report));
  return Math.max(report.cpuRatio, report.p50Ratio) <= maxRatio ? 0 : 1;
}

function parse(args: readonly string[]) {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        ...{ rounds: text, seconds: text, connections: text, sessions: text, groups: text },
        ...{ json: flag, help: flag },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

async function measure(options: Options, signal: AbortSignal): Promise<SignInReport> {
  const turns: Record<typeof services[number], Turn[]> = { open: [], app: [] };
  const machine = await describeMachine();
  {
    await using system = await start(signal);
    const generator = await findRequestGenerator();
    // The first turns warm the code up.
    for (let round = -1; round < options.rounds; round++) {
      for (const service of round % 2 === 0 ? services : services.toReversed()) {
        const turn = await take(system, service, generator, options, signal);
        if (round >= 0) turns[service].push(turn);
      }
    }
  }
  const ratios = (key: keyof Turn) =>
    median(turns.app.map((turn, index) => turn[key] / turns.open[index]![key]));
  const { sessions, groups } = options;
  return {
    machine,
    anonymous: medianTurn(turns.open),
    signedIn: medianTurn(turns.app),
    cpuRatio: ratios("cpuUs"),
    p50Ratio: ratios("p50Ms"),
    sessions,
    bytesPerSession: await measureSessionBytes({ sessions, groups }, signal),
  };
}

function medianTurn(turns: readonly Turn[]): Turn {
  return {
    cpuUs: median(turns.map(({ cpuUs }) => cpuUs)),
    p50Ms: median(turns.map(({ p50Ms }) => p50Ms)),
  };
}

/** A relay with both services, and a browser's cookie. */
interface System extends AsyncDisposable {
  readonly port: number;
  readonly relay: Subprocess;
  readonly target: BenchTarget;
  readonly cookie: string;
}

async function start(signal: AbortSignal): Promise<System> {
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-bench-signin-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const target = stack.use(await startTarget(1, signal));
  const { provider } = stack.use(await FakeProvider.listen());
  const [publicPort, internalPort] = twoFreePorts();
  const [port] = twoFreePorts();
  const token = randomToken();
  const address = `127.0.0.1:${target.plainPort}`;
  await Deno.writeTextFile(
    `${folder}/clusters.json`,
    JSON.stringify([{ id: "bench", token, targetAddr: address }]),
  );
  await Deno.writeTextFile(
    `${folder}/services.yaml`,
    `
login: { host: "login.localhost:${port}" }
providers:
  - { name: corp, kind: oidc, issuer: "${provider.issuer}", clientId: ${clientId},
      clientSecret: ${clientSecret} }
policies: [{ name: staff, any: [{ emailDomain: example.com }] }]
services:
  - { name: open, hostnames: ["open.localhost:${port}"], cluster: bench, target: "${address}", policy: public }
  - { name: app, hostnames: ["app.localhost:${port}"], cluster: bench, target: "${address}", policy: staff }
`,
  );
  const relay = stack.use(
    await startTask("relay", [
      ...["-addr", `127.0.0.1:${publicPort}`, "-internal-addr", `127.0.0.1:${internalPort}`],
      ...["-clusters", `${folder}/clusters.json`, "-services", `${folder}/services.yaml`],
      ...["-web-addr", `127.0.0.1:${port}`, "-log-level", "error"],
    ]),
  );
  await waitUntilAnswers(`http://127.0.0.1:${internalPort}/healthz`, [relay], signal);
  const agent = stack.use(
    await startTask("agent", [
      ...["-server", `ws://127.0.0.1:${publicPort}/connect`, "-allow-insecure-server"],
      ...["-token", token, "-target", address, "-plain-target", "-sa-token-path", ""],
      ...["-health-addr", "127.0.0.1:0", "-max-retry", "1s", "-log-level", "error"],
    ]),
  );
  const small = `http://127.0.0.1:${internalPort}/tunnel/bench${target.smallPath}`;
  await waitUntilAnswers(small, [relay, agent], signal);
  const browser = new SocketBrowser();
  const page = await browser.open(originOf({ port }, "app") + target.smallPath);
  if (page.status !== 200) throw new Error(`Signing in came to ${page.status}`);
  const cookie = browser.cookies("app.localhost");
  const owned = stack.move();
  return { port, relay, target, cookie, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function take(
  { port, relay, target, cookie }: System,
  service: typeof services[number],
  generator: RequestGenerator,
  { seconds, connections }: Options,
  signal: AbortSignal,
): Promise<Turn> {
  const before = await cpuSeconds(relay.pid);
  const figures = await generator.run({
    url: `http://127.0.0.1:${port}${target.smallPath}`,
    // A browser sends its cookies to public services too: both requests are equally long.
    fields: { Host: `${service}.localhost:${port}`, Cookie: cookie },
    ...{ connections, seconds, isKeepAlive: true },
  }, signal);
  const spent = await cpuSeconds(relay.pid) - before;
  return { cpuUs: spent / figures.requests * 1e6, p50Ms: figures.p50Ms };
}

function format(report: SignInReport): string {
  const { machine, anonymous, signedIn, cpuRatio, p50Ratio, sessions, bytesPerSession } = report;
  const row = (name: string, ...cells: readonly string[]) => `| ${[name, ...cells].join(" | ")} |`;
  const isMet = (ratio: number) => `${ratio.toFixed(2)} (goal: ≤ ${maxRatio})`;
  return [
    `${JSON.stringify(machine)}`,
    "",
    row("requests", "anonymous", "signed in", "ratio"),
    row("---", "---", "---", "---"),
    row(
      "CPU of the relay",
      `${anonymous.cpuUs.toFixed(0)} µs`,
      `${signedIn.cpuUs.toFixed(0)} µs`,
      isMet(cpuRatio),
    ),
    row(
      "latency p50",
      `${anonymous.p50Ms.toFixed(2)} ms`,
      `${signedIn.p50Ms.toFixed(2)} ms`,
      isMet(p50Ratio),
    ),
    "",
    `${sessions} sessions: ${(bytesPerSession / 1024).toFixed(1)} KiB each, ` +
    `${(sessions * bytesPerSession / 1e6).toFixed(0)} MB`,
  ].join("\n");
}
