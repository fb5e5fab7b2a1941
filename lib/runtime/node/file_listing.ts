/** How watched files look: all of them, or, as long as nothing happens, a few at a time. */
import { promises as fs } from "node:fs";
import { joinPath, systemReason } from "../../config/files.ts";
import { type FileStat, isSameStat, isSettled, statFile, statFileSync } from "../deno/file_stat.ts";

/** All files together; a mistyped path must not fill the memory. */
export const maxWatchedBytes = 16 * 1024 * 1024;
/** Files of all directories together. */
export const maxWatchedFiles = 10_000;
/** The number of glances within which every file is looked at. */
const glancesPerRound = 3;
/** The number of glances after which names are read again, as some file systems do not date directories. */
const glancesPerList = 12;
/** Files that are looked at in one go, while everything else waits: half a millisecond. */
const filesAtOnce = 128;

/** A path that can't be watched; the message is one line. */
export class UnwatchableError extends Error {
  override readonly name = "UnwatchableError";

  constructor(path: string, why: string) {
    super(`${JSON.stringify(path)} ${why}`);
  }
}

/** What is listed. */
export interface ListingOptions {
  /** Files, and directories whose files are meant. */
  readonly paths: readonly string[];
  /** Which files of a directory count, by name; nothing where a directory is none of the paths. */
  readonly accepts: ((name: string) => boolean) | undefined;
}

interface ListedFile {
  readonly path: string;
  readonly found: FileStat;
}

interface ListedDirectory extends ListedFile {
  readonly names: readonly string[];
}

/** How all files looked at one time. */
export class FileListing {
  readonly #options: ListingOptions;
  readonly #files: readonly ListedFile[];
  readonly #directories: readonly ListedDirectory[];
  /** The files that no glance has looked at yet in this round begin here. */
  #next = 0;
  #glances = 0;

  private constructor(
    options: ListingOptions,
    files: readonly ListedFile[],
    directories: readonly ListedDirectory[],
  ) {
    this.#options = options;
    this.#files = files;
    this.#directories = directories;
  }

  /** Looks at all files. @throws {UnwatchableError} */
  static async make(options: ListingOptions): Promise<FileListing> {
    const files: ListedFile[] = [];
    const directories: ListedDirectory[] = [];
    for (const path of options.paths) {
      const found = await named(path, statFile(path));
      if (found.kind !== "directory" || !options.accepts) {
        files.push(regular({ path, found }));
        continue;
      }
      const names = await namesIn(path, options);
      directories.push({ path, found, names });
      for (let n = 0; n < names.length; n += filesAtOnce) {
        const some = names.slice(n, n + filesAtOnce).map((name) => joinPath(path, name));
        files.push(...await Promise.all(some.map(regularAt)));
      }
    }
    const bytes = files.reduce((sum, { found }) => sum + found.bytes, 0);
    if (bytes > maxWatchedBytes) {
      throw new UnwatchableError(options.paths[0]!, `is larger than ${maxWatchedBytes} bytes`);
    }
    return new FileListing(options, files, directories);
  }

  get paths(): string[] {
    return this.#files.map(({ path }) => path);
  }

  /** Whether all files look the same in another listing. */
  equals(other: FileListing | undefined): boolean {
    return other !== undefined && this.#files.length === other.#files.length &&
      this.#files.every(({ path, found }, index) => {
        const file = other.#files[index]!;
        return file.path === path && isSameStat(file.found, found);
      });
  }

  /** Whether every change from now on would show. @param nowMs Milliseconds since 1970. */
  isSettled(nowMs: number): boolean {
    return [...this.#files, ...this.#directories].every(({ found }) => isSettled(found, nowMs));
  }

  /**
   * Whether what can be seen at a glance is unchanged: the directories themselves, whose times tell
   * of files that come, go or are replaced, and some of the files, others at each glance. All of a
   * large folder each time would keep a program busy that has nothing to do.
   */
  async glance(): Promise<boolean> {
    try {
      if (++this.#glances % glancesPerList === 0 && !await this.#hasSameNames()) return false;
      for (const { path, found } of this.#directories) {
        if (!isSameStat(await statFile(path), found)) return false;
      }
      return await this.#haveSameLooks();
    } catch {
      // It is looked at in full, which says what is wrong.
      return false;
    }
  }

  async #hasSameNames(): Promise<boolean> {
    for (const { path, names } of this.#directories) {
      if ((await namesIn(path, this.#options)).join("\n") !== names.join("\n")) return false;
    }
    return true;
  }

  async #haveSameLooks(): Promise<boolean> {
    const share = Math.max(filesAtOnce, Math.ceil(this.#files.length / glancesPerRound));
    const count = Math.min(share, this.#files.length);
    for (let n = 0; n < count; n++) {
      if (n > 0 && n % filesAtOnce === 0) await new Promise((resolve) => setImmediate(resolve));
      const { path, found } = this.#files[this.#next]!;
      // A file system that does not answer is met by the promises first, which hold up nothing else.
      const now = n === 0 ? await statFile(path) : statFileSync(path);
      if (!isSameStat(now, found)) return false;
      this.#next = (this.#next + 1) % this.#files.length;
    }
    return true;
  }
}

async function namesIn(path: string, { accepts }: ListingOptions): Promise<string[]> {
  const names = (await named(path, fs.readdir(path))).filter((name) => accepts?.(name)).sort();
  if (names.length > maxWatchedFiles) {
    throw new UnwatchableError(path, `holds more than ${maxWatchedFiles} files`);
  }
  return names;
}

async function regularAt(path: string): Promise<ListedFile> {
  return regular({ path, found: await named(path, statFile(path)) });
}

/** A pipe could be read once only, and a device for ever. */
function regular(file: ListedFile): ListedFile {
  if (file.found.kind === "file") return file;
  const isDirectory = file.found.kind === "directory";
  throw new UnwatchableError(file.path, isDirectory ? "is a directory" : "is not a regular file");
}

/** The system's errors, in words and with the path. */
export async function named<T>(path: string, attempt: Promise<T>): Promise<T> {
  try {
    return await attempt;
  } catch (error) {
    throw new UnwatchableError(path, `cannot be read: ${systemReason(error)}`);
  }
}
