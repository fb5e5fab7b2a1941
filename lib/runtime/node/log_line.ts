/** A log line in JSON, for machines. Built of pieces: what needs no escaping is copied as it is. */

export type LogLevel = "debug" | "info" | "warn" | "error";

/** What a line says besides its message, by name; what is undefined is left out. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Makes the line of a message, without its end. */
export interface LineFormat {
  line(level: LogLevel, message: string, fields: LogFields, timeMs: number): string;
}

/** A value is cut at this many characters: a caller's path or a peer's words can be long. */
export const maxValueChars = 2 * 1024;

/** Lines of JSON of one program's log. */
export class JsonLines implements LineFormat {
  readonly #afterLevel: string;
  readonly #clock = new IsoClock();

  /** @param worker Its number, of a program that runs in several processes. */
  constructor(program: string, worker?: number) {
    const process = worker === undefined ? "" : `"worker":${worker},`;
    this.#afterLevel = `","logger":${jsonString(program)},${process}"message":`;
  }

  line(level: LogLevel, message: string, fields: LogFields, timeMs: number): string {
    let line = '{"time":"' + this.#clock.text(timeMs) + '","level":"' + level + this.#afterLevel +
      jsonString(message);
    for (const name in fields) {
      const value = fields[name];
      if (value === undefined) continue;
      line += (keys.get(name) ?? keyOf(name)) + jsonValue(value);
    }
    return line + "}";
  }
}

/** A time in ISO 8601; the text of a millisecond that was asked for last is there already. */
export class IsoClock {
  #timeMs = NaN;
  #text = "";

  text(timeMs: number): string {
    if (timeMs === this.#timeMs) return this.#text;
    this.#timeMs = timeMs;
    return this.#text = new Date(timeMs).toISOString();
  }
}

/** `,"name":` of the names that occur. They are the program's own, so their number is bounded. */
const keys = new Map<string, string>();

function keyOf(name: string): string {
  const key = `,${jsonString(name)}:`;
  keys.set(name, key);
  return key;
}

function jsonValue(value: unknown): string {
  if (typeof value === "string") return jsonString(cut(value));
  if (typeof value === "number") return Number.isFinite(value) ? String(value) : "null";
  if (typeof value === "boolean") return value ? "true" : "false";
  const text = textOf(value);
  // Cut, it would be no JSON any more, and so becomes a string.
  return text.length <= maxValueChars ? harmless(text) : jsonString(cut(text));
}

/** A value that is no string as JSON, or in the runtime's words where JSON has none. */
export function textOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? JSON.stringify(String(value));
  } catch {
    // A ring, or a bigint: a log line must not fail for it.
    return JSON.stringify(String(value));
  }
}

export function cut(text: string): string {
  return text.length <= maxValueChars ? text : text.slice(0, maxValueChars) + "…";
}

/** A string as JSON, without what a terminal or an editor would obey. */
export function jsonString(text: string): string {
  return plain.test(text) ? '"' + text + '"' : harmless(JSON.stringify(text));
}

/** Text that JSON leaves as it is. */
const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/**
 * What JSON leaves as it is and a terminal or an editor would obey: DEL, the C1 controls (U+009B
 * begins a control sequence), other line ends, and marks that reverse the direction of writing.
 */
const obeyed = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** A line of JSON with such characters as escapes; they can only be within its strings. */
export function harmless(line: string): string {
  return line.replace(obeyed, (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"));
}
