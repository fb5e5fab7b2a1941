/**
 * Text as files really hold it: behind a byte order mark, in UTF-16 as `>` in PowerShell writes it, or
 * in no encoding at all. One place decides what is read and what is refused.
 */
import { closeSync, constants, openSync, readSync, statSync } from "node:fs";

/** A mistyped path, or a device that never ends, must not fill the memory. */
export const maxTextFileBytes = 16 * 1024 * 1024;

/** Bytes that are not the text of a program's file; the message completes "the file …". */
export class TextFileError extends Error {
  override readonly name = "TextFileError";
}

/** How text is read. */
export interface TextRules {
  /**
   * What becomes of bytes that are not UTF-8. PEM takes `replace`: a comment in it may be in any
   * encoding, and what counts is ASCII.
   */
  readonly invalid?: "refuse" | "replace";
}

/** Time for somebody to open a pipe for writing, in milliseconds: a shell may be about to. */
const pipeWriterMs = 2_000;
/** Time in which a pipe's writer must write something, in milliseconds. */
const pipeSilenceMs = 60_000;
/** Time between two looks at a pipe that has nothing to read, in milliseconds. */
const pipeLookMs = 10;

/**
 * Reads a file, or whatever can be read like one, up to {@link maxTextFileBytes}. It waits for the
 * writer of a pipe, {@link pipeWriterMs} for one to come and {@link pipeSilenceMs} for what it writes.
 *
 * @throws {TextFileError} for what is no text, too much, or a pipe that nobody writes to; and the
 * system's error otherwise
 */
export function readText(path: string, rules: TextRules = {}): string {
  const isPipe = statSync(path).isFIFO();
  const { O_RDONLY, O_NONBLOCK } = constants;
  const file = openSync(path, isPipe ? O_RDONLY | O_NONBLOCK : O_RDONLY);
  try {
    return decodeText(readAll(file, maxTextFileBytes, isPipe ? pipeReader() : readPart), rules);
  } finally {
    closeSync(file);
  }
}

/**
 * Reads a file anew with each call, and a pipe or device once: what was read from it is not there again.
 *
 * @param read Reads the file at the path; what it throws is thrown, and it is called again the next time.
 */
export function rereader<Content>(path: string, read: () => Content): () => Content {
  let once: { readonly content: Content } | undefined;
  return () => {
    if (once) return once.content;
    const content = read();
    if (isStream(path)) once = { content };
    return content;
  };
}

/** Whether a path is that of a pipe or device; false for what has gone since. */
function isStream(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && !found.isFile();
}

/** Fills a part of a file's content; 0 at the end. */
type ReadPart = (file: number, part: Uint8Array) => number;

function readPart(file: number, part: Uint8Array): number {
  return readSync(file, part, 0, part.length, null);
}

/** Reads a pipe that is open with O_NONBLOCK. Without a writer it reads like one that has ended. */
function pipeReader(): ReadPart {
  let hadWriter = false;
  return (file, part) => {
    const beganMs = performance.now();
    for (;;) {
      const read = readIfReady(file, part);
      hadWriter ||= read !== 0;
      if (read !== undefined && (read > 0 || hadWriter)) return read;
      const waitedMs = performance.now() - beganMs;
      if (!hadWriter && waitedMs > pipeWriterMs) {
        throw new TextFileError("is a pipe that nobody writes to; give a regular file");
      }
      if (waitedMs > pipeSilenceMs) {
        const seconds = pipeSilenceMs / 1000;
        throw new TextFileError(`is a pipe whose writer has written nothing for ${seconds} s`);
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pipeLookMs);
    }
  };
}

/** Undefined where there is nothing to read yet. */
function readIfReady(file: number, part: Uint8Array): number | undefined {
  try {
    return readPart(file, part);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EAGAIN") return undefined;
    throw error;
  }
}

/** Reads an open file to its end. @throws {TextFileError} for more than `maxBytes` */
export function readAll(file: number, maxBytes: number, readNext: ReadPart = readPart): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const part = new Uint8Array(64 * 1024);
    const read = readNext(file, part);
    if (read === 0) break;
    length += read;
    if (length > maxBytes) throw new TextFileError(`must end within ${maxBytes} bytes`);
    parts.push(part.subarray(0, read));
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/**
 * Decodes UTF-8, with a byte order mark or without, which is not a part of the text.
 *
 * @throws {TextFileError} for text in another encoding, and for what is no text
 */
export function decodeText(bytes: Uint8Array, { invalid = "refuse" }: TextRules = {}): string {
  const encoding = foreignEncoding(bytes);
  if (encoding !== undefined) throw new TextFileError(`is ${encoding}; save it as UTF-8`);
  const text = new TextDecoder().decode(bytes);
  if (invalid === "replace" || !text.includes("\ufffd")) return text;
  const line = invalidLine(bytes);
  if (line === undefined) return text;
  throw new TextFileError(`is not UTF-8, in line ${line}; save it as UTF-8`);
}

/** Bytes that are looked at for zeros where there is no byte order mark. */
const sampleBytes = 4096;

/**
 * UTF-16 or UTF-32 by its mark or, as most characters of our files are ASCII, by a zero in every other
 * byte.
 */
function foreignEncoding(bytes: Uint8Array): string | undefined {
  const [a, b, c, d] = bytes;
  if (a === 0xff && b === 0xfe) return c === 0 && d === 0 && bytes.length > 3 ? "UTF-32" : "UTF-16";
  if (a === 0xfe && b === 0xff) return "UTF-16";
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return "UTF-32";
  const pairs = Math.floor(Math.min(bytes.length, sampleBytes) / 2);
  const zeros = [0, 0];
  for (let index = 0; index < pairs * 2; index++) if (bytes[index] === 0) zeros[index % 2]!++;
  const [even = 0, odd = 0] = zeros;
  const isWide = pairs > 0 && Math.max(even, odd) > pairs * 0.6 && Math.min(even, odd) === 0;
  return isWide ? "UTF-16" : undefined;
}

/** The line, from 1, of the first bytes that are not UTF-8; undefined where all are. */
function invalidLine(bytes: Uint8Array): number | undefined {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let line = 1;
  let start = 0;
  for (let end = bytes.indexOf(0x0a); start < bytes.length; end = bytes.indexOf(0x0a, start)) {
    const stop = end === -1 ? bytes.length : end + 1;
    try {
      decoder.decode(bytes.subarray(start, stop));
    } catch {
      return line;
    }
    start = stop;
    line++;
  }
  return undefined;
}
