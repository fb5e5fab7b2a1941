/** Options that relay and agent have in common. */
import { choice, duration, integer } from "./options/kinds.ts";
import type { Option } from "./options/option_table.ts";

/** How much is logged. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** How it is written; "auto" is text on a terminal and JSON elsewhere. */
export type LogFormat = "text" | "json" | "auto";

/** The options about logs, last in the help text. */
export const logOptions = {
  logLevel: {
    name: "log-level",
    env: "LOG_LEVEL",
    group: "Logs",
    kind: choice("LEVEL", ["debug", "info", "warn", "error"]),
    default: "info",
    description: "Least severe level to log: debug, info, warn or error",
  },
  logFormat: {
    name: "log-format",
    env: "LOG_FORMAT",
    group: "Logs",
    kind: choice("FORMAT", ["text", "json", "auto"]),
    default: "auto",
    description: "text, json, or auto: text on a terminal, JSON elsewhere",
  },
} as const;

/** How long a program that was asked to stop lets open streams finish. */
export const graceOption = {
  name: "grace",
  env: "GRACE",
  group: "Timeouts",
  kind: duration({ min: "0" }),
  default: "30s",
  description: "After SIGTERM or SIGINT, time for open streams to finish; 0 ends them at once",
} as const satisfies Option<number>;

/** The limit on a head of HTTP/1.1. The upper bound keeps a head well within one session's memory. */
export const maxHeaderBytesOption = {
  name: "max-header-bytes",
  env: "MAX_HEADER_BYTES",
  group: "Limits",
  kind: integer({ min: 1024, max: 1_048_576 }),
  placeholder: "BYTES",
  default: "65536",
  description: "Largest head of a request or response: its first line and headers together",
} as const satisfies Option<number>;

/** What both programs end with, for their help texts. */
export const exitCodes = [
  { code: 0, meaning: "Stopped by SIGTERM or SIGINT, or printed the help text or the version" },
  { code: 1, meaning: "Failed while it ran" },
  { code: 2, meaning: "Did not start: a wrong option or file, or an address in use" },
] as const;

/** What commands end with that print something and run nothing. */
export const commandExitCodes = [
  { code: 0, meaning: "Printed what was asked for" },
  { code: 1, meaning: "Failed: a bug" },
  { code: 2, meaning: "Printed nothing: a wrong option or file" },
] as const;
