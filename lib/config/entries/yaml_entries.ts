/**
 * Files in YAML, or in JSON, which is YAML too, that hold lists of entries under keys of their own.
 * Reads text and knows no files.
 */
import { type Document, isScalar, LineCounter, parseDocument, visit } from "yaml";
import type { z } from "zod";
import { ConfigError } from "../config_error.ts";
import { findDuplicateKey } from "./json_fault.ts";

/** Aliases may stand for each other; without a bound a few lines could fill the memory. */
const MAX_ALIASES = 100;

/** The longest text that is read as YAML, in characters. The parser takes seconds for each Mi. */
export const maxYamlCharacters = 2 * 1024 * 1024;

/**
 * Parses one YAML document of version 1.2, in which plain `no` and `on` are strings. JSON may be longer
 * than {@link maxYamlCharacters}.
 *
 * @param expected What it must be, for the message.
 * @throws {ConfigError} that says where it is wrong, and quotes nothing but keys.
 */
export function parseYaml(text: string, source: string, expected: string): unknown {
  if (text.trim() === "") throw new ConfigError(`${source}: it is empty; it must be ${expected}`);
  if (isJson(text)) return JSON.parse(text);
  const { document, fault } = readYamlDocument(text, { stringKeys: true });
  if (fault === undefined) return toValue(document, source);
  throw new ConfigError(`${source}: ${faultText(fault)}; it must be ${expected}`);
}

/** Whether it is JSON in which no key is there twice: that takes a fraction of the time. */
function isJson(text: string): boolean {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
  } catch {
    return false;
  }
  return findDuplicateKey(text) === undefined;
}

/** What is wrong with a document, by the parser's codes or as `TOO_LONG`. */
export interface YamlFault {
  readonly code: string;
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

/** Reads one YAML document of version 1.2, and finds the first thing that is wrong with it. */
export function readYamlDocument(
  text: string,
  options: { readonly stringKeys?: boolean } = {},
): { readonly document: Document.Parsed; readonly fault: YamlFault | undefined } {
  const isTooLong = text.length > maxYamlCharacters;
  const lines = new LineCounter();
  // The parser's own search for lines and for repeated keys takes quadratic time.
  const document = parseDocument(isTooLong ? "" : text, {
    version: "1.2",
    uniqueKeys: false,
    logLevel: "error",
    prettyErrors: false,
    lineCounter: lines,
    ...options,
  });
  if (isTooLong) return { document, fault: { code: "TOO_LONG", line: 1, column: 1 } };
  const found = faultIn(document);
  if (found === undefined) return { document, fault: undefined };
  const { line, col: column } = lines.linePos(found.at);
  return { document, fault: { code: found.code, line, column } };
}

function faultIn(document: Document.Parsed): { code: string; at: number } | undefined {
  const [error] = document.errors;
  if (error) return { code: error.code, at: error.pos[0] };
  const at = repeatedKey(document);
  return at === undefined ? undefined : { code: "DUPLICATE_KEY", at };
}

/** The offset of the first key that repeats one of its mapping. */
function repeatedKey(document: Document.Parsed): number | undefined {
  let found: number | undefined;
  visit(document, {
    Map(_key, { items }) {
      const seen = new Set<unknown>();
      for (const { key } of items) {
        if (!isScalar(key)) continue;
        if (seen.has(key.value)) {
          found = key.range?.[0] ?? 0;
          return visit.BREAK;
        }
        seen.add(key.value);
      }
      return undefined;
    },
  });
  return found;
}

function toValue(document: Document, source: string): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    throw new ConfigError(`${source}: it has more than ${MAX_ALIASES} aliases, or unknown ones`);
  }
}

/** The parser's own message quotes the text, in which there may be a secret. */
function faultText({ code, line, column }: YamlFault): string {
  const place = `at line ${line}, column ${column}`;
  if (code === "TOO_LONG") {
    return `it has more than ${maxYamlCharacters} characters and is not JSON`;
  }
  if (code === "DUPLICATE_KEY") return `it has a key twice ${place}; keep one`;
  if (code === "MULTIPLE_DOCS") return `it holds a second document ${place}; keep one`;
  if (code === "TAB_AS_INDENT") return `it is indented with a tab ${place}; use spaces`;
  return `it is not YAML or JSON ${place}`;
}

/**
 * Tells the first issue of a file that is `{LIST: [{name, …}]}`, and how many others there are:
 * `, entry 2 ("api"): tls: ca: must be …`.
 */
export function describeIssues(issues: readonly z.core.$ZodIssue[], value: unknown): string {
  // A mistyped key is also a missing one; the typing error explains both.
  const first = issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0];
  if (first === undefined) return ": is invalid";
  const [list, index, ...keys] = first.path;
  const isEntry = typeof list === "string" && typeof index === "number";
  const place = isEntry ? `, entry ${numbered(index, nameAt(value, list, index))}` : "";
  const names = (isEntry ? keys : first.path)
    .map((key) => typeof key === "number" ? `entry ${key + 1}` : String(key));
  const parts = [place, ...names, first.message].join(": ");
  return issues.length === 1 ? parts : `${parts} (and ${issues.length - 1} more)`;
}

/** `2 ("api")`. @param index From 0. */
export function numbered(index: number, name: string | undefined): string {
  return name === undefined ? String(index + 1) : `${index + 1} (${JSON.stringify(name)})`;
}

/** The name of an entry that is not valid, if it has one that can be shown. */
function nameAt(value: unknown, list: string, index: number): string | undefined {
  const entries = (value as Record<string, unknown> | null)?.[list];
  const entry: unknown = Array.isArray(entries) ? entries[index] : undefined;
  const name = typeof entry === "object" && entry !== null && "name" in entry ? entry.name : "";
  return typeof name === "string" && /^[\w.-]{1,64}$/.test(name) ? name : undefined;
}
