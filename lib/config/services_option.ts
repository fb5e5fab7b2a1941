/** `--services`, apart from files, and what belongs together of services and clusters. */
import type { ClusterEntry } from "../domain/cluster.ts";
import { ConfigError } from "./config_error.ts";
import { checkPolicyUse } from "./entries/policies.ts";
import {
  noServices,
  readServices,
  type Services,
  type ServicesContext,
  usualProvider,
} from "./entries/services.ts";
import type { FileText } from "./files.ts";

/** What `--services` gave. */
export interface ServicesOption extends Services {
  readonly context: ServicesContext;
  /** Where they came from; undefined when they were given as text, or not at all. */
  readonly source?: ServicesSource | undefined;
}

/** A file of services or a directory with such files, and what was read there at start. */
export interface ServicesSource {
  readonly path: string;
  readonly files: readonly FileText[];
}

/** JSON, or YAML of more lines than one: a path has neither a brace in front nor a line's end. */
export function isServicesText(text: string): boolean {
  return /^\s*[[{]/.test(text) || /[\n\r]/.test(text);
}

/**
 * Checks what clusters' entries say about hostnames against the policies that there are.
 *
 * @returns warnings, one line each: services of clusters that nobody has
 * @throws {ConfigError}
 */
export function checkTogether(
  clusters: readonly ClusterEntry[],
  { services, policies, providers, login }: Services,
  context: ServicesContext,
): string[] {
  const provider = usualProvider({ login, providers }, context);
  for (const { id, claims } of clusters) {
    if (!claims) continue;
    if (login && claims.hostnames.some(({ name }) => name === login.host.name)) {
      throw new ConfigError(
        `Clusters: cluster "${id}": hostnames: "${login.host.name}" is login's host; choose another`,
      );
    }
    const use = {
      where: `cluster "${id}"`,
      policy: claims.policy,
      sees: "requests",
      provider,
    } as const;
    checkPolicyUse(use, policies, "Clusters");
  }
  const ids = new Set(clusters.map(({ id }) => id));
  return services.filter(({ cluster }) => !ids.has(cluster)).map(({ name, cluster }) =>
    `Service "${name}" is for cluster "${cluster}", which is not among the clusters: ` +
    "its requests get 502"
  );
}

/** Reads services that are no file's. @throws {ConfigError} */
export function readServicesText(
  text: string | undefined,
  origin: string,
  context: ServicesContext,
) {
  if (text !== undefined && !isServicesText(text)) {
    throw new ConfigError(`${origin} must be JSON, or YAML of several lines`);
  }
  const services = text === undefined
    ? noServices
    : readServices([{ text, source: origin }], context);
  return { ...services, context };
}
