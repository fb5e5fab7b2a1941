/**
 * Many small requests: wrk when it is installed, else load_generator.ts. Either as a process of its
 * own with one thread, so that the two cores' other work is the same on every way.
 */
import { findProgram, outputOf } from "./subprocess.ts";

/** What to send. */
export interface RequestLoad {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  /** Whether connections are used again; else each request has a connection of its own. */
  readonly isKeepAlive: boolean;
  /** Header fields, `Host` too. */
  readonly fields?: Readonly<Record<string, string>>;
}

/** What came of it. Latency counts from the writing of a request, not from the connecting. */
export interface RequestFigures {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** A program that sends requests. Throws when an answer was not 2xx or a connection failed. */
export interface RequestGenerator {
  /** Name and version, for the report. */
  readonly description: string;
  run(load: RequestLoad, signal: AbortSignal): Promise<RequestFigures>;
}

/** The generator to use on this machine. */
export async function findRequestGenerator(): Promise<RequestGenerator> {
  const wrk = findProgram("wrk");
  if (wrk === undefined) {
    return { description: "the bench's own generator (wrk is not installed)", run: runOwn };
  }
  // wrk prints its version together with its usage, and ends with 1.
  const { stdout } = await new Deno.Command(wrk, { args: ["-v"], stderr: "null" }).output();
  const version = /wrk \S*?([\d.]+\S*)/.exec(new TextDecoder().decode(stdout))?.[1];
  return {
    description: `wrk ${version ?? "of unknown version"}, one thread`,
    run: (load, signal) => runWrk(wrk, load, signal),
  };
}

async function runWrk(
  wrk: string,
  load: RequestLoad,
  signal: AbortSignal,
): Promise<RequestFigures> {
  const { url, connections, seconds, isKeepAlive, fields = {} } = load;
  const header = Object.entries(fields).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  if (!isKeepAlive) header.push("-H", "Connection: close");
  const shape = ["-t", "1", "-c", `${connections}`, "-d", `${seconds}s`, "--timeout", "10s"];
  return parseWrk(await outputOf([wrk, ...shape, "--latency", ...header, url], signal));
}

/** Reads wrk's report; throws what it reports as wrong. */
export function parseWrk(report: string): RequestFigures {
  const bad = /Non-2xx or 3xx responses: (\d+)/.exec(report)?.[1];
  if (bad !== undefined) throw new Error(`${bad} answers were not 2xx or 3xx`);
  const errors = /Socket errors: (.*)/.exec(report)?.[1];
  if (errors !== undefined) throw new Error(`Socket errors: ${errors}`);
  const requests = Number(field(report, /(\d+) requests in /));
  if (requests === 0) throw new Error("No request was answered");
  return {
    requests,
    perSecond: Number(field(report, /Requests\/sec:\s+([\d.]+)/)),
    p50Ms: milliseconds(field(report, /^\s+50%\s+(\S+)/m)),
    p99Ms: milliseconds(field(report, /^\s+99%\s+(\S+)/m)),
  };
}

function field(report: string, pattern: RegExp): string {
  const value = pattern.exec(report)?.[1];
  if (value === undefined) throw new Error(`Report of wrk has no ${pattern.source}: ${report}`);
  return value;
}

const UNIT_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

function milliseconds(text: string): number {
  const [, value, unit = ""] = /^([\d.]+)(us|ms|s|m)$/.exec(text) ?? [];
  const factor = UNIT_MS[unit];
  if (factor === undefined) throw new Error(`Latency of wrk is no duration: "${text}"`);
  return Number(value) * factor;
}

async function runOwn(load: RequestLoad, signal: AbortSignal): Promise<RequestFigures> {
  const script = new URL("./load_generator.ts", import.meta.url).pathname;
  const args = ["run", "--allow-net", script, JSON.stringify(load)];
  return JSON.parse(await outputOf([Deno.execPath(), ...args], signal));
}
