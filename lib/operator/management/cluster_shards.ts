/**
 * Which of the relay's Secrets holds which file: a Secret holds 1 MiB, so many clusters need several.
 * A file stays where it is, so that one change writes one Secret.
 */

/** Texts by the names of files. */
export type Files = ReadonlyMap<string, string>;

/** The Secrets, in the order in which they are filled; the relay's chart mounts them as one folder. */
export const clustersSecretNames: readonly string[] = [1, 2, 3, 4, 5, 6, 7, 8].map((number) =>
  number === 1 ? "culvert-relay-clusters" : `culvert-relay-clusters-${number}`
);
/** The maximum size of one Secret's files: below the 1 MiB of data that the API server accepts. */
const maxSecretBytes = 1_000_000;
/** The bytes of each file besides its text and its name, which `managedFields` repeats. */
const fileBytes = 32;

/** Files by the name of their Secret. */
export interface Shards {
  readonly files: ReadonlyMap<string, Files>;
  /** Names of files for which there is no room. */
  readonly leftOut: ReadonlySet<string>;
}

/**
 * Allots files to Secrets.
 *
 * @param wanted those that come first get room first
 * @param present the files of the Secrets that are there
 */
export function allot(
  wanted: Files,
  present: ReadonlyMap<string, Files>,
  maxBytes = maxSecretBytes,
): Shards {
  const secrets = clustersSecretNames.map((name) => new Shard(name, maxBytes));
  const placed = new Set<string>();
  for (const secret of secrets) {
    for (const file of present.get(secret.name)?.keys() ?? []) {
      const text = wanted.get(file);
      if (text !== undefined && !placed.has(file) && secret.take(file, text)) placed.add(file);
    }
  }
  const leftOut = new Set<string>();
  for (const [file, text] of wanted) {
    if (!placed.has(file) && !secrets.some((it) => it.take(file, text))) leftOut.add(file);
  }
  const inUse = secrets.filter(({ name, files }) => files.size > 0 || present.has(name));
  return { files: new Map(inUse.map(({ name, files }) => [name, files])), leftOut };
}

const encoder = new TextEncoder();

class Shard {
  readonly name: string;
  readonly files = new Map<string, string>();
  #leftBytes: number;

  constructor(name: string, maxBytes: number) {
    this.name = name;
    this.#leftBytes = maxBytes;
  }

  /** @returns whether there was room */
  take(file: string, text: string): boolean {
    const bytes = encoder.encode(text).length + 2 * file.length + fileBytes;
    if (bytes > this.#leftBytes) return false;
    this.#leftBytes -= bytes;
    this.files.set(file, text);
    return true;
  }
}
