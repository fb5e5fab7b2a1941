/** The benchmark's command line: what may be asked for, and the text of `--help`. */
import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { peers } from "./peers.ts";
import type { RouteName } from "./route.ts";

/** What a run does. Durations and sizes follow from `isQuick` (see plan.ts). */
export interface BenchOptions {
  /** Round trip of the delayed line in milliseconds; undefined runs the loopback part. */
  readonly rttMs: number | undefined;
  /** Rate of the delayed line, each way, in Mbit/s. */
  readonly rateMbit: number;
  /** How often each measurement is taken; the table shows medians. */
  readonly rounds: number;
  /** Rounds in which those take part that culvert's goals are not measured against. */
  readonly peerRounds: number;
  /** Seconds of requests for one row, and megabytes of one bulk transfer. */
  readonly seconds: number;
  readonly bulkMegabytes: number;
  /** Peers to compare with, of those that are on the PATH. */
  readonly peers: readonly RouteName[];
  /** A checkout of an earlier state, which gets a column of its own. */
  readonly before: URL | undefined;
  /** Short durations and small files: for a look, not for publication. */
  readonly isQuick: boolean;
  /** Selects measurements by their id. */
  readonly only: RegExp | undefined;
  /** Open downloads that nobody reads, in the memory measurement of that name. */
  readonly stalledStreams: number;
  /** What relay and agent get as `-log-level`. */
  readonly logLevel: string;
  /** Prints JSON instead of the table. */
  readonly isJson: boolean;
  /** Prints the ids of the selected measurements and ends. */
  readonly isList: boolean;
  /** Prints the help text and ends. */
  readonly isHelp: boolean;
}

/** A command line that cannot be run: reported in one line, exit code 2. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** What `--help` prints. */
export const HELP = `Usage: deno task bench [run] [options]
       deno task bench agents [options]   (see "deno task bench agents --help")
       deno task bench sign-in [options]  (see "deno task bench sign-in --help")

Starts a target (nginx, or a small one of its own), a relay and an agent on loopback, sends the same
work to the target directly, through each peer that is on the PATH and through culvert, in turn, and
prints one table. Ratios hold within a run; figures of two runs, or two machines, do not compare.

Peers, and how to get them:
${peers.map(({ name, source }) => `  ${name.padEnd(17)}  ${source}`).join("\n")}

Options:
  --quick            Short durations and 100 MB files: for a look, not for publication
  --rounds N         Take every measurement N times and show medians (default 1); memory once
  --peer-rounds N    The direct way and peers but rathole take part in N of them (default: all)
  --seconds N        Seconds of requests for one row (default 8, with --quick 2)
  --bulk MB          Size of one bulk transfer (default 1000, with --quick 100)
  --peers LIST       Peers to compare with, of those on the PATH; "none" for none (default: all)
  --before FOLDER    A checkout of an earlier state of culvert, which gets a column of its own
  --only PATTERN     Only measurements whose id matches this regular expression (see --list)
  --list             Print the ids of the measurements and end
  --rtt MS           The second part instead: agent and relay are MS apart (round trip) on a line of
                     limited rate, and so are caller and target in the direct comparison
  --rate MBIT        Rate of that line each way, in Mbit/s (default 1000; only with --rtt)
  --stalled N        Streams that nobody reads, in the measurement "memory/stalled" (default 1000)
  --log-level LEVEL  Log level of relay and agent (default info)
  --json             Print JSON instead of the table
  --help             Print this text

Examples:
  deno task bench --quick --only 'plain/keep-alive'
  deno task bench --rounds 3 --json > bench.json
  deno task bench --rounds 5 --peer-rounds 1 --before ../culvert-before
  deno task bench --rtt 50

Uses wrk and curl when they are on the PATH, else its own generator, and says which. Needs Linux
(/proc) for CPU and memory, and openssl for the target's certificate. Progress goes to standard
error. Exit code: 0 when every measurement was taken (whether or not the goals are met), 1 when one
failed, 2 for a wrong option.`;

/** The benchmarks there are, by name. `run` is what no name means. */
const BENCHMARKS = ["run"];

const LOG_LEVELS = ["debug", "info", "warn", "error"];

/** Reads the command line; throws {@link UsageError} with one line that says what would be right. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const { values, positionals } = parse(args);
  checkBenchmark(positionals);
  if (values.rate !== undefined && values.rtt === undefined) {
    throw new UsageError('Option "--rate" is about the delayed line: give "--rtt" too');
  }
  const rounds = positiveInteger("rounds", values.rounds ?? "1");
  const isQuick = values.quick ?? false;
  return {
    rttMs: values.rtt === undefined ? undefined : positiveNumber("rtt", values.rtt),
    rateMbit: positiveNumber("rate", values.rate ?? "1000"),
    rounds,
    peerRounds: positiveInteger("peer-rounds", values["peer-rounds"] ?? `${rounds}`),
    seconds: positiveNumber("seconds", values.seconds ?? (isQuick ? "2" : "8")),
    bulkMegabytes: positiveNumber("bulk", values.bulk ?? (isQuick ? "100" : "1000")),
    peers: peerList(values.peers),
    before: values.before === undefined ? undefined : checkout(values.before),
    isQuick,
    only: values.only === undefined ? undefined : pattern(values.only),
    stalledStreams: positiveInteger("stalled", values.stalled ?? "1000"),
    logLevel: logLevel(values["log-level"] ?? "info"),
    isJson: values.json ?? false,
    isList: values.list ?? false,
    isHelp: values.help ?? false,
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        rtt: { type: "string" },
        rate: { type: "string" },
        rounds: { type: "string" },
        "peer-rounds": { type: "string" },
        seconds: { type: "string" },
        bulk: { type: "string" },
        peers: { type: "string" },
        before: { type: "string" },
        quick: { type: "boolean" },
        only: { type: "string" },
        stalled: { type: "string" },
        "log-level": { type: "string" },
        json: { type: "boolean" },
        list: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    // Node's text goes on about positional arguments after its first sentence.
    throw new UsageError(`${reason.split(". ")[0]} (--help lists the options)`);
  }
}

function checkBenchmark(positionals: readonly string[]): void {
  const name = positionals[0] ?? "run";
  if (!BENCHMARKS.includes(name) || positionals.length > 1) {
    throw new UsageError(
      `Benchmark "${positionals.join(" ")}" is not known: must be one of ${
        BENCHMARKS.join(", ")
      }, ` +
        "or agents in front of everything else",
    );
  }
}

/** A whole number of at least 1, or {@link UsageError}. */
export function positiveInteger(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new UsageError(
      `Option "--${option}" must be a whole number of at least 1, got "${text}"`,
    );
  }
  return value;
}

/** A number over 0, or {@link UsageError}. */
export function positiveNumber(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value <= 0) {
    throw new UsageError(`Option "--${option}" must be a number over 0, got "${text}"`);
  }
  return value;
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text, "i");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`Option "--only" must be a regular expression: ${reason}`);
  }
}

function peerList(text: string | undefined): RouteName[] {
  const names = peers.map(({ name }) => name);
  if (text === undefined) return names;
  if (text === "none") return [];
  return text.split(",").map((name) => {
    const known = names.find((one) => one === name);
    if (known !== undefined) return known;
    throw new UsageError(
      `Option "--peers" must be a list of ${names.join(", ")}, or none, got "${text}"`,
    );
  });
}

function checkout(path: string): URL {
  const root = new URL(`${path}/`, `file://${Deno.cwd()}/`);
  if (existsSync(new URL("relay.ts", root))) return root;
  throw new UsageError(`Option "--before" must be a checkout of culvert, got "${path}"`);
}

function logLevel(text: string): string {
  if (LOG_LEVELS.includes(text)) return text;
  throw new UsageError(
    `Option "--log-level" must be one of ${LOG_LEVELS.join(", ")}, got "${text}"`,
  );
}
