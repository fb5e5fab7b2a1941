/** The file in which `access` keeps tokens, and the locks of those who ask for them. */
import { chmodSync, mkdirSync } from "node:fs";
import { createHash } from "node:crypto";
import { ConfigError } from "../../../config/config_error.ts";
import { joinPath, systemReason } from "../../../config/files.ts";
import { readText } from "../../../config/text_file.ts";
import { parseTokenCache, type TokenCache, writeTokenCache } from "../../../access/token_cache.ts";
import { tryLockFile } from "../../deno/file_lock.ts";
import { changeFile } from "../locked_file.ts";

/** What is locked: a sign-in, which a person takes part in, or a refresh. */
export type LockPurpose = "sign-in" | "refresh";

const emptyCache: TokenCache = parseTokenCache("");

/** One user's file. */
export class TokenStore {
  readonly #directory: string;
  readonly #path: string;

  /** @param directory `${XDG_CONFIG_HOME}/culvert` */
  constructor(directory: string) {
    this.#directory = directory;
    this.#path = joinPath(directory, "tokens.json");
  }

  /** What is there now. @throws {ConfigError} */
  read(): TokenCache {
    try {
      return parseTokenCache(readText(this.#path));
    } catch (error) {
      if ((error as { code?: string }).code === "ENOENT") return emptyCache;
      throw new ConfigError(`${JSON.stringify(this.#path)} cannot be read: ${systemReason(error)}`);
    }
  }

  /** Changes it; other processes see all of the change or nothing. @throws {ConfigError} */
  async change(change: (before: TokenCache) => TokenCache): Promise<void> {
    this.#makeDirectory();
    await changeFile(this.#path, (before) => writeTokenCache(change(parseTokenCache(before))));
    // Whoever made it by hand may have let others read it.
    chmodSync(this.#path, 0o600);
  }

  /** @returns what unlocks; undefined if another process has the lock. @throws {ConfigError} */
  async tryLock(purpose: LockPurpose, origin: string): Promise<(() => void) | undefined> {
    this.#makeDirectory();
    const name = createHash("sha256").update(origin).digest("hex").slice(0, 16);
    const path = joinPath(this.#directory, `${purpose}-${name}.lock`);
    try {
      return await tryLockFile(path);
    } catch (error) {
      throw new ConfigError(`${JSON.stringify(path)} cannot be locked: ${systemReason(error)}`);
    }
  }

  #makeDirectory(): void {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      const name = JSON.stringify(this.#directory);
      throw new ConfigError(`${name} cannot be made: ${systemReason(error)}`);
    }
  }
}
