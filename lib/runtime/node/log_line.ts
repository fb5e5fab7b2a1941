/** A log record as a line: JSON for machines, or readable on a terminal. */
import type { LogRecord } from "@logtape/logtape";

/** A value is cut at this many characters: a caller's path or a peer's words can be long. */
export const maxValueChars = 2 * 1024;

/** The line of a record as JSON. */
export function jsonLine(record: LogRecord): string {
  const line: Record<string, unknown> = {
    time: new Date(record.timestamp).toISOString(),
    level: levelName(record),
    logger: record.category.join("."),
    message: record.message.join(""),
  };
  for (const key in record.properties) {
    const value = record.properties[key];
    line[key] = typeof value === "string" ? cut(value) : value;
  }
  return harmless(JSON.stringify(line));
}

/** The line of a record as text. */
export function textLine(record: LogRecord): string {
  const time = new Date(record.timestamp).toISOString().slice(11, 23);
  const level = levelName(record).toUpperCase().padEnd(5);
  let line = `${time} ${level} ${record.message.join("")}`;
  for (const [key, value] of Object.entries(record.properties)) {
    if (value !== undefined) line += ` ${key}=${quoted(value)}`;
  }
  return harmless(line);
}

/**
 * What JSON leaves as it is and a terminal or an editor would obey: DEL, the C1 controls (U+009B
 * begins a control sequence), other line ends, and marks that reverse the direction of writing.
 */
const obeyed = /[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** A line of JSON with such characters as escapes; they can only be within its strings. */
export function harmless(line: string): string {
  return line.replace(obeyed, (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"));
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
