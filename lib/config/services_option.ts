/** `--services`: read at start, and what belongs together of services and clusters. */
import type { ClusterEntry } from "../domain/cluster.ts";
import { callerJwtProvider } from "../domain/provider.ts";
import { ConfigError } from "./config_error.ts";
import { checkPolicyUse } from "./entries/policies.ts";
import {
  noServices,
  readServices,
  type Services,
  type ServicesContext,
} from "./entries/services.ts";
import { isServicesFile, readServicesFiles } from "./entries/services_files.ts";
import { type FileText, readTextFiles } from "./files.ts";

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

/** Reads the option. @throws {ConfigError} */
export function readServicesOption(
  text: string | undefined,
  origin: string,
  context: ServicesContext,
): ServicesOption {
  if (text === undefined) return { ...noServices, context };
  if (isText(text)) return { ...readServices([{ text, source: origin }], context), context };
  const files = readTextFiles({ origin, path: text }, isServicesFile);
  return { ...readServicesFiles(text, files, context), context, source: { path: text, files } };
}

/** JSON, or YAML of more lines than one: a path has neither a brace in front nor a line's end. */
function isText(text: string): boolean {
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
  { services, policies, providers }: Services,
  { hasJwtIssuer }: ServicesContext,
): string[] {
  const provider = providers[0]?.name ?? (hasJwtIssuer ? callerJwtProvider : undefined);
  for (const { id, claims } of clusters) {
    if (!claims) continue;
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

/** Checks that the edge's settings, which have no files, are right. @throws {ConfigError} */
export function readServicesText(
  text: string | undefined,
  origin: string,
  context: ServicesContext,
) {
  if (text !== undefined && !isText(text)) {
    throw new ConfigError(`${origin} must be JSON, or YAML of several lines`);
  }
  return readServicesOption(text, origin, context);
}
