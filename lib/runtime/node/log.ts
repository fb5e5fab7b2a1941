/** Log lines on standard error: JSON for machines, readable on a terminal. */
import { writeSync } from "node:fs";
import process from "node:process";
import { configureSync, getLogger, type Logger } from "@logtape/logtape";
import { LineWriter } from "./line_writer.ts";
import { jsonLine, textLine } from "./log_line.ts";

const standardError = 2;

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
  const logger = getLogger([program]);
  const writer = new LineWriter(
    (bytes, from) => writeSync(standardError, bytes, from),
    (lines) => logger.error("Log lines could not be written, and are lost", { lines }),
  );
  process.on("exit", () => writer.flush());
  const toLine = isText ? textLine : jsonLine;
  configureSync({
    reset: true,
    sinks: { stderr: (record) => writer.write(toLine(record)) },
    loggers: [
      { category: [program], lowestLevel: level === "warn" ? "warning" : level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stderr"] },
    ],
  });
  return logger;
}
