/** The relay's clusters: what their files hold, taken again whenever they change. */
import { isClustersFile, readClustersFiles } from "../../../config/entries/clusters_files.ts";
import { ConfigError } from "../../../config/config_error.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { Relay } from "../../../relay/relay.ts";
import { SameTokenError } from "../../../relay/agents/tokens.ts";
import { followConfig } from "../followed_config.ts";
import type { WatchedFiles } from "../watched_files.ts";
import type { Published } from "./published.ts";

/** @throws {ConfigError} for what only the tokens' digests show, and any other error as it is. */
export function refuseSharedToken(error: unknown): never {
  throw error instanceof SameTokenError ? new ConfigError(error.message) : error;
}

/** Takes over what the clusters' files hold when they change; JSON on the command line does not. */
export function followClusters(
  { clustersSource, tls }: RelayOptions,
  relay: Relay,
  published: Published,
): WatchedFiles[] {
  if (!clustersSource) return [];
  const { path, files: known } = clustersSource;
  const demandsCertificate = tls?.clientCaPem !== undefined;
  const files = followConfig({
    source: "clusters",
    paths: [path],
    accepts: isClustersFile,
    known,
    async apply(files) {
      const { clusters, warnings } = readClustersFiles(path, files, { demandsCertificate });
      const changes = await published.replaceClusters(clusters);
      for (const warning of warnings) relay.log.warn(warning);
      return changes;
    },
    metrics: relay.metrics,
    log: relay.log,
  });
  return [files];
}
