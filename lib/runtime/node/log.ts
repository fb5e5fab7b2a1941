/** Log lines on standard error: JSON for machines, readable on a terminal. */
import { writeSync } from "node:fs";
import process from "node:process";
import { configureSync, getLogger, type Logger } from "@logtape/logtape";
import { jsonLine, textLine } from "./log_line.ts";

/** How a program logs. */
export interface LogOptions {
  /** `relay` or `agent`. */
  program: string;
  level: "debug" | "info" | "warn" | "error";
  /** `auto` is `text` on a terminal and `json` elsewhere. */
  format: "text" | "json" | "auto";
}

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
