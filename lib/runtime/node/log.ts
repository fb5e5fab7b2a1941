/** Log lines on standard error: JSON for machines, readable on a terminal. */
import { writeSync } from "node:fs";
import process from "node:process";
import { configureSync, getLogger, type Logger, type LogRecord } from "@logtape/logtape";

/** How a program logs. */
export interface LogOptions {
  /** `relay` or `agent`. */
  program: string;
  level: "debug" | "info" | "warn" | "error";
  /** `auto` is `text` on a terminal and `json` elsewhere. */
  format: "text" | "json" | "auto";
}

/** A value is cut at this many characters: a caller's path or a peer's words can be long. */
const maxValueChars = 2 * 1024;

/** Configures logging for the whole process and returns the program's logger. */
export function setUpLog({ program, level, format }: LogOptions): Logger {
  const isText = format === "text" || (format === "auto" && process.stderr.isTTY);
  const writer = new LineWriter();
  const toLine = isText ? textLine : jsonLine;
  configureSync({
    reset: true,
    sinks: { stderr: (record) => writer.write(toLine(record)) },
    loggers: [
      { category: [program], lowestLevel: level === "warn" ? "warning" : level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stderr"] },
    ],
  });
  return getLogger([program]);
}

/** Gathers the lines of one turn of the event loop into one write. */
class LineWriter {
  #lines: string[] = [];

  constructor() {
    process.on("exit", () => this.#flush());
  }

  write(line: string): void {
    if (this.#lines.push(line) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (this.#lines.length === 0) return;
    const bytes = new TextEncoder().encode(this.#lines.join("\n") + "\n");
    this.#lines = [];
    for (let at = 0; at < bytes.length;) at += writeSync(2, bytes, at);
  }
}

function jsonLine(record: LogRecord): string {
  return JSON.stringify({
    time: new Date(record.timestamp).toISOString(),
    level: levelName(record),
    logger: record.category.join("."),
    message: record.message.join(""),
    ...record.properties,
  }, (_key, value) => typeof value === "string" ? cut(value) : value);
}

function textLine(record: LogRecord): string {
  const time = new Date(record.timestamp).toISOString().slice(11, 23);
  const level = levelName(record).toUpperCase().padEnd(5);
  let line = `${time} ${level} ${record.message.join("")}`;
  for (const [key, value] of Object.entries(record.properties)) {
    if (value !== undefined) line += ` ${key}=${quoted(value)}`;
  }
  return line;
}

function levelName({ level }: LogRecord): string {
  return level === "warning" ? "warn" : level;
}

function cut(text: string): string {
  return text.length <= maxValueChars ? text : text.slice(0, maxValueChars) + "…";
}

/** Values with spaces are quoted, and nothing in them can begin a line of its own. */
function quoted(value: unknown): string {
  const text = cut(typeof value === "string" ? value : JSON.stringify(value) ?? "");
  return /^[\x21-\x7e]+$/.test(text) && !text.includes('"') ? text : JSON.stringify(text);
}
