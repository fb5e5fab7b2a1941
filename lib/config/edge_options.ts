/**
 * The settings of a relay at the edge: a platform's variables and secrets, which are text. There are
 * no files and no command line; names and meanings are those of the relay's environment variables.
 */
import type { CallersConfig } from "../domain/callers.ts";
import type { ClusterEntry } from "../domain/cluster.ts";
import type { PolicyEntry } from "../domain/policy.ts";
import type { Provider } from "../domain/provider.ts";
import type { Service } from "../domain/service.ts";
import { ConfigError } from "./config_error.ts";
import { readCallerClaims, readCallerTokens } from "./entries/callers.ts";
import { readClusters } from "./entries/clusters.ts";
import { deepFreeze } from "./freeze.ts";
import { type ScopeLimits, scopeLimitsOf } from "./limit_options.ts";
import {
  edgeSettingsOf,
  fieldsOf,
  type OptionValues,
  plainValues,
  type SetValues,
} from "./options/option_table.ts";
import { variableOf } from "./options/environment.ts";
import { type Environment, type ReadOptions, readSettings } from "./options/options.ts";
import { checkTogether, readServicesText } from "./services_option.ts";
import { adminTable } from "./tables/admin.ts";
import { scopeLimitTable } from "./tables/limits.ts";
import { relayTable } from "./tables/relay.ts";

/** The options of the relay that it has at the edge. */
export const edgeTable = edgeSettingsOf(relayTable);

/** The settings about JWTs; any of them needs all of them. */
const jwtFields = [
  "callerJwtIssuer",
  "callerJwtAudience",
  "callerJwksUrl",
  "callerJwtRules",
] as const;

const composed = [
  "clusters",
  "services",
  "callerTokens",
  ...jwtFields,
  ...fieldsOf(scopeLimitTable),
] as const;

type PlainOptions = SetValues<Omit<OptionValues<typeof edgeTable>, typeof composed[number]>>;

/** What a relay at the edge runs with; frozen. */
export interface EdgeOptions extends PlainOptions, ScopeLimits {
  readonly clusters: readonly ClusterEntry[];
  readonly services: readonly Service[];
  /** Who vouches for people, and who may open what. */
  readonly people: {
    readonly providers: readonly Provider[];
    readonly policies: readonly PolicyEntry[];
  };
  /** On a port that everybody reaches, callers are always asked who they are. */
  readonly callers: CallersConfig;
  readonly warnings: readonly string[];
}

type Read = ReadOptions<typeof edgeTable>;

/** @throws {ConfigError} naming the setting that is missing or wrong, in one line */
export function readEdgeOptions(env: Environment): EdgeOptions {
  refuseAdminApi(env);
  const read = readSettings(edgeTable, joinedSettings(env));
  const { values, origins } = read;
  const { clusters, warnings } = readClusters(values.clusters, origins.clusters);
  const tokens = values.callerTokens === undefined
    ? undefined
    : readCallerTokens(values.callerTokens, origins.callerTokens);
  const jwt = readJwt(read);
  const context = { ownNames: [], hasJwtIssuer: jwt !== undefined, isAtEdge: true };
  const services = readServicesText(values.services, origins.services, context);
  const unserved = checkTogether(clusters, services, context);
  if (services.login) {
    throw new ConfigError(
      `${origins.services}: login: a relay at the edge keeps no sessions; use a provider of kind ` +
        '"jwt-header"',
    );
  }
  if (!tokens && !jwt) {
    const alternatives = jwtFields.map((field) => relayTable[field].env).join(", ");
    throw new ConfigError(
      'Setting CALLER_TOKENS is missing: it must be a JSON array of {"name", "token" or ' +
        `"tokenSha256", "clusters"}; or set ${alternatives}`,
    );
  }
  return deepFreeze({
    ...plainValues(values, composed),
    ...scopeLimitsOf(values),
    clusters,
    services: services.services,
    people: { providers: services.providers, policies: services.policies },
    callers: { mode: "known" as const, ...tokens && { tokens: tokens.tokens }, ...jwt && { jwt } },
    warnings: [
      ...read.warnings,
      ...warnings,
      ...services.warnings,
      ...unserved,
      ...tokens?.warnings ?? [],
    ],
  });
}

/** Who sets one of them would wait for an API that never comes. */
function refuseAdminApi(env: Environment): void {
  const given = Object.values(adminTable).find(({ env: name }) => variableOf(env, name));
  if (!given) return;
  throw new ConfigError(
    `Setting ${given.env}: a relay at the edge has no admin API, as it has neither a second listener ` +
      "nor a folder; remove it",
  );
}

/** Joins NAME, NAME_2, NAME_3 and so on: platforms limit a setting's length. */
function joinedSettings(env: Environment): Environment {
  const joined: Record<string, string | undefined> = {};
  for (const { env: name } of Object.values(edgeTable)) {
    let text = variableOf(env, name);
    for (let part = 2; text; part++) {
      const more = variableOf(env, `${name}_${part}`);
      if (!more) break;
      text += more;
    }
    joined[name] = text;
  }
  return joined;
}

function readJwt({ values, origins }: Read): CallersConfig["jwt"] | undefined {
  const {
    callerJwtIssuer: issuer,
    callerJwtAudience: audience,
    callerJwksUrl: jwksUrl,
    callerJwtRules: rules,
  } = values;
  const given = jwtFields.find((field) => values[field] !== undefined);
  if (given === undefined) return undefined;
  if (issuer === undefined || audience === undefined || jwksUrl === undefined || !rules) {
    const missing = jwtFields.filter((field) => values[field] === undefined);
    const names = missing.map((field) => relayTable[field].env).join(" and ");
    throw new ConfigError(`${origins[given]} needs ${names} as well`);
  }
  // What is loopback to a platform is nobody's issuer.
  if (!jwksUrl.startsWith("https:")) {
    throw new ConfigError(`${origins.callerJwksUrl} must be an https:// URL`);
  }
  return { issuer, audience, jwksUrl, rules: readCallerClaims(rules, origins.callerJwtRules) };
}
