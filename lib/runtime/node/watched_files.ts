/**
 * Files that may change while a program runs: configuration, tokens, certificates. They are looked
 * at again and again rather than subscribed to: that works on every file system, and for every way
 * in which a file is replaced (written in place, renamed over, Kubernetes' swap of `..data`).
 */
import { isolated } from "../../faults.ts";
import { promises as fs } from "node:fs";
import { type FileText, joinPath, systemReason } from "../../config/files.ts";
import { decodeText, TextFileError, type TextRules } from "../../config/text_file.ts";

export type { FileText };

/** What is watched, and who is told. */
export interface WatchedFilesOptions {
  /** Files, and directories whose files are meant. They form one whole, and are reported together. */
  readonly paths: readonly string[];
  /** Which files of a directory count, by name; unless given, all that are not hidden. */
  readonly accepts?: (name: string) => boolean;
  /**
   * What the program has read already: nothing is reported until something differs from it. Without
   * it the first content is reported too.
   */
  readonly known?: readonly FileText[];
  /**
   * There is new content: of each file, in the order of `paths`, a directory's by name. A promise is
   * awaited before the next look, so that calls never overlap. What it throws goes to `failed`.
   */
  changed(files: readonly FileText[]): void | Promise<void>;
  /**
   * The files could not be read for {@link unreadableMs} on end; the message is one line, fit for a
   * log. Called once until they can be read again; then `changed` is called, with the same content
   * perhaps. It must not throw.
   */
  failed(error: Error): void;
  /** How the files are read; unless given, they must be UTF-8. */
  readonly text?: TextRules;
  /** Time between two looks, in milliseconds. */
  readonly intervalMs?: number;
}

/** Time between two looks, in milliseconds: a change is reported after one to two of them. */
const defaultIntervalMs = 400;
/** Files that can't be read for a moment are being replaced; after this time they are gone. */
export const unreadableMs = 2_000;
/** All files together; a mistyped path must not fill the memory. */
export const maxWatchedBytes = 16 * 1024 * 1024;
/** Files of all directories together. */
export const maxWatchedFiles = 10_000;

/**
 * Watches files until it is closed.
 *
 * New content is reported once the files' sizes, times and inodes have been the same for a whole
 * interval, before and after they were read, and only if a byte differs from what was reported last.
 * So a file that is being written is left alone until the writer pauses; one whose writer paused
 * for longer is for the receiver to refuse. The wall clock plays no part. Nothing is thrown.
 */
export class WatchedFiles {
  readonly #options: WatchedFilesOptions;
  readonly #intervalMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;
  /** How the files looked last; undefined when they could not be looked at. */
  #seen: string | undefined;
  /** What was read when they looked so; nothing is to be done until they look otherwise. */
  #read: string | undefined;
  /** Digest of the content that was reported last: secrets are not kept. */
  #reported: string | undefined;
  #unreadableSinceMs: number | undefined;
  #hasFailed = false;

  constructor(options: WatchedFilesOptions) {
    this.#options = options;
    this.#intervalMs = options.intervalMs ?? defaultIntervalMs;
    this.#timer = setTimeout(() => this.#begin(), this.#intervalMs);
  }

  /** Ends the watching: nothing is called from now on. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  /** The first look comes an interval after the start, and always reads: `known` may be old by then. */
  async #begin(): Promise<void> {
    const { known } = this.#options;
    if (known) this.#reported = await digest(known);
    await this.#look();
  }

  async #look(): Promise<void> {
    try {
      await this.#check();
      this.#unreadableSinceMs = undefined;
    } catch (error) {
      this.#seen = this.#read = undefined;
      this.#unreadable(error);
    }
    if (!this.#isClosed) this.#timer = setTimeout(() => this.#look(), this.#intervalMs);
  }

  /** @throws what the system says, or {@link UnwatchableError}. */
  async #check(): Promise<void> {
    const files = await this.#list();
    const looks = files.map(({ look }) => look).join("\n");
    if (looks !== this.#seen) {
      this.#seen = looks;
      return;
    }
    if (looks === this.#read) return;
    const read = await Promise.all(files.map(({ path }) => readBytes(path)));
    const after = await this.#list();
    if (after.map(({ look }) => look).join("\n") !== looks) return;
    this.#read = looks;
    const texts = this.#decode(read);
    if (!texts) return;
    const content = await digest(texts);
    if (content === this.#reported && !this.#hasFailed) return;
    this.#reported = content;
    this.#hasFailed = false;
    await this.#report(texts);
  }

  /** The files as text; undefined when one is none, which is told once until it changes. */
  #decode(files: readonly FileBytes[]): FileText[] | undefined {
    try {
      return files.map(({ path, bytes }) => ({
        path,
        text: textOf(path, bytes, this.#options.text),
      }));
    } catch (error) {
      // What was reported before is to be reported again once it is back.
      this.#hasFailed = true;
      if (!this.#isClosed) this.#options.failed(asError(error));
      return undefined;
    }
  }

  async #report(files: readonly FileText[]): Promise<void> {
    if (this.#isClosed) return;
    try {
      await this.#options.changed(files);
    } catch (error) {
      if (!this.#isClosed) this.#tellFailed(error);
    }
  }

  #unreadable(error: unknown): void {
    const nowMs = performance.now();
    this.#unreadableSinceMs ??= nowMs;
    if (this.#hasFailed || this.#isClosed || nowMs - this.#unreadableSinceMs < unreadableMs) return;
    this.#hasFailed = true;
    this.#tellFailed(error);
  }

  /** Whatever comes of it, the next look must come too. */
  #tellFailed(error: unknown): void {
    isolated("process", () => this.#options.failed(asError(error)));
  }

  /** All files, and how each looks from outside. */
  async #list(): Promise<{ path: string; look: string }[]> {
    const { paths, accepts = isNotHidden } = this.#options;
    const files: { path: string; look: string; bytes: number }[] = [];
    for (const path of paths) {
      const found = await look(path);
      if (found !== "directory") {
        files.push({ path, ...found });
        continue;
      }
      const names = (await named(path, fs.readdir(path))).filter(accepts).sort();
      if (names.length > maxWatchedFiles) {
        throw new UnwatchableError(path, `holds more than ${maxWatchedFiles} files`);
      }
      files.push(...await Promise.all(names.map((name) => lookAtFile(joinPath(path, name)))));
    }
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    if (bytes > maxWatchedBytes) {
      throw new UnwatchableError(paths[0]!, `is larger than ${maxWatchedBytes} bytes`);
    }
    return files;
  }
}

/** A path that can't be watched; the message is one line. */
export class UnwatchableError extends Error {
  override readonly name = "UnwatchableError";

  constructor(path: string, why: string) {
    super(`${JSON.stringify(path)} ${why}`);
  }
}

/** Follows symbolic links. A replaced file has another inode, a rewritten one another time or size. */
async function look(path: string): Promise<"directory" | { look: string; bytes: number }> {
  const found = await named(path, fs.stat(path));
  if (found.isDirectory()) return "directory";
  // A pipe could be read once only, and a device for ever.
  if (!found.isFile()) throw new UnwatchableError(path, "is not a regular file");
  const { dev, ino, size, mtimeMs, ctimeMs } = found;
  return { look: [path, dev, ino, size, mtimeMs, ctimeMs].join(" "), bytes: size };
}

async function lookAtFile(path: string): Promise<{ path: string; look: string; bytes: number }> {
  const found = await look(path);
  if (found === "directory") throw new UnwatchableError(path, "is not a regular file");
  return { path, ...found };
}

/** One file's content as it is on disk. */
interface FileBytes {
  readonly path: string;
  readonly bytes: Uint8Array;
}

async function readBytes(path: string): Promise<FileBytes> {
  return { path, bytes: await named(path, fs.readFile(path)) };
}

/** @throws {UnwatchableError} for what is no text */
function textOf(path: string, bytes: Uint8Array, rules: TextRules | undefined): string {
  try {
    return decodeText(bytes, rules);
  } catch (error) {
    throw error instanceof TextFileError ? new UnwatchableError(path, error.message) : error;
  }
}

/** The system's errors, in words and with the path. */
async function named<T>(path: string, attempt: Promise<T>): Promise<T> {
  try {
    return await attempt;
  } catch (error) {
    throw new UnwatchableError(path, `cannot be read: ${systemReason(error)}`);
  }
}

function isNotHidden(name: string): boolean {
  return !name.startsWith(".");
}

async function digest(files: readonly FileText[]): Promise<string> {
  const all = files.map(({ path, text }) => [path, text]);
  const bytes = new TextEncoder().encode(JSON.stringify(all));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
