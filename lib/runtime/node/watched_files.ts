/**
 * Files that may change while a program runs: configuration, tokens, certificates. They are looked
 * at again and again rather than subscribed to: that works on every file system, and for every way
 * in which a file is replaced (written in place, renamed over, Kubernetes' swap of `..data`).
 */
import { isolated } from "../../faults.ts";
import { promises as fs } from "node:fs";
import type { FileText } from "../../config/files.ts";
import { decodeText, TextFileError, type TextRules } from "../../config/text_file.ts";

import { FileListing, named, UnwatchableError } from "./file_listing.ts";

export { maxWatchedBytes, maxWatchedFiles, UnwatchableError } from "./file_listing.ts";
export type { FileText };

/** What is watched, and who is told. */
export interface WatchedFilesOptions {
  /** Files, and directories whose files are meant. They form one whole, and are reported together. */
  readonly paths: readonly string[];
  /** Which files of a directory count, by name. Without it each path must be a file. */
  readonly accepts?: ((name: string) => boolean) | undefined;
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

/**
 * Time between two looks, in milliseconds: a change is reported after one to two of them, or four in
 * a folder of more files than are looked at at once.
 */
const defaultIntervalMs = 400;
/** Files that can't be read for a moment are being replaced; after this time they are gone. */
export const unreadableMs = 2_000;
/**
 * Watches files until it is closed.
 *
 * New content is reported once the files' sizes, times and inodes have been the same for a whole
 * interval, before and after they were read, and only if a byte differs from what was reported last.
 * So a file that is being written is left alone until the writer pauses; one whose writer paused
 * for longer is for the receiver to refuse. As long as nothing happens, a large folder is looked at in
 * turns, all of it within three intervals. Nothing is thrown.
 */
export class WatchedFiles {
  readonly #options: WatchedFilesOptions;
  readonly #intervalMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The last look, which may not be over. */
  #looking: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** How the files looked last; undefined when they could not be looked at. */
  #seen: FileListing | undefined;
  /** How they looked when they were read; nothing is to be done until they look otherwise. */
  #read: FileListing | undefined;
  /** Digest of the content that was reported last: secrets are not kept. */
  #reported: string | undefined;
  #unreadableSinceMs: number | undefined;
  #hasFailed = false;
  /** Whether it was reported that the files' present content is not text. */
  #hasToldNoText = false;

  constructor(options: WatchedFilesOptions) {
    this.#options = options;
    this.#intervalMs = options.intervalMs ?? defaultIntervalMs;
    this.#lookLater(() => this.#begin());
  }

  /** Ends the watching: nothing is called from now on. Resolves when no file is read any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #lookLater(look: () => Promise<void>): void {
    this.#timer = setTimeout(() => this.#looking = look(), this.#intervalMs);
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
    if (!this.#isClosed) this.#lookLater(() => this.#look());
  }

  /** @throws {UnwatchableError} */
  async #check(): Promise<void> {
    if (this.#read && await this.#read.glance()) return;
    const listing = await this.#list();
    if (!listing.equals(this.#seen)) {
      this.#seen = listing;
      this.#hasToldNoText = false;
      return;
    }
    if (listing.equals(this.#read)) {
      this.#read = listing;
      return;
    }
    const nowMs = Date.now();
    const read = await Promise.all(listing.paths.map(readBytes));
    if (!listing.equals(await this.#list())) return;
    // What changed a moment ago could change once more without a trace: it is read again.
    this.#read = listing.isSettled(nowMs) ? listing : undefined;
    const texts = this.#decode(read);
    if (!texts) return;
    const content = await digest(texts);
    if (content === this.#reported && !this.#hasFailed) return;
    this.#reported = content;
    this.#hasFailed = false;
    await this.#report(texts);
  }

  #list(): Promise<FileListing> {
    const { paths, accepts } = this.#options;
    return FileListing.make({ paths, accepts });
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
      if (!this.#isClosed && !this.#hasToldNoText) this.#tellFailed(error);
      this.#hasToldNoText = true;
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

async function digest(files: readonly FileText[]): Promise<string> {
  const all = files.map(({ path, text }) => [path, text]);
  const bytes = new TextEncoder().encode(JSON.stringify(all));
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
