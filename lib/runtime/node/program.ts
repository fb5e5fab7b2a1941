/** What both programs share: options, exit codes, signals. */
import { reportFault } from "../../faults.ts";
import { processCounts } from "../../process_counts.ts";
import process from "node:process";
import { setDefaultHighWaterMark } from "node:stream";
import type { Command } from "../../commands/command.ts";
import type { PemText } from "../../config/commands/access_options.ts";
import { formatAddress, type ListenAddress } from "../../config/options/address.ts";
import { ConfigError } from "../../config/config_error.ts";
import type { Environment, Parsed } from "../../config/options/options.ts";
import type { Log } from "../../log.ts";
import { trustingFetch } from "../deno/trusting_fetch.ts";
import type { HttpServer } from "./http_server.ts";
import { changeFile } from "./locked_file.ts";
import { loadCaBundle, loadKeyPair, type PemSource } from "./key_material.ts";
import { exitLogged, flushLog } from "./log.ts";
import { memoryWithoutProc } from "./process_memory.ts";

/** What was given can't be used. */
const usageExitCode = 2;
/** The program itself, and not one of its connections, can't go on. */
const faultExitCode = 1;
/** The exit code after SIGINT, as shells have it. */
const interruptedExitCode = 130;

/**
 * What a socket of Node's holds of bytes that nobody takes, instead of its 64 KiB. Ours flow or are
 * paused, and with 1,000 streams that nobody reads this is 40 MB less in each program; throughput
 * is the same (docs/performance.md).
 */
const socketBufferBytes = 16 * 1024;

/** A program, as `runProgram` takes it. */
export interface ProgramParts<Options> {
  readonly name: string;
  readonly parse: (argv: readonly string[], env: Environment) => Parsed<Options>;
  /** What runs instead of the program when its word is the first argument. */
  readonly commands?: readonly Command[];
}

/**
 * Reads options and runs a program with them, or one of its commands; `--help` and `--version` print
 * and end.
 *
 * A {@link ConfigError}, from the options or from what was started with them, is one line on
 * standard error and exit code 2; anything else that is thrown is a bug and ends with code 1.
 */
export async function runProgram<Options>(
  { name, parse, commands = [] }: ProgramParts<Options>,
  run: (options: Options) => Promise<void>,
): Promise<void> {
  setDefaultHighWaterMark(false, socketBufferBytes);
  processCounts.residentBytes = memoryWithoutProc();
  try {
    const [word, ...rest] = process.argv.slice(2);
    const command = commands.find((command) => command.word === word);
    if (command) return await runCommand(name, command, rest);
    // As of git and kubectl: `relay help token`.
    const asked = word === "help" ? commands.find(({ word }) => word === rest[0]) : undefined;
    if (asked) return await runCommand(name, asked, ["--help"]);
    const parsed = parse(process.argv.slice(2), process.env);
    if (parsed.kind === "run") await run(parsed.options);
    else process.stdout.write(parsed.text.endsWith("\n") ? parsed.text : parsed.text + "\n");
  } catch (error) {
    if (!(error instanceof ConfigError)) {
      reportFault("process", error);
      return await exitLogged(faultExitCode);
    }
    await flushLog();
    process.stderr.write(`${name}: ${error.message}\n`);
    process.exit(usageExitCode);
  }
}

async function runCommand(name: string, command: Command, argv: readonly string[]): Promise<void> {
  const { text, warnings, exitCode = 0 } = await command.run(argv, process.env, {
    async checkTls({ ca, pair }) {
      if (pair) await loadKeyPair(sourceOf(pair.cert), sourceOf(pair.key), "client");
      if (ca) loadCaBundle(sourceOf(ca));
    },
    changeFile,
    fetchWith(ca) {
      if (ca) loadCaBundle(sourceOf(ca));
      return trustingFetch(ca?.pem);
    },
  });
  for (const warning of warnings) process.stderr.write(`${name}: ${warning}\n`);
  // Nothing that a command has left open may keep the program.
  process.stdout.write(text, () => process.exit(exitCode));
}

function sourceOf({ option, path, pem }: PemText): PemSource {
  return { origin: `Option --${option}`, path, text: pem };
}

/** Binds a listener. @throws {ConfigError} that names the option when the address can't be had. */
export async function listenOn(
  server: HttpServer,
  address: ListenAddress,
  option: string,
): Promise<string> {
  try {
    return formatAddress(await server.listen(address.hostname, address.port));
  } catch (error) {
    throw new ConfigError(listenFailure(`Option --${option}`, address, error));
  }
}

/** Why an address can't be had, and what to do. @param origin What asked for it. */
export function listenFailure(origin: string, address: ListenAddress, error: unknown): string {
  const { code, message } = error as { code?: string; message: string };
  const why = reasons[code ?? ""] ?? message;
  return `${origin}: can't listen on ${formatAddress(address)}: ${why}; ${remedyFor(code)}, ` +
    "or port 0 for a free one";
}

function remedyFor(code: string | undefined): string {
  return code === "EADDRINUSE"
    ? "if another relay or agent on this machine has it, give this one a port of its own"
    : "choose another address";
}

const reasons: Record<string, string> = {
  EADDRINUSE: "the port is in use",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "this machine has no such address",
};

/**
 * What comes within this time of the first signal, in milliseconds, is the same request to stop: a
 * supervisor signals a whole group of processes, and `deno task`, one of them, passes it on.
 */
const sameRequestMs = 500;

/** A signal that asks a program to stop. */
export type StopSignal = "SIGINT" | "SIGTERM";

/** Resolves with the first SIGINT or SIGTERM; a later one ends the process at once. */
export function untilSignalled(): Promise<StopSignal> {
  const { promise, resolve } = Promise.withResolvers<StopSignal>();
  let firstMs: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      const nowMs = performance.now();
      firstMs ??= nowMs;
      if (nowMs - firstMs > sameRequestMs) void exitLogged(interruptedExitCode);
      resolve(signal);
    });
  }
  return promise;
}

/** Says that open requests keep the program from ending, and for how long at most. */
export function logWaiting(log: Log, open: number, ms: number, signal: StopSignal): void {
  if (open === 0) return;
  const what = open === 1 ? "1 open request" : `${open} open requests`;
  const hint = signal === "SIGINT" ? "; press Ctrl-C again to stop now" : "";
  log.info(`Waiting for ${what} (${Math.ceil(ms / 1_000)} s)${hint}`, { open });
}
