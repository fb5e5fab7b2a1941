/** A log line for people: one that fits a terminal's width where that is possible. */
import {
  cut,
  harmless,
  IsoClock,
  type LineFormat,
  type LogFields,
  type LogLevel,
  textOf,
} from "./log_line.ts";

/** How lines look. */
export interface TextLinesOptions {
  /** Whether lines have a terminal's colors. */
  readonly isColored: boolean;
  /** Whether lines have all fields, as with `--log-level debug`. */
  readonly isVerbose: boolean;
  /** The number of this process, if the program runs in several. */
  readonly worker?: number | undefined;
}

/** Fields that lead to other programs' lines. Those of `info` leave them out. */
const ids = new Set(["request_id", "trace_id", "instance"]);
/** What only a request's own line has, and who reads along does not need. */
const requestDetails = new Set([
  ...["caller_kind", "bytes_in", "bytes", "first_byte_ms", "peer", "from_relay", "to_relay"],
]);
/** Characters of a path in a request's line. */
const maxPathChars = 160;

/** Lines of text. */
export class TextLines implements LineFormat {
  readonly #options: TextLinesOptions;
  readonly #clock = new IsoClock();

  constructor(options: TextLinesOptions) {
    this.#options = options;
  }

  line(level: LogLevel, message: string, fields: LogFields, timeMs: number): string {
    const time = this.#clock.text(timeMs).slice(11, 23);
    const { isVerbose, worker } = this.#options;
    const process = worker === undefined ? "" : `${this.#dim(`[${worker}]`)} `;
    const begin = `${this.#dim(time)} ${this.#level(level)} ${process}`;
    if (message === "Request" && !isVerbose) return begin + this.#request(fields);
    let line = begin + harmless(message);
    for (const [name, value] of Object.entries(fields)) {
      const isHidden = ids.has(name) && level === "info" && !isVerbose;
      if (!isHidden) line += this.#field(name, value);
    }
    return line;
  }

  /** `GET dev/api/v1/pods 200 2.1 ms`, and what is out of the ordinary behind it. */
  #request(fields: LogFields): string {
    const { method, cluster, path, status, ms, complete, ...rest } = fields;
    const what = [method, shortPath(`${cluster}${path}`), status].map(quoted).join(" ");
    let line = `${what} ${quoted(ms)} ms`;
    for (const [name, value] of Object.entries(rest)) {
      if (!ids.has(name) && !requestDetails.has(name)) line += this.#field(name, value);
    }
    return complete === false ? line + this.#field("complete", false) : line;
  }

  #field(name: string, value: unknown): string {
    if (value === undefined) return "";
    const isId = ids.has(name);
    return isId ? this.#dim(` ${name}=${quoted(value)}`) : this.#dim(` ${name}=`) + quoted(value);
  }

  #level(level: LogLevel): string {
    const text = level.toUpperCase().padEnd(5);
    return this.#options.isColored ? `\x1b[${levelColors[level]}m${text}\x1b[0m` : text;
  }

  #dim(text: string): string {
    return this.#options.isColored ? `\x1b[2m${text}\x1b[0m` : text;
  }
}

/** Dim, cyan, yellow, red. */
const levelColors: Record<LogLevel, number> = { debug: 2, info: 36, warn: 33, error: 31 };

/**
 * Whether lines on standard error get colors: on a terminal, unless the environment says otherwise
 * (no-color.org, force-color.org). As for Node and Deno, FORCE_COLOR comes first.
 */
export function wantsColor(
  env: Readonly<Record<string, string | undefined>>,
  isTerminal: boolean,
): boolean {
  const forced = env["FORCE_COLOR"];
  if (forced) return forced !== "0" && forced !== "false";
  return isTerminal && !env["NO_COLOR"] && env["TERM"] !== "dumb";
}

function shortPath(path: string): string {
  return path.length <= maxPathChars ? path : path.slice(0, maxPathChars) + "…";
}

/** Values with spaces are quoted, and nothing in them can begin a line of its own. */
function quoted(value: unknown): string {
  const text = cut(typeof value === "string" ? value : textOf(value));
  const isPlain = /^[\x21-\x7e]+$/.test(text) && !text.includes('"');
  return isPlain ? text : harmless(JSON.stringify(text));
}
