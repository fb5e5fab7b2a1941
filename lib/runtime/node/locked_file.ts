/** Files that several programs change: one at a time, and never half. */
import {
  chmodSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { ConfigError } from "../../config/config_error.ts";
import { systemReason } from "../../config/files.ts";
import { readText, TextFileError } from "../../config/text_file.ts";

/** How long another program may take, and how often it is looked for; in milliseconds. */
const lockTimeoutMs = 5_000;
const lockIntervalMs = 50;

/** The mode of a new file, also while it is being written: it may contain credentials. */
const secretMode = 0o600;

/**
 * Changes a file, or makes it, under the lock that kubectl takes: a file of the same name with `.lock`
 * behind. The new text takes the old one's place in one step; the file keeps its rights, and a link
 * goes on leading to it.
 *
 * @param change Gets the text there is, `""` for a file that is not there yet.
 * @throws {ConfigError} that names the file; it is as it was then
 */
export async function changeFile(
  path: string,
  change: (before: string) => string,
): Promise<void> {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    const unlock = await lock(`${path}.lock`, path);
    try {
      const real = realPath(path);
      replace(real, change(textOf(real)));
    } finally {
      unlock();
    }
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const name = JSON.stringify(path);
    if (error instanceof TextFileError) throw new ConfigError(`${name} ${error.message}`);
    throw new ConfigError(`${name} cannot be changed: ${systemReason(error)}`);
  }
}

async function lock(lockPath: string, path: string): Promise<() => void> {
  const deadlineMs = performance.now() + lockTimeoutMs;
  for (;;) {
    try {
      closeSync(openSync(lockPath, "wx", secretMode));
      return () => rmSync(lockPath, { force: true });
    } catch (error) {
      if ((error as { code?: string }).code !== "EEXIST") throw error;
    }
    if (performance.now() > deadlineMs) {
      throw new ConfigError(
        `${JSON.stringify(path)} is locked by another program; if there is none, remove ` +
          JSON.stringify(lockPath),
      );
    }
    await new Promise((resolve) => setTimeout(resolve, lockIntervalMs));
  }
}

/** Where links lead; the path itself while nothing is there. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return path;
    throw error;
  }
}

function textOf(path: string): string {
  try {
    return readText(path);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return "";
    throw error;
  }
}

function replace(path: string, text: string): void {
  const written = `${path}.${crypto.randomUUID()}.tmp`;
  try {
    writeFileSync(written, text, { mode: secretMode, flag: "wx" });
    chmodSync(written, modeOf(path));
    const file = openSync(written, "r+");
    fsyncSync(file);
    closeSync(file);
    renameSync(written, path);
  } catch (error) {
    rmSync(written, { force: true });
    throw error;
  }
}

function modeOf(path: string): number {
  try {
    return statSync(path).mode & 0o777;
  } catch {
    return secretMode;
  }
}
