/** The relay's services: what their files hold, taken again whenever they change. */
import { isServicesFile, readServicesFiles } from "../../../config/entries/services_files.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { Relay } from "../../../relay/relay.ts";
import { followConfig } from "../followed_config.ts";
import type { WatchedFiles } from "../watched_files.ts";
import type { Published } from "./published.ts";

/** Takes over what the services' files hold when they change. */
export function followServices(
  { services: option }: RelayOptions,
  relay: Relay,
  published: Published,
): WatchedFiles[] {
  if (!option?.source) return [];
  const { context, source: { path, files: known } } = option;
  const files = followConfig({
    source: "services",
    paths: [path],
    accepts: isServicesFile,
    known,
    apply: async (files) =>
      await published.replaceServices(readServicesFiles(path, files, context)),
    metrics: relay.metrics,
    log: relay.log,
  });
  return [files];
}
