/** Options that several programs have. */
import { choice, duration, integer } from "../options/kinds.ts";
import type { Option } from "../options/option_table.ts";

/** The options about logs, last in the help text. */
export const logTable = {
  logLevel: {
    name: "log-level",
    env: "LOG_LEVEL",
    group: "Logs",
    kind: choice("LEVEL", ["debug", "info", "warn", "error"]),
    default: "info",
    description: "Least severe level to log: `debug`, `info`, `warn` or `error`",
    chart: { name: "logLevel", default: "info" },
    isEdgeSetting: true,
  },
  logFormat: {
    name: "log-format",
    env: "LOG_FORMAT",
    group: "Logs",
    kind: choice("FORMAT", ["text", "json", "auto"]),
    default: "auto",
    description: "`text`, `json`, or `auto`: text on a terminal, JSON elsewhere",
    chart: { name: "logFormat", default: "json" },
  },
} as const;

/** How long a program that was asked to stop lets open streams finish. */
export const graceOption = {
  name: "grace",
  env: "GRACE",
  group: "Timeouts",
  kind: duration({ min: "0" }),
  default: "30s",
  description: "After SIGTERM or SIGINT, time for open requests to finish; 0 ends them at once",
  chart: { name: "grace", default: "30s", note: "Whole seconds or minutes: 30s, 2m." },
} as const satisfies Option<number>;

/** The limit on a head of HTTP/1.1. The upper bound keeps a head well within one session's memory. */
export const maxHeaderBytesOption = {
  name: "max-header-bytes",
  env: "MAX_HEADER_BYTES",
  group: "Limits",
  kind: integer({ min: 1024, max: 1_048_576 }),
  placeholder: "BYTES",
  default: "65536",
  description: "Largest head of a request or response: first line and headers together",
  chart: { name: "maxHeaderBytes" },
  isEdgeSetting: true,
} as const satisfies Option<number>;

/** What the programs end with, for their help texts. */
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
