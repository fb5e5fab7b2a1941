/** The ServiceAccount token's file, for the agent's credentials. */
import { readFileSync, statSync } from "node:fs";
import type { TokenFile } from "../../agent/credentials.ts";

/** A token file at a path; it need not be there yet. */
export function tokenFile(path: string): TokenFile {
  return {
    version() {
      const { mtimeMs, size, ino } = statSync(path);
      return { modifiedMs: mtimeMs, size, inode: ino };
    },
    read: () => readFileSync(path, "utf8"),
  };
}
