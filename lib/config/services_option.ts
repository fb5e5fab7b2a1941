/** `--services`, apart from files, and what belongs together of services and clusters. */
import type { ClusterEntry } from "../domain/cluster.ts";
import type { ImpersonationMap } from "../domain/identity.ts";
import { type PolicyEntry, ruleEntriesOf } from "../domain/policy.ts";
import { callerJwtProvider } from "../domain/provider.ts";
import { ConfigError } from "./config_error.ts";
import { checkPolicyUse } from "./entries/policies.ts";
import type { ServicesContext } from "./entries/service_checks.ts";
import { noServices, readServices, type Services, usualProvider } from "./entries/services.ts";
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
 * @returns warnings, one line each
 * @throws {ConfigError}
 */
export function checkTogether(
  clusters: readonly ClusterEntry[],
  all: Services,
  context: ServicesContext,
): string[] {
  const { services, policies, providers } = all;
  const signing = signingPlace(clusters, services);
  if (signing !== undefined && context.lacksSharedKeys) {
    throw new ConfigError(
      `${signing} has its agent or application told who callers are, and relays that share a ` +
        "--directory need --assertion-keys for that: all must sign with the same keys",
    );
  }
  checkCallerPolicies(clusters, all, context);
  checkImpersonation(clusters, services, providers, context);
  checkClaims(clusters, all, context);
  return [
    ...unservedServices(clusters, services),
    ...boundless(clusters, services),
    ...tokensForServicesAlone(clusters, policies),
  ];
}

/** @throws {ConfigError} for a cluster's policy that can't apply to its callers */
function checkCallerPolicies(
  clusters: readonly ClusterEntry[],
  { policies, providers, login }: Services,
  context: ServicesContext,
): void {
  const signingIn = login && providers.find(({ kind }) => kind === "oidc");
  for (const { id, callerPolicy } of clusters) {
    if (callerPolicy === undefined) continue;
    const use = {
      where: `cluster "${id}": callerPolicy`,
      policy: callerPolicy,
      sees: "requests",
      // Callers have the JWTs of an issuer, or tokens of people who signed in.
      provider: context.hasJwtIssuer ? callerJwtProvider : signingIn?.name,
    } as const;
    checkPolicyUse(use, policies, "Clusters");
  }
}

/** @throws {ConfigError} for hostnames that a cluster's agents must not claim, or their policy */
function checkClaims(
  clusters: readonly ClusterEntry[],
  { policies, providers, login }: Services,
  context: ServicesContext,
): void {
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
}

function unservedServices(
  clusters: readonly ClusterEntry[],
  services: Services["services"],
): string[] {
  const ids = new Set(clusters.map(({ id }) => id));
  return services.filter(({ cluster }) => !ids.has(cluster)).map(({ name, cluster }) =>
    `Service "${name}" is for cluster "${cluster}", which is not among the clusters: ` +
    "its requests get 502"
  );
}

/** Policies' own tokens where clusters name the policy: they identify nobody under `/tunnel/`. */
function tokensForServicesAlone(
  clusters: readonly ClusterEntry[],
  policies: readonly PolicyEntry[],
): string[] {
  const users = Map.groupBy(clusters, ({ callerPolicy }) => callerPolicy);
  return policies.flatMap((policy) => {
    const [first, ...others] = users.get(policy.name) ?? [];
    const own = ruleEntriesOf(policy).find((rule) => "tokenSha256" in rule);
    if (!first || !own || !("token" in own)) return [];
    const where = `Cluster "${first.id}"${others.length > 0 ? ` and ${others.length} more` : ""}`;
    return `${where}: callerPolicy: the token "${own.token}" of policy "${policy.name}" opens ` +
      "services only, and not /tunnel/; to admit it there, put it into --caller-tokens, and " +
      "leave out the rule's tokenSha256";
  });
}

/**
 * A map names people as their provider does, and two providers may give one name to two people.
 *
 * @throws {ConfigError} for a map of unknown providers, and for one that could mean several
 */
function checkImpersonation(
  clusters: readonly ClusterEntry[],
  services: Services["services"],
  providers: Services["providers"],
  { hasJwtIssuer, jwtIssuer }: ServicesContext,
): void {
  const known = providers.map(({ name }) => name);
  if (hasJwtIssuer) known.push(callerJwtProvider);
  const refuseUnknown = (place: string, { providers: named = [] }: ImpersonationMap): void => {
    const unknown = named.find((name) => !known.includes(name));
    if (unknown === undefined) return;
    throw new ConfigError(`${place}: impersonate: provider: there is no provider "${unknown}"`);
  };
  for (const { name, identity } of services) {
    if (identity?.impersonate) refuseUnknown(`Service "${name}"`, identity.impersonate);
  }
  // Under a cluster's path there are the JWTs of callers, and the tokens of those who signed in.
  const signingIn = providers.filter(({ kind }) => kind === "oidc");
  const isProviders = providers.some(({ issuer }) => issuer === jwtIssuer);
  const possible = signingIn.map(({ name }) => name);
  if (hasJwtIssuer && !isProviders) possible.push(callerJwtProvider);
  for (const { id, impersonate } of clusters) {
    if (!impersonate) continue;
    refuseUnknown(`Clusters: cluster "${id}"`, impersonate);
    if (impersonate.providers || possible.length < 2) continue;
    throw new ConfigError(
      `Clusters: cluster "${id}": impersonate needs provider, as the same name may be that of ` +
        `different people at ${possible.join(" and ")}`,
    );
  }
}

/** Maps that leave it to a provider which users of a cluster its people can be. */
function boundless(clusters: readonly ClusterEntry[], services: Services["services"]): string[] {
  const places = [
    ...clusters.map(({ id, impersonate }) => [`Cluster "${id}"`, impersonate] as const),
    ...services.map(({ name, identity }) =>
      [`Service "${name}": identity`, identity?.impersonate] as const
    ),
  ];
  return places.filter(([, map]) => map?.prefix === "").map(([place]) =>
    `${place}: impersonate has no prefix, so a person may have the name of any of the cluster's ` +
    'own users; give one, such as "corp:"'
  );
}

/** What first makes assertions necessary, for messages. */
function signingPlace(
  clusters: readonly ClusterEntry[],
  services: Services["services"],
): string | undefined {
  const service = services.find(({ identity }) => identity?.assertion || identity?.impersonate);
  if (service) return `Service "${service.name}"`;
  const cluster = clusters.find(({ impersonate }) => impersonate !== undefined);
  return cluster && `Cluster "${cluster.id}"`;
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
