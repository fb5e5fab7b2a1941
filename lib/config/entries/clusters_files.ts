/** Files of clusters: one, or a directory of them as Kubernetes mounts a Secret. */
import {
  type Clusters,
  type ClustersContext,
  readClusters,
  readClustersTexts,
} from "./clusters.ts";
import { ConfigError } from "../config_error.ts";
import type { FileText } from "../files.ts";

/** Which files of a directory hold clusters, by name. Kubernetes hides its own behind a dot. */
export function isClustersFile(name: string): boolean {
  return /^[^.].*\.json$/.test(name);
}

/**
 * Reads what the files hold, at start and whenever they have changed.
 *
 * @param path of the file, or of the directory
 * @throws {ConfigError} when it is not valid, or a directory has no file of clusters: that is a
 * mistake more likely than the wish to serve none, which `[]` in a file expresses
 */
export function readClustersFiles(
  path: string,
  files: readonly FileText[],
  context: ClustersContext,
): Clusters {
  const [first] = files;
  if (first === undefined) {
    throw new ConfigError(`Clusters directory ${JSON.stringify(path)} has no *.json file`);
  }
  if (first.path === path) return readClusters(first.text, sourceOf(path), context);
  const texts = files.map(({ path, text }) => ({ text, source: sourceOf(path) }));
  return readClustersTexts(texts, `Clusters directory ${JSON.stringify(path)}`, context);
}

function sourceOf(path: string): string {
  return `Clusters file ${JSON.stringify(path)}`;
}
