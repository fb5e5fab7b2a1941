/**
 * A folder with the admin API's entries: a file for each, in the format of the clusters' and services'
 * files. A file is replaced in one step and on disk before its change is acknowledged, so a crash at any
 * moment leaves every entry as it was before a change or as it is after.
 */
import { constants, promises as fs } from "node:fs";
import { createHash } from "node:crypto";
import { ConfigError } from "../../../config/config_error.ts";
import { systemReason } from "../../../config/files.ts";
import { formatStored, parseStored } from "../../../config/entries/stored_entries.ts";
import { type EntryKind, entryKinds, type StoredEntry } from "../../../domain/admin.ts";
import type { CommitResult, EntryChange, EntryStore } from "../../../admin/entry_store.ts";

/** Entries hold digests of tokens, and say who reaches what. */
const folderMode = 0o700;
const fileMode = 0o600;
/** Files that are read or written at once. */
const parallel = 64;
const temporary = ".tmp";

/** Keeps entries in a folder. One process has it at a time. */
export class StateFolder implements EntryStore {
  readonly name: string;
  readonly #path: string;
  readonly #unlock: () => void;

  private constructor(path: string, unlock: () => void) {
    this.name = path;
    this.#path = path;
    this.#unlock = unlock;
  }

  /**
   * Makes the folder if it is not there, and takes it for this process.
   *
   * @param lock takes a file for this process until it is released, or the process ends
   * @throws {ConfigError} when it can't be had, or another process has it
   */
  static async open(
    path: string,
    lock: (path: string) => Promise<(() => void) | undefined>,
  ): Promise<StateFolder> {
    try {
      await fs.mkdir(path, { recursive: true, mode: folderMode });
      for (const kind of entryKinds) {
        await fs.mkdir(`${path}/${kind}`, { recursive: true, mode: folderMode });
      }
      const unlock = await lock(`${path}/lock`);
      if (unlock) return new StateFolder(path, unlock);
    } catch (error) {
      throw new ConfigError(
        `Option --state: ${JSON.stringify(path)} can't be used: ${systemReason(error)}`,
      );
    }
    throw new ConfigError(
      `Option --state: another relay uses ${
        JSON.stringify(path)
      }; each needs a folder of its own, ` +
        "or --directory, which several share",
    );
  }

  async load(): Promise<readonly StoredEntry[]> {
    const entries = await Promise.all(entryKinds.map((kind) => this.#loadKind(kind)));
    return entries.flat();
  }

  async #loadKind(kind: EntryKind): Promise<StoredEntry[]> {
    const folder = `${this.#path}/${kind}`;
    const names = await fs.readdir(folder);
    // What a crash has left of files that were never put in place.
    const left = names.filter((name) => name.endsWith(temporary));
    await inTurns(left, (name) => fs.rm(`${folder}/${name}`, { force: true }));
    const files = names.filter((name) => name.endsWith(".json")).sort();
    return await inTurns(files, (name) => this.#read(kind, `${folder}/${name}`));
  }

  /** @throws {ConfigError} for a file that is no entry: to go on without it would end its sessions */
  async #read(kind: EntryKind, path: string): Promise<StoredEntry> {
    let fault = "is not an entry of the admin API";
    try {
      const entry = parseStored(kind, await fs.readFile(path, "utf8"));
      if (path.endsWith(`/${fileNameOf(entry.name)}`)) return entry;
      fault = "has the name of another entry's file";
    } catch (error) {
      if (error instanceof Error && "code" in error) {
        fault = `can't be read: ${systemReason(error)}`;
      }
    }
    throw new ConfigError(
      `Option --state: ${JSON.stringify(path)} ${fault}; restore it, or move it away`,
    );
  }

  async commit(changes: readonly EntryChange[]): Promise<CommitResult> {
    const failed = new Map<EntryChange, Error>();
    const written = await inTurns(changes, (change) => this.#prepare(change, failed));
    const kinds = new Set<EntryKind>();
    for (const [index, change] of changes.entries()) {
      if (failed.has(change)) continue;
      await this.#place(change, written[index]).then(
        () => kinds.add(change.kind),
        (error) => failed.set(change, error),
      );
    }
    // Names that are not on disk could come back after a power cut.
    for (const kind of kinds) await syncFolder(`${this.#path}/${kind}`);
    return { kind: "done", failed };
  }

  /** Writes an entry beside its place. @returns where */
  async #prepare(
    change: EntryChange,
    failed: Map<EntryChange, Error>,
  ): Promise<string | undefined> {
    if (!change.entry) return undefined;
    const path = `${this.#pathOf(change)}.${crypto.randomUUID()}${temporary}`;
    try {
      const file = await fs.open(path, "wx", fileMode);
      try {
        await file.writeFile(`${formatStored(change.entry)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      return path;
    } catch (error) {
      failed.set(change, error as Error);
      await fs.rm(path, { force: true }).catch(() => {});
      return undefined;
    }
  }

  async #place(change: EntryChange, written: string | undefined): Promise<void> {
    const path = this.#pathOf(change);
    if (written === undefined) return await fs.rm(path, { force: true });
    try {
      await fs.rename(written, path);
    } catch (error) {
      await fs.rm(written, { force: true }).catch(() => {});
      throw error;
    }
  }

  #pathOf({ kind, name }: EntryChange): string {
    return `${this.#path}/${kind}/${fileNameOf(name)}`;
  }

  /** Nobody else changes it. */
  follow(): void {}

  close(): Promise<void> {
    this.#unlock();
    return Promise.resolve();
  }
}

/**
 * The name of an entry's file. Names that a file system could take for another's, hide or find too long
 * have their digest in it.
 */
export function fileNameOf(name: string): string {
  const isPlain = /^[a-z0-9][a-z0-9._-]{0,199}$/.test(name) && !name.startsWith("sha256-");
  if (isPlain) return `${name}.json`;
  return `sha256-${createHash("sha256").update(name).digest("hex")}.json`;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await fs.open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function inTurns<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += parallel) {
    results.push(...await Promise.all(items.slice(at, at + parallel).map(work)));
  }
  return results;
}
