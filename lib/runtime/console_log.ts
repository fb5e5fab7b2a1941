/** Log lines as JSON on the console, which is what platforms at the edge collect. */
import type { Log } from "../log.ts";

const levels = ["debug", "info", "warn", "error"] as const;

/** One of the log's levels. */
export type ConsoleLogLevel = typeof levels[number];

/** A value is cut at this many characters: a caller's path or a peer's words can be long. */
const maxValueChars = 2 * 1024;

/** A log that writes `{time, level, logger, message, …}` with `console.error`. */
export function consoleLog(program: string, least: ConsoleLogLevel): Log {
  const writer = (level: ConsoleLogLevel) => {
    if (levels.indexOf(level) < levels.indexOf(least)) return () => {};
    return (message: string, properties: Record<string, unknown> = {}) => {
      const time = new Date().toISOString();
      const line = { time, level, logger: program, message, ...properties };
      console.error(JSON.stringify(line, (_key, value) => cut(value)));
    };
  };
  return {
    debug: writer("debug"),
    info: writer("info"),
    warn: writer("warn"),
    error: writer("error"),
  };
}

function cut(value: unknown): unknown {
  const isLong = typeof value === "string" && value.length > maxValueChars;
  return isLong ? value.slice(0, maxValueChars) + "…" : value;
}
