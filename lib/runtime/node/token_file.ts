/** The ServiceAccount token's file, for the agent's credentials. */
import { readFileSync, statSync } from "node:fs";
import type { FileVersion, TokenFile } from "../../agent/credentials.ts";

/** A token file at a path; it need not be there yet. */
export function tokenFile(path: string): TokenFile {
  return new LookedAtFile(path);
}

/**
 * Looks at the file once in a turn of the event loop: requests of one turn have come together, and a
 * look costs a sixth of what a request does.
 */
class LookedAtFile implements TokenFile {
  readonly #path: string;
  /** Of this turn. */
  #version: FileVersion | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  version(): FileVersion {
    if (!this.#version) {
      const { mtimeMs, size, ino } = statSync(this.#path);
      this.#version = { modifiedMs: mtimeMs, size, inode: ino };
      setImmediate(this.#turnEnded);
    }
    return this.#version;
  }

  read(): string {
    return readFileSync(this.#path, "utf8");
  }

  readonly #turnEnded = (): void => {
    this.#version = undefined;
  };
}
