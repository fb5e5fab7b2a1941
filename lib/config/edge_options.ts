/**
 * The settings of a relay at the edge: a platform's variables and secrets, which are text. There are
 * no files and no command line; names and meanings are those of the relay's environment variables.
 */
import type { CallersConfig } from "../domain/callers.ts";
import type { ClusterEntry } from "../domain/cluster.ts";
import type { LimitValues } from "../domain/limits.ts";
import { readCallerClaims, readCallerTokens } from "./entries/callers.ts";
import { readClusters } from "./entries/clusters.ts";
import { ConfigError } from "./config_error.ts";
import { deepFreeze } from "./freeze.ts";
import {
  idleTimeoutOption,
  limitOptions,
  limitsOf,
  maxBodyBytesOption,
  responseTimeoutOption,
} from "./limit_options.ts";
import type { OptionTable } from "./options/option_table.ts";
import { type Environment, parseOptions } from "./options/options.ts";
import { type LogLevel, logOptions, maxHeaderBytesOption } from "./shared_options.ts";
import { version } from "./version.ts";

/** What a relay at the edge runs with; frozen. */
export interface EdgeOptions {
  readonly clusters: readonly ClusterEntry[];
  /** On a port that everybody reaches, callers are always asked who they are. */
  readonly callers: CallersConfig;
  readonly limits: LimitValues;
  readonly clusterLimits: LimitValues;
  readonly responseTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly maxHeaderBytes: number;
  readonly maxBodyBytes: number;
  readonly maxStreams: number;
  readonly logLevel: LogLevel;
  readonly warnings: readonly string[];
}

/** The settings about JWTs; any of them needs all of them. */
const jwtSettings = [
  "CALLER_JWT_ISSUER",
  "CALLER_JWT_AUDIENCE",
  "CALLER_JWKS_URL",
  "CALLER_JWT_RULES",
] as const;

const table = {
  ...limitOptions,
  maxHeaderBytes: maxHeaderBytesOption,
  maxBodyBytes: maxBodyBytesOption,
  responseTimeoutMs: responseTimeoutOption,
  idleTimeoutMs: idleTimeoutOption,
  logLevel: logOptions.logLevel,
} as const satisfies OptionTable;

/** @throws {ConfigError} naming the setting that is missing or wrong, in one line */
export function readEdgeOptions(env: Environment): EdgeOptions {
  const program = { name: "relay", version, usage: "", summary: "", examples: [], exitCodes: [] };
  const parsed = parseOptions({ ...program, options: table }, [], env);
  if (parsed.kind !== "run") throw new Error("There is no command line to ask for help");
  const { values } = parsed.options;
  const clusters = joinedSetting(env, "CLUSTERS");
  const callerTokens = joinedSetting(env, "CALLER_TOKENS");
  if (clusters === undefined) {
    throw new ConfigError(
      'Setting CLUSTERS is missing: it must be a JSON array of {"id", "token", "targetAddr"}',
    );
  }
  const read = readClusters(clusters, "Setting CLUSTERS");
  const tokens = callerTokens === undefined
    ? undefined
    : readCallerTokens(callerTokens, "Setting CALLER_TOKENS");
  const jwt = readJwt(env);
  if (!tokens && !jwt) {
    throw new ConfigError(
      'Setting CALLER_TOKENS is missing: it must be a JSON array of {"name", "token" or ' +
        `"tokenSha256", "clusters"}; or set ${jwtSettings.join(", ")}`,
    );
  }
  return deepFreeze({
    ...limitsOf(values),
    responseTimeoutMs: values.responseTimeoutMs,
    idleTimeoutMs: values.idleTimeoutMs,
    maxHeaderBytes: values.maxHeaderBytes,
    maxBodyBytes: values.maxBodyBytes,
    maxStreams: values.maxStreams,
    logLevel: values.logLevel,
    clusters: read.clusters,
    callers: { mode: "known" as const, ...tokens && { tokens: tokens.tokens }, ...jwt && { jwt } },
    warnings: [...read.warnings, ...tokens?.warnings ?? []],
  });
}

/** A setting's text with what follows it in NAME_2, NAME_3 and so on: platforms limit their length. */
function joinedSetting(env: Environment, name: string): string | undefined {
  let text = env[name];
  if (!text) return undefined;
  for (let part = 2; env[`${name}_${part}`]; part++) text += env[`${name}_${part}`];
  return text;
}

function readJwt(env: Environment): CallersConfig["jwt"] | undefined {
  const given = jwtSettings.filter((name) => env[name]);
  if (given.length === 0) return undefined;
  const missing = jwtSettings.filter((name) => !env[name]);
  if (missing.length > 0) {
    throw new ConfigError(`Setting ${given[0]} needs ${missing.join(" and ")} as well`);
  }
  const [issuer, audience, jwksUrl, rules] = jwtSettings.map((name) => env[name]!);
  if (URL.parse(jwksUrl!)?.protocol !== "https:") {
    throw new ConfigError("Setting CALLER_JWKS_URL must be an https:// URL");
  }
  return {
    issuer: issuer!,
    audience: audience!,
    jwksUrl: jwksUrl!,
    rules: readCallerClaims(rules!, "Setting CALLER_JWT_RULES"),
  };
}
