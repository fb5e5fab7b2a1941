/** The pairs of certificate and key in a folder, as they are on disk. */
import { promises as fs } from "node:fs";
import { joinPath, systemReason } from "../../../config/files.ts";
import { decodeText } from "../../../config/text_file.ts";
import { type FileStat, isSameStat, statFile } from "../../deno/file_stat.ts";

/** Files that belong together by their name. */
export interface PairPaths {
  /** `NAME` of `NAME.crt`, or of a folder with `tls.crt`. */
  readonly name: string;
  readonly chainPath: string;
  readonly keyPath: string;
}

/** A pair at one look; a file that is not there has none. */
export interface SeenPair extends PairPaths {
  readonly chain: FileStat | undefined;
  readonly key: FileStat | undefined;
}

/** Pairs of a folder; more are a mistake, and each costs a handshake. */
export const maxPairs = 1_000;
/** A chain with its CAs has some kilobytes. */
const maxPemBytes = 1024 * 1024;

/** A folder or file that can't be used; the message is one line. */
export class FolderError extends Error {
  override readonly name = "FolderError";

  constructor(path: string, why: string) {
    super(`${JSON.stringify(path)} ${why}`);
  }
}

/**
 * Lists the pairs of a folder: `NAME.crt` beside `NAME.key`, and folders with `tls.crt` and `tls.key`,
 * as Kubernetes mounts Secrets. Names with a dot in front are Kubernetes' own (`..data`), or hidden.
 *
 * @throws {FolderError}
 */
export async function listPairs(folder: string): Promise<SeenPair[]> {
  const pairs = new Map<string, PairPaths>();
  const entries = await namesIn(folder);
  for (const entry of entries) {
    // cert-manager puts the CA into its Secrets, beside tls.crt.
    if (entry === "ca.crt" && !entries.includes("ca.key")) continue;
    const path = joinPath(folder, entry);
    const file = /^(.+)\.(?:crt|key)$/.exec(entry);
    if (file) {
      const base = joinPath(folder, file[1]!);
      pairs.set(file[1]!, { name: file[1]!, chainPath: `${base}.crt`, keyPath: `${base}.key` });
    } else if ((await lookOrNothing(path))?.kind === "directory") {
      const name = `${entry}/tls`;
      const [chainPath, keyPath] = [joinPath(path, "tls.crt"), joinPath(path, "tls.key")];
      pairs.set(name, { name, chainPath, keyPath });
    }
  }
  if (pairs.size > maxPairs) throw new FolderError(folder, `holds more than ${maxPairs} pairs`);
  const seen: SeenPair[] = [];
  for (const pair of pairs.values()) {
    const looked = await statPair(pair);
    // A folder with neither is none of ours.
    if (looked.chain || looked.key) seen.push(looked);
  }
  return seen;
}

/** Looks at a pair's files. */
export async function statPair({ name, chainPath, keyPath }: PairPaths): Promise<SeenPair> {
  const [chain, key] = [await lookOrNothing(chainPath), await lookOrNothing(keyPath)];
  return { name, chainPath, keyPath, chain, key };
}

/** Whether a pair looks as it did. */
export function isSamePair(one: SeenPair, other: SeenPair | undefined): boolean {
  return other !== undefined && isSame(one.chain, other.chain) && isSame(one.key, other.key);
}

/** Reads a file of a pair. @throws {FolderError} */
export async function readPem(path: string, look: FileStat | undefined): Promise<string> {
  if (!look) {
    throw new FolderError(path, "is missing: a certificate needs its key, NAME.crt NAME.key");
  }
  if (look.kind !== "file") throw new FolderError(path, "is not a regular file");
  if (look.bytes > maxPemBytes) throw new FolderError(path, `is larger than ${maxPemBytes} bytes`);
  try {
    return decodeText(await fs.readFile(path), { invalid: "replace" });
  } catch (error) {
    throw new FolderError(path, `cannot be read: ${systemReason(error)}`);
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await fs.readdir(folder)).filter((name) => !name.startsWith(".")).sort();
  } catch (error) {
    throw new FolderError(folder, `cannot be read: ${systemReason(error)}`);
  }
}

async function lookOrNothing(path: string): Promise<FileStat | undefined> {
  try {
    return await statFile(path);
  } catch {
    // What can't be looked at is not there, as far as a certificate is concerned.
    return undefined;
  }
}

function isSame(one: FileStat | undefined, other: FileStat | undefined): boolean {
  return one && other ? isSameStat(one, other) : one === other;
}
