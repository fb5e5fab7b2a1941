/**
 * Heads of HTTP/1.1 messages: a strict parser and a writer (RFC 9112 sections 2 to 5).
 *
 * Strict means that nothing is accepted that two programs could read in two ways: a line ends with
 * CRLF, a name is a token with no space behind it, there are no folded lines and no control
 * characters. Bytes over 0x7f stand for themselves (as in ISO-8859-1), so a head that is written
 * again has the bytes that it had.
 */
import { decodeLatin1, encodeLatin1 } from "../bytes/bytes.ts";

/** One header line, in the order and spelling in which it came. */
export interface Field {
  readonly name: string;
  readonly value: string;
  /** `name` in lower case, for comparing. */
  readonly key: string;
}

/** The head of a request. */
export interface RequestHead {
  readonly method: string;
  /** The request target as it was sent: nothing is decoded or normalised. */
  readonly target: string;
  /** 0 or 1: the minor version of HTTP/1. */
  readonly minor: number;
  readonly fields: readonly Field[];
}

/** The head of a response. */
export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  /** 0 or 1: the minor version of HTTP/1. */
  readonly minor: number;
  readonly fields: readonly Field[];
}

/** What a head may measure. */
export interface HeadLimits {
  /** Bytes from the start line to the empty line. */
  maxBytes: number;
  /** Header lines. */
  maxFields: number;
}

/** The limits unless told otherwise: 64 KiB and 256 lines. */
export const defaultHeadLimits: HeadLimits = { maxBytes: 64 * 1024, maxFields: 256 };

/** A message that is not HTTP/1.1 as this module takes it; `status` suits an answer to a caller. */
export class HeadError extends Error {
  override readonly name = "HeadError";
  /** 400, 431, 501 or 505. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const carriageReturn = 13;
const lineFeed = 10;

/**
 * Finds the empty line that ends a head.
 *
 * @param from Where to begin: what is in front of it has been looked through before.
 * @returns the offset behind the empty line, or -1 when it has not come yet.
 */
export function findHeadEnd(bytes: Uint8Array, from: number): number {
  let at = bytes.indexOf(lineFeed, Math.max(from, 3));
  while (at !== -1) {
    if (
      bytes[at - 1] === carriageReturn && bytes[at - 2] === lineFeed &&
      bytes[at - 3] === carriageReturn
    ) return at + 1;
    at = bytes.indexOf(lineFeed, at + 1);
  }
  return -1;
}

/** Whether a line of a head that has no end yet ends with a line feed alone, which none may. */
export function hasBareLineFeed(bytes: Uint8Array, from: number): boolean {
  let at = bytes.indexOf(lineFeed, from);
  while (at !== -1 && bytes[at - 1] === carriageReturn) at = bytes.indexOf(lineFeed, at + 1);
  return at !== -1;
}

/** Names: a token of RFC 9110 section 5.6.2. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** What no head may hold besides its CRLFs: controls (RFC 9110 section 5.5) and DEL. */
// deno-lint-ignore no-control-regex -- Control characters are what it looks for.
const forbidden = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;
const requestLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\xff]+) HTTP\/(\d)\.(\d)$/;
const statusLine = /^HTTP\/(\d)\.(\d) ([1-9]\d\d)(?: ([\t\x20-\xff]*))?$/;

/** Parses a request's head, its empty line included. @throws {HeadError} */
export function parseRequestHead(bytes: Uint8Array, limits: HeadLimits): RequestHead {
  const lines = splitLines(bytes, limits);
  const match = requestLine.exec(lines[0]!);
  if (!match) throw new HeadError(400, "Request line is malformed");
  if (match[3] !== "1") throw new HeadError(505, "HTTP version is not supported; must be HTTP/1.1");
  // Its 2xx turns the connection into a tunnel: what came next would be no HTTP of ours any more.
  if (match[1] === "CONNECT") throw new HeadError(501, "CONNECT is not supported");
  const minor = match[4] === "0" ? 0 : 1;
  return { method: match[1]!, target: match[2]!, minor, fields: parseFields(lines) };
}

/** Parses a response's head, its empty line included. @throws {HeadError} */
export function parseResponseHead(bytes: Uint8Array, limits: HeadLimits): ResponseHead {
  const lines = splitLines(bytes, limits);
  const match = statusLine.exec(lines[0]!);
  if (!match || match[1] !== "1") throw new HeadError(400, "Status line is malformed");
  const minor = match[2] === "0" ? 0 : 1;
  return { status: Number(match[3]), reason: match[4] ?? "", minor, fields: parseFields(lines) };
}

function splitLines(bytes: Uint8Array, limits: HeadLimits): string[] {
  if (bytes.length > limits.maxBytes) {
    throw new HeadError(431, `Head is over ${limits.maxBytes} bytes`);
  }
  const text = decodeLatin1(bytes.subarray(0, bytes.length - 4));
  if (forbidden.test(text)) throw new HeadError(400, "Head holds a control character");
  const lines = text.split("\r\n");
  if (lines.length - 1 > limits.maxFields) {
    throw new HeadError(431, `Head has over ${limits.maxFields} fields`);
  }
  return lines;
}

function parseFields(lines: string[]): Field[] {
  const fields: Field[] = [];
  for (let index = 1; index < lines.length; index++) fields.push(parseField(lines[index]!));
  return fields;
}

function parseField(line: string): Field {
  const colon = line.indexOf(":");
  if (colon === -1) throw new HeadError(400, "Header line has no colon");
  const name = line.slice(0, colon);
  // A folded line begins with a space and a sloppy name ends with one: neither is a token.
  if (!token.test(name)) throw new HeadError(400, "Header name is not a token");
  if (line.includes("\r") || line.includes("\n")) {
    throw new HeadError(400, "Header line holds a bare CR or LF");
  }
  return { name, value: trimSpace(line, colon + 1), key: lowerCase(name) };
}

/** Cuts spaces and tabs at both ends, and nothing else that `trim` would take. */
function trimSpace(line: string, from: number): string {
  let start = from;
  let end = line.length;
  while (start < end && isSpace(line.charCodeAt(start))) start++;
  while (end > start && isSpace(line.charCodeAt(end - 1))) end--;
  return line.slice(start, end);
}

function isSpace(code: number): boolean {
  return code === 32 || code === 9;
}

/** Header names recur: one lower-case spelling each is remembered, for the first few thousand. */
const lowerCaseNames = new Map<string, string>();

function lowerCase(name: string): string {
  const known = lowerCaseNames.get(name);
  if (known !== undefined) return known;
  const lower = name.toLowerCase();
  if (lowerCaseNames.size < 4096 && name.length <= 64) lowerCaseNames.set(name, lower);
  return lower;
}

/** A field of our own making. */
export function field(name: string, value: string): Field {
  return { name, value, key: lowerCase(name) };
}

/** The first value under a name in lower case. */
export function getField(fields: readonly Field[], key: string): string | undefined {
  for (const field of fields) if (field.key === key) return field.value;
  return undefined;
}

/** Whether a comma-separated list field (RFC 9110 section 5.6.1) holds a member, in any case. */
export function listHas(fields: readonly Field[], key: string, member: string): boolean {
  for (const field of fields) {
    if (field.key !== key) continue;
    const value = field.value.toLowerCase();
    if (value === member) return true;
    if (value.includes(",") && value.split(",").some((part) => part.trim() === member)) return true;
  }
  return false;
}

/** The bytes of a request's head, as HTTP/1.1. */
export function encodeRequestHead(
  method: string,
  target: string,
  fields: readonly Field[],
): Uint8Array {
  return encodeHead(`${method} ${target} HTTP/1.1\r\n`, fields);
}

/** The bytes of a response's head, as HTTP/1.1. */
export function encodeResponseHead(
  status: number,
  reason: string,
  fields: readonly Field[],
): Uint8Array {
  return encodeHead(`HTTP/1.1 ${status} ${reason}\r\n`, fields);
}

function encodeHead(startLine: string, fields: readonly Field[]): Uint8Array {
  let text = startLine;
  for (const { name, value } of fields) text += name + ": " + value + "\r\n";
  return encodeLatin1(text + "\r\n");
}
