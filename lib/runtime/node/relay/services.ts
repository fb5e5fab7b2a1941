/** The relay's services: what their files hold, taken again whenever they change. */
import { isServicesFile, readServicesFiles } from "../../../config/entries/services_files.ts";
import { noServices, type Services } from "../../../config/entries/services.ts";
import type { RelayOptions } from "../../../config/relay_options.ts";
import { checkTogether, type ServicesOption } from "../../../config/services_option.ts";
import type { ClusterEntry } from "../../../domain/cluster.ts";
import type { Relay } from "../../../relay/relay.ts";
import type { RelaySignIn } from "./sign_in.ts";
import { followConfig } from "../followed_config.ts";
import type { ServicePorts } from "./service_ports.ts";
import type { WatchedFiles } from "../watched_files.ts";

/** What is in use of clusters and services: each is checked against the other when it changes. */
export class Published {
  clusters: readonly ClusterEntry[];
  services: Services;
  readonly #context: ServicesOption["context"];

  constructor(
    options: Pick<RelayOptions, "clusters" | "services" | "directory" | "assertionKeys">,
  ) {
    const { clusters, services, directory, assertionKeys } = options;
    this.clusters = clusters;
    this.services = services ?? noServices;
    const lacksSharedKeys = directory !== undefined && assertionKeys === undefined;
    this.#context = services?.context ?? { ownNames: [], hasJwtIssuer: false, lacksSharedKeys };
  }

  /** @returns warnings @throws {ConfigError} when they do not go with the services in use */
  checkClusters(clusters: readonly ClusterEntry[]): string[] {
    return checkTogether(clusters, this.services, this.#context);
  }

  /** The same for services and the clusters in use. */
  checkServices(services: Services): string[] {
    return checkTogether(this.clusters, services, this.#context);
  }
}

/** Takes over what the services' files hold when they change. */
export function followServices(
  { services: option }: RelayOptions,
  relay: Relay,
  published: Published,
  { signIn, ports }: { readonly signIn: RelaySignIn; readonly ports: ServicePorts },
): WatchedFiles[] {
  if (!option?.source) return [];
  const { context, source: { path, files: known } } = option;
  const files = followConfig({
    source: "services",
    paths: [path],
    accepts: isServicesFile,
    known,
    async apply(files) {
      const services = readServicesFiles(path, files, context);
      const unserved = published.checkServices(services);
      const open = await ports.prepare(services.services);
      let changes: object;
      try {
        const use = () => relay.replacePublished(services.services, services);
        changes = await signIn.apply(services, use);
      } catch (error) {
        await open.undo();
        throw error;
      }
      open.commit();
      published.services = services;
      for (const warning of [...services.warnings, ...unserved]) relay.log.warn(warning);
      return changes;
    },
    metrics: relay.metrics,
    log: relay.log,
  });
  return [files];
}
