/** The ServiceAccount token's file, for the agent's credentials. */
import type { FileVersion, TokenFile } from "../../agent/credentials.ts";
import { type FileStat, isSettled, statFileSync } from "../deno/file_stat.ts";
import { readText, TextFileError } from "../../config/text_file.ts";

/** A token file at a path; it need not be there yet. */
export function tokenFile(path: string): TokenFile {
  return new LookedAtFile(path);
}

/**
 * Looks at the file once for all requests that come in one message: a look costs a sixth of what a
 * request does.
 */
class LookedAtFile implements TokenFile {
  readonly #path: string;
  /** The version of the file that was last read; forgotten when the code that runs now has returned. */
  #version: FileVersion | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  version(): FileVersion {
    if (!this.#version) {
      const look = this.#look();
      const { modifiedMs, changedMs, bytes: size, inode } = look;
      const settled = isSettled(look, Date.now());
      this.#version = { modifiedMs, changedMs, size, inode, isSettled: settled };
      // Not `setImmediate`, which where requests come alone costs as much as the look.
      queueMicrotask(this.#forget);
    }
    return this.#version;
  }

  #look(): FileStat {
    try {
      return statFileSync(this.#path);
    } catch (error) {
      const { code, message } = error as Error & { code?: string };
      throw code === undefined ? error : new Error(`${code}: ${message}`);
    }
  }

  read(): string {
    try {
      return readText(this.#path);
    } catch (error) {
      throw error instanceof TextFileError ? new Error(`the file ${error.message}`) : error;
    }
  }

  readonly #forget = (): void => {
    this.#version = undefined;
  };
}
