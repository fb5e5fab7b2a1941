/** The program's log: lines on standard error, JSON for machines, readable on a terminal. */
import process from "node:process";
import type { Log } from "../../log.ts";
import { processCounts } from "../../process_counts.ts";
import { type WriteSome, writeToStandardError } from "../deno/standard_streams.ts";
import { LineWriter } from "./line_writer.ts";
import { JsonLines, type LineFormat, type LogFields, type LogLevel } from "./log_line.ts";
import { TextLines, wantsColor } from "./text_line.ts";

/** How a program logs. */
export interface LogOptions {
  /** `relay` or `agent`. */
  program: string;
  level: LogLevel;
  /** `auto` is `text` on a terminal and `json` elsewhere. */
  format: "text" | "json" | "auto";
  /** What takes the lines; standard error unless given. */
  write?: WriteSome | undefined;
  /** If the program runs in several processes: this one's number, and whether their log is a terminal. */
  worker?: { readonly worker: number; readonly isTerminal: boolean } | undefined;
}

/** How long writing the queued lines may take when the program ends, in milliseconds. */
const lastLinesMs = 500;

/** The log of the process, once there is one. */
let writer: LineWriter | undefined;

/** Sets up the log of the whole process. */
export function setUpLog(options: LogOptions): Log {
  const lines = writer = new LineWriter(options.write ?? writeToStandardError, {
    lost: (count) => processCounts.lostLogLines += count,
    resumed: (lost) => log.error("Lost log lines that could not be written", { lines: lost }),
  });
  const log = lineLog(options.level, formatOf(options), (line, isUrgent) => {
    lines.write(line, isUrgent);
  });
  return log;
}

/** Waits for the lines that are queued to be written, half a second at most. */
export async function flushLog(): Promise<void> {
  await writer?.flush(lastLinesMs);
}

/** Ends the process once {@link flushLog} has returned. */
export async function exitLogged(code: number): Promise<never> {
  await flushLog();
  process.exit(code);
}

/**
 * A log of lines.
 *
 * @param write Takes each line; `isUrgent` for what is not to wait for further lines.
 */
export function lineLog(
  least: LogLevel,
  format: LineFormat,
  write: (line: string, isUrgent: boolean) => void,
): Log {
  const logger = (level: LogLevel) => {
    if (levels.indexOf(level) < levels.indexOf(least)) return () => {};
    const isUrgent = level === "warn" || level === "error";
    return (message: string, fields: LogFields = {}): void => {
      write(format.line(level, message, fields, Date.now()), isUrgent);
    };
  };
  return {
    debug: logger("debug"),
    info: logger("info"),
    warn: logger("warn"),
    error: logger("error"),
  };
}

const levels: readonly LogLevel[] = ["debug", "info", "warn", "error"];

function formatOf({ program, level, format, worker: own }: LogOptions): LineFormat {
  const isTerminal = own?.isTerminal ?? process.stderr.isTTY === true;
  const worker = own?.worker;
  if (format === "json" || (format === "auto" && !isTerminal)) {
    return new JsonLines(program, worker);
  }
  const isColored = wantsColor(process.env, isTerminal);
  return new TextLines({ isColored, isVerbose: level === "debug", worker });
}
