/**
 * Heads of HTTP/1.1 messages: what they hold, and how they are written. `head_reader.ts` reads them.
 */
import { encodeLatin1 } from "../bytes/bytes.ts";

export { HeadError } from "./faults.ts";

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

/** The bytes of a response's head, as HTTP/1.1 unless another minor version is given. */
export function encodeResponseHead(
  status: number,
  reason: string,
  fields: readonly Field[],
  minor = 1,
): Uint8Array {
  return encodeHead(`HTTP/1.${minor} ${status} ${reason}\r\n`, fields);
}

function encodeHead(startLine: string, fields: readonly Field[]): Uint8Array {
  let text = startLine;
  for (const { name, value } of fields) text += name + ": " + value + "\r\n";
  return encodeLatin1(text + "\r\n");
}
