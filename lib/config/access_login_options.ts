/** What `access login`, `access logout` and `access kubectl-token` are to do. */
import { type AccessService, contextOf, serviceOf } from "./access_options.ts";
import { type PersonOptions, tokenDirectory } from "./access_person.ts";
import { ConfigError } from "./config_error.ts";
import { type Environment, variableOf } from "./options/environment.ts";
import { type Parsed, parseOptions, type ReadOptions } from "./options/options.ts";
import {
  accessKubectlTokenProgram,
  type accessKubectlTokenTable,
  accessLoginProgram,
  type accessLoginTable,
  accessLogoutProgram,
} from "./tables/access_login.ts";

/** What `access login` is to do. */
export interface AccessLoginOptions extends PersonOptions {
  /** The host to which the browser is sent. */
  readonly service: AccessService;
  /** What the token is to be for: origins, and `ORIGIN/tunnel/ID`. */
  readonly places: readonly string[];
  readonly warnings: readonly string[];
}

/** What `access kubectl-token` is to do. */
export interface AccessKubectlTokenOptions extends AccessLoginOptions {
  /** What kubectl says of itself. */
  readonly execInfo: string | undefined;
}

/** What `access logout` is to do. */
export interface AccessLogoutOptions {
  readonly directory: string;
  /** The origin that is signed out from; all of them without. */
  readonly origin: string | undefined;
  /** How the relay of an origin is reached. */
  readonly serviceAt: (origin: string) => AccessService;
  readonly warnings: readonly string[];
}

/** @throws {ConfigError} for options that are wrong or don't go together */
export function parseAccessLoginOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AccessLoginOptions> {
  const parsed = parseOptions(accessLoginProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values } = parsed.options;
  const [first] = values.services;
  const origins = values.cluster ? [] : values.services.map(({ origin }) => origin);
  if (values.cluster && values.services.length > 1) {
    throw new ConfigError("Option --cluster goes with one HOSTNAME: the login host");
  }
  return { kind: "run", options: loginOf(parsed.options, first!, origins, env) };
}

/** @throws {ConfigError} as above */
export function parseAccessKubectlTokenOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AccessKubectlTokenOptions> {
  const parsed = parseOptions(accessKubectlTokenProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values } = parsed.options;
  const origins = values.cluster ? [] : [values.service.origin];
  const execInfo = variableOf(env, "KUBERNETES_EXEC_INFO");
  const options = loginOf(parsed.options, values.service, origins, env);
  return { kind: "run", options: { ...options, execInfo } };
}

function loginOf(
  read: ReadOptions<typeof accessLoginTable | typeof accessKubectlTokenTable>,
  url: URL,
  origins: readonly string[],
  env: Environment,
): AccessLoginOptions {
  const { values } = read;
  const warnings: string[] = [];
  const service = serviceOf(url, contextOf(read, {}, warnings));
  const clusters = (values.cluster ?? []).map((id) => `${service.origin}/tunnel/${id}`);
  return {
    service,
    places: [...new Set([...origins, ...clusters])],
    env,
    directory: tokenDirectory(env),
    timeoutMs: values.timeout,
    opensBrowser: !values.noBrowser,
    isDevice: values.device,
    warnings,
  };
}

/** @throws {ConfigError} as above */
export function parseAccessLogoutOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AccessLogoutOptions> {
  const parsed = parseOptions(accessLogoutProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values: { service } } = parsed.options;
  const warnings: string[] = [];
  const context = contextOf(parsed.options, {}, warnings);
  return {
    kind: "run",
    options: {
      directory: tokenDirectory(env),
      origin: service?.origin,
      serviceAt: (origin) => serviceOf(new URL(origin), context),
      warnings,
    },
  };
}
