/**
 * Files, or JSON in their place, that hold a list of entries. Reads text and knows no files, so that a
 * relay without a file system can use it too.
 */
import { z } from "zod";
import { ConfigError } from "../config_error.ts";
import { findDuplicateKey, findJsonFault } from "./json_fault.ts";
import { nearestName } from "../options/suggestion.ts";

/**
 * Reads a list of entries.
 *
 * @param source names the text in messages: `Option --caller-tokens`
 * @throws {ConfigError} naming the entry, by its number, and the key; never with a value in it
 */
export function readEntries<Entry>(text: string, source: string, entry: z.ZodType<Entry>): Entry[] {
  const value = parseJson(text, source, "a JSON array");
  const result = z.array(entry, "must be a JSON array").safeParse(value);
  if (!result.success) throw new ConfigError(`${source}${describe(result.error.issues)}`);
  return result.data;
}

/**
 * Parses JSON, behind a byte order mark or not. An object with one key twice is refused.
 *
 * @param expected what it must be, for the message
 * @throws {ConfigError} that says where it is wrong, and quotes nothing
 */
export function parseJson(text: string, source: string, expected: string): unknown {
  // An environment variable that was filled from a file has its byte order mark.
  const json = text.replace(/^\ufeff/, "");
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // The engine's own message quotes the text, and with it perhaps a token.
    const fault = findJsonFault(json);
    const place = fault === undefined ? "" : ` at line ${fault.line}, column ${fault.column}`;
    const hint = text.trim() === "" ? "it is empty" : `it is not JSON${place}`;
    throw new ConfigError(`${source}: ${hint}; it must be ${expected}`);
  }
  refuseTwinKeys(json, source);
  return value;
}

/** Which of two values counts, the reader of a file can't tell. */
function refuseTwinKeys(json: string, source: string): void {
  const twin = findDuplicateKey(json);
  if (twin === undefined) return;
  const [index, ...keys] = twin.path;
  const entry = typeof index === "number"
    ? [`, entry ${index + 1}`]
    : ["", ...twin.path.slice(0, 1)];
  const names = keys.map((key) => typeof key === "number" ? `entry ${key + 1}` : key);
  const place = [...entry, ...names].join(": ");
  const key = JSON.stringify(twin.key.slice(0, 64));
  throw new ConfigError(
    `${source}${place}: has ${key} twice, again at line ${twin.line}, column ${twin.column}; keep one`,
  );
}

/** Tells one issue, and how many others there are. */
function describe(issues: readonly z.core.$ZodIssue[]): string {
  // A mistyped key is also a missing one; the typing error explains both.
  const first = issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0];
  if (first === undefined) return ": is invalid";
  const [index, ...keys] = first.path;
  const entry = typeof index === "number" ? `, entry ${index + 1}` : "";
  const parts = [entry, ...keys.map((key) => typeof key === "number" ? key + 1 : key)]
    .map(String).concat(first.message).join(": ");
  return issues.length === 1 ? parts : `${parts} (and ${issues.length - 1} more)`;
}

/**
 * An entry with these keys and no others.
 *
 * @param expected what an entry must be, for messages
 * @param unlisted keys that messages don't offer: they are written by programs
 */
export function entryOf<Shape extends z.core.$ZodShape>(
  shape: Shape,
  expected: string,
  unlisted: readonly string[] = [],
) {
  const known = Object.keys(shape).filter((key) => !unlisted.includes(key));
  return z.strictObject(shape, {
    error: (issue) => issue.code === "unrecognized_keys" ? unknownKey(issue.keys, known) : expected,
  });
}

function unknownKey(keys: readonly string[], known: readonly string[]): string {
  const key = (keys[0] ?? "").slice(0, 64);
  const nearest = nearestName(key, known);
  const remedy = nearest === undefined
    ? `known are ${known.join(", ")}`
    : `did you mean "${nearest}"?`;
  return `unknown key ${JSON.stringify(key)}; ${remedy}`;
}
