/**
 * The real programs as child processes, for system tests: started from the repository root on ports
 * of their own, followed through their JSON log, and stopped with nothing left behind.
 */
import { lastOfEach } from "./arguments.ts";
import { DeadlineError, DEFAULT_DEADLINE_MS, within } from "./deadline.ts";
import {
  type LogFilter,
  type LogLine,
  type LogWait,
  parseLogLine,
  ProgramLog,
  type ReadableLog,
} from "./program_log.ts";

export type { LogLine } from "./program_log.ts";

/** Where `relay.ts` and `agent.ts` lie. */
const repositoryRoot = new URL("../../", import.meta.url);

/** How long a program may take to stop in good order before it is killed; its own drain is 5–10 s. */
const STOP_TIMEOUT_MS = 20_000;

/** What a program that ended by itself left. */
export interface ProgramResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A running program. Dispose it with `await using`: it is stopped if it still runs, and one that
 * ended by itself in the meantime makes the disposal fail with its log.
 */
export class Program implements AsyncDisposable, ReadableLog {
  readonly pid: number;

  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #cleanups: (() => Promise<void>)[];
  readonly #log: ProgramLog;
  readonly #finished: Promise<number>;
  #isStopping = false;
  #exitCode: number | undefined;

  private constructor(name: string, child: Deno.ChildProcess, cleanups: (() => Promise<void>)[]) {
    this.#name = name;
    this.#child = child;
    this.#cleanups = cleanups;
    this.pid = child.pid;
    this.#log = new ProgramLog(`Log of ${name} (pid ${child.pid})`);
    this.#finished = this.#follow();
  }

  /**
   * Starts `deno run SCRIPT ARGS…` from the repository root, with the permissions of its task in
   * `deno.json`; `cleanups` run when it has ended.
   */
  static start(
    script: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
    cleanups: (() => Promise<void>)[] = [],
  ): Program {
    return new Program(script, command(script, lastOfEach(args), env).spawn(), cleanups);
  }

  /** Starts `deno ARGS…` from the repository root; `name` stands for it in messages. */
  static startDeno(
    name: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Program {
    return new Program(name, denoCommand(args, env).spawn(), []);
  }

  /** The exit code, once the program has ended. */
  get exitCode(): number | undefined {
    return this.#exitCode;
  }

  waitForLog(accepts: LogFilter, wait?: LogWait): Promise<LogLine> {
    return this.#log.waitForLog(accepts, wait);
  }

  waitForLogs(count: number, accepts: LogFilter, wait?: LogWait): Promise<LogLine[]> {
    return this.#log.waitForLogs(count, accepts, wait);
  }

  logAfter(action: () => Promise<void>, accepts: LogFilter, wait?: LogWait): Promise<LogLine> {
    return this.#log.logAfter(action, accepts, wait);
  }

  logUntil(accepts: LogFilter, wait?: LogWait): Promise<readonly LogLine[]> {
    return this.#log.logUntil(accepts, wait);
  }

  logWhen(
    holds: (lines: readonly LogLine[]) => boolean,
    wait?: LogWait,
  ): Promise<readonly LogLine[]> {
    return this.#log.logWhen(holds, wait);
  }

  async completeLog(): Promise<readonly LogLine[]> {
    if (this.#exitCode === undefined) await this.stop();
    else await this.#finished;
    return this.#log.lines;
  }

  /** The log so far, or its last lines, as text: for failure messages only. */
  logText(count?: number): string {
    return this.#log.text(count);
  }

  /** Asks the program to stop (SIGTERM) and returns its exit code; kills it if it does not. */
  async stop(): Promise<number> {
    this.#signal("SIGTERM");
    try {
      return await within(this.#finished, () => `${this.#name} to stop`, STOP_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
      await this.kill();
      throw new Error(`${error.message}; it was killed\n${this.logText()}`, { cause: error });
    }
  }

  /** Ends the program at once (SIGKILL), as a crash would. */
  async kill(): Promise<void> {
    this.#signal("SIGKILL");
    await this.#finished;
  }

  /** Waits for the program to end by itself, and returns its exit code. */
  async ended(timeoutMs: number = DEFAULT_DEADLINE_MS): Promise<number> {
    this.#isStopping = true;
    return await within(
      this.#finished,
      () => `${this.#name} to end by itself\n${this.logText()}`,
      timeoutMs,
    );
  }

  /** Resident memory in bytes, as the kernel counts it now. */
  async residentBytes(): Promise<number> {
    return await this.#statusBytes("VmRSS");
  }

  /** The highest resident memory so far, in bytes. */
  async peakResidentBytes(): Promise<number> {
    return await this.#statusBytes("VmHWM");
  }

  async #statusBytes(key: string): Promise<number> {
    const status = await Deno.readTextFile(`/proc/${this.pid}/status`);
    const match = new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(status);
    if (!match) throw new Error(`No ${key} in the status of process ${this.pid}`);
    return Number(match[1]) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const hasCrashed = this.#exitCode !== undefined && !this.#isStopping;
    if (this.#exitCode === undefined) await this.stop();
    else await this.#finished;
    if (hasCrashed) throw this.#endedError("the end of the test");
  }

  #signal(signal: Deno.Signal): void {
    this.#isStopping = true;
    if (this.#exitCode !== undefined) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // The child may have been reaped already while its last output is still being read.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  async #follow(): Promise<number> {
    const [status] = await Promise.all([
      this.#child.status,
      this.#collect(this.#child.stderr),
      this.#collect(this.#child.stdout),
    ]);
    this.#exitCode = status.code;
    this.#log.end((what) => this.#endedError(what));
    for (const cleanup of this.#cleanups) await cleanup();
    return status.code;
  }

  async #collect(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    let rest = "";
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#log.add(parseLogLine(line));
    }
    if (rest !== "") this.#log.add(parseLogLine(rest));
  }

  #endedError(what: string): Error {
    return new Error(
      `${this.#name} ended with code ${this.#exitCode} before ${what}\n${this.logText()}`,
    );
  }
}

/** A cluster as the clusters file of argocd-cluster-proxy has it; a test may add keys of newer versions. */
export interface ClusterEntry {
  readonly id: string;
  readonly token: string;
  readonly targetAddr: string;
  readonly [key: string]: unknown;
}

/** How to start a relay. */
export interface RelayOptions {
  /** The clusters file's entries. */
  readonly clusters: readonly ClusterEntry[];
  /** Further command-line arguments. */
  readonly args?: readonly string[];
  /** Environment variables on top of this process's own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A running relay and where it listens. */
export interface RunningRelay extends AsyncDisposable, ReadableLog {
  readonly program: Program;
  /** `host:port` of the public listener. */
  readonly publicAddress: string;
  /** `host:port` of the internal listener. */
  readonly internalAddress: string;
  /** What agents dial on the public listener in plain text: `ws://host:port/connect`. */
  readonly connectUrl: string;
  /** Base of a cluster's requests on the internal listener, without a slash at the end. */
  tunnelUrl(clusterId: string): string;
  /** Resolves when an agent of the cluster has connected. */
  waitForAgent(clusterId: string, timeoutMs?: number): Promise<void>;
  stop(): Promise<number>;
  kill(): Promise<void>;
}

/** Starts `relay.ts` on free loopback ports and waits until both listen. */
export async function startRelay(options: RelayOptions): Promise<RunningRelay> {
  const files = await TempFiles.create();
  const clusters = await files.write("clusters.json", JSON.stringify(options.clusters));
  const listen = ["-addr", "127.0.0.1:0", "-internal-addr", "127.0.0.1:0"];
  // Tests' requests come by whatever name; those of `--hosts` say so.
  const env = { HOSTS: "*", ...options.env };
  const args = [...listen, "-clusters", clusters, ...logArgs, ...options.args ?? []];
  const program = Program.start("relay.ts", args, env, [() => files.remove()]);
  try {
    const publicAddress = await addressOf(program, "public");
    const internalAddress = await addressOf(program, "internal");
    return runningRelay(program, publicAddress, internalAddress);
  } catch (error) {
    await program.kill();
    throw error;
  }
}

function runningRelay(
  program: Program,
  publicAddress: string,
  internalAddress: string,
): RunningRelay {
  return {
    program,
    ...readableLog(program),
    publicAddress,
    internalAddress,
    connectUrl: `ws://${publicAddress}/connect`,
    tunnelUrl: (clusterId) => `http://${internalAddress}/tunnel/${clusterId}`,
    async waitForAgent(clusterId, timeoutMs) {
      await program.waitForLog(
        (line) => line.message === "Agent connected" && line.cluster === clusterId,
        { what: `an agent of "${clusterId}"`, ...timeoutMs === undefined ? {} : { timeoutMs } },
      );
    },
    stop: () => program.stop(),
    kill: () => program.kill(),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

function readableLog(program: Program): ReadableLog {
  return {
    waitForLog: (accepts, wait) => program.waitForLog(accepts, wait),
    waitForLogs: (count, accepts, wait) => program.waitForLogs(count, accepts, wait),
    logAfter: (action, accepts, wait) => program.logAfter(action, accepts, wait),
    logUntil: (accepts, wait) => program.logUntil(accepts, wait),
    logWhen: (holds, wait) => program.logWhen(holds, wait),
    completeLog: () => program.completeLog(),
  };
}

/** How to start an agent. */
export interface AgentOptions {
  /** The relay's `ws://…/connect` or `wss://…/connect`. */
  readonly relayUrl: string;
  /** Without it, the arguments name its file. */
  readonly token?: string;
  /** `host:port` of the target; without it, the arguments say what there is. */
  readonly target?: string;
  /** What the ServiceAccount token file holds; without it the agent injects nothing. */
  readonly credential?: string;
  /** Whether the target speaks TLS; plain by default, as tests' own targets do. */
  readonly usesTlsTarget?: boolean;
  /** Whether to return only once a session is up (the default). */
  readonly waitsForSession?: boolean;
  /** Further command-line arguments. */
  readonly args?: readonly string[];
  /** Environment variables on top of this process's own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A running agent. */
export interface RunningAgent extends AsyncDisposable, ReadableLog {
  readonly program: Program;
  /** `host:port` of the health and metrics listener. */
  readonly healthAddress: string;
  /** Replaces the ServiceAccount token file's content at once, as a projected volume does. */
  rotateCredential(credential: string): Promise<void>;
  stop(): Promise<number>;
  kill(): Promise<void>;
}

/** Starts `agent.ts` with its health listener on a free loopback port. */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const files = await TempFiles.create();
  const credential = options.credential;
  const tokenPath = credential === undefined ? "" : await files.write("token", credential);
  const args = [...agentArgs(options, tokenPath), ...logArgs, ...options.args ?? []];
  const program = Program.start("agent.ts", args, options.env, [() => files.remove()]);
  try {
    const healthAddress = await addressOf(program, "health");
    if (options.waitsForSession !== false) {
      const isUp = (line: LogLine) => line.message === "Connected to relay";
      await program.waitForLog(isUp, { what: `"Connected to relay"` });
    }
    return runningAgent(program, files, healthAddress);
  } catch (error) {
    await program.kill();
    throw error;
  }
}

function agentArgs(options: AgentOptions, tokenPath: string): string[] {
  const args = ["-server", options.relayUrl, "-health-addr", "127.0.0.1:0"];
  if (options.token !== undefined) args.push("-token", options.token);
  if (options.target !== undefined) {
    args.push("-target", options.target, "-sa-token-path", tokenPath);
    if (!options.usesTlsTarget) args.push("-plain-target");
  }
  if (options.relayUrl.startsWith("ws:")) args.push("-allow-insecure-server");
  return args;
}

function runningAgent(program: Program, files: TempFiles, healthAddress: string): RunningAgent {
  return {
    program,
    ...readableLog(program),
    healthAddress,
    async rotateCredential(credential) {
      await files.write("token", credential);
    },
    stop: () => program.stop(),
    kill: () => program.kill(),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Runs a program that is expected to end by itself, such as with a wrong option or `--help`. */
export async function runProgram(
  script: "relay.ts" | "agent.ts" | "access.ts",
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  timeoutMs: number = DEFAULT_DEADLINE_MS,
): Promise<ProgramResult> {
  const child = command(script, args, env).spawn();
  const output = child.output();
  try {
    const { code, stdout, stderr } = await within(output, `${script} to end by itself`, timeoutMs);
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    if (error instanceof DeadlineError) {
      child.kill("SIGKILL");
      await output;
    }
    throw error;
  }
}

const logArgs = ["--log-format", "json"];

/**
 * For the environment of a program that is to run with all permissions. Deno opens devices only so,
 * and `/dev/full` stands for a full disk.
 */
export const unbound: Readonly<Record<string, string>> = { CULVERT_TEST_UNBOUND: "1" };

/** What a program may do when it is started as `deno.json` says, which is as users start it. */
function permissionsOf(script: string): readonly string[] {
  const { tasks } = JSON.parse(Deno.readTextFileSync(new URL("deno.json", repositoryRoot)));
  const command: string = tasks[script.replace(".ts", "")].command;
  return command.split(" ").filter((word) => word.startsWith("--allow-"));
}

function command(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Deno.Command {
  const isUnbound = Object.keys(unbound).some((name) => name in env);
  const permissions = isUnbound ? ["-A"] : permissionsOf(script);
  return denoCommand(["run", ...permissions, script, ...args], env);
}

function denoCommand(args: readonly string[], env: Readonly<Record<string, string>>): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: repositoryRoot,
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** The address that a program's listener of this name bound. */
export async function addressOf(
  program: Pick<ReadableLog, "waitForLog">,
  listener: string,
): Promise<string> {
  const line = await program.waitForLog(
    (entry) => entry.message === "Listening" && entry.listener === listener,
    { what: `"Listening" of the ${listener} listener` },
  );
  if (typeof line.address !== "string") {
    throw new Error(`"Listening" has no address: ${JSON.stringify(line)}`);
  }
  return line.address;
}

/** Files that live as long as one program. */
class TempFiles {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  static async create(): Promise<TempFiles> {
    return new TempFiles(await Deno.makeTempDir({ prefix: "culvert-test-" }));
  }

  /** Writes a file whole (through a rename, so that no reader sees half of it); returns its path. */
  async write(name: string, content: string): Promise<string> {
    const path = `${this.#directory}/${name}`;
    await Deno.writeTextFile(`${path}.new`, content);
    await Deno.rename(`${path}.new`, path);
    return path;
  }

  async remove(): Promise<void> {
    await Deno.remove(this.#directory, { recursive: true });
  }
}
