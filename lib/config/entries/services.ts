/**
 * The services file: what the relay publishes at hostnames, and who may use it. Reads text and knows no
 * files, so that a relay without a file system can use it too.
 */
import { z } from "zod";
import type { Login } from "../../domain/login.ts";
import {
  isPersonRule,
  type PolicyEntry,
  ruleEntriesOf,
  type RuleEntry,
} from "../../domain/policy.ts";
import { callerJwtProvider, type Provider } from "../../domain/provider.ts";
import type { Service } from "../../domain/service.ts";
import { ConfigError } from "../config_error.ts";
import { entryOf, parseJson } from "./json_entries.ts";
import { loginSchema } from "./login.ts";
import { checkPolicies, policySchema, refuseScopes } from "./policies.ts";
import { checkProviders, providerSchema } from "./providers.ts";
import {
  checkService,
  openServiceWarnings,
  type PlacedService,
  refuseImpossiblePorts,
  refuseLoginHost,
  refuseOwnNames,
  refuseTwins,
  type ServicesContext,
} from "./service_checks.ts";
import { type ServiceKeys, serviceSchema } from "./service_schema.ts";
import { describeIssues, parseYaml } from "./yaml_entries.ts";

/** What the services' texts hold. */
export interface Services {
  readonly services: readonly Service[];
  readonly policies: readonly PolicyEntry[];
  readonly providers: readonly Provider[];
  /** Where people sign in; undefined if they do not. */
  readonly login?: Login | undefined;
  /** One line each, about what works but may not be meant. */
  readonly warnings: readonly string[];
}

/** The services of a relay that has none. */
export const noServices: Services = { services: [], policies: [], providers: [], warnings: [] };

/** A text with services. */
export interface ServicesText {
  readonly text: string;
  /** Names the text in messages: `Services file "x.yaml"`. */
  readonly source: string;
}

const EXPECTED = "an object with services, in YAML or JSON";

const fileSchema = entryOf(
  {
    services: z.array(serviceSchema, "must be a list of services").exactOptional(),
    policies: z.array(policySchema, "must be a list of policies").exactOptional(),
    providers: z.array(providerSchema, "must be a list of providers").exactOptional(),
    login: loginSchema.exactOptional(),
    // What the admin API has written beside an entry says nothing here.
    admin: z.unknown().optional(),
  },
  `must be ${EXPECTED}`,
  ["admin"],
);

/**
 * Reads texts, each an object with `services`, `policies` and `providers` or some of them.
 *
 * @throws {ConfigError} naming the file, the entry and the key
 */
export function readServices(texts: readonly ServicesText[], context: ServicesContext): Services {
  const files = texts.map((text) => ({ ...text, ...parse(text) }));
  const policies = files.flatMap((file) => file.policies ?? []);
  const providers = files.flatMap((file) => file.providers ?? []);
  const source = texts.map(({ source }) => source).join(", ");
  checkProviders(providers, source);
  checkPolicies(policies, providers, source);
  const login = theLogin(files);
  checkLogin(login, providers, policies, source);
  const vouching = usualProvider({ login, providers }, context);
  const placed = files.flatMap(({ source, services = [] }) =>
    services.map((entry, index): PlacedService => ({
      service: toService(entry, policies, vouching),
      place: `${source}, entry ${index + 1} ("${entry.name}")`,
    }))
  );
  for (const here of placed) checkService(here, { policies, providers, context });
  refuseTwins(placed);
  refuseOwnNames(placed, context);
  refuseImpossiblePorts(placed, context);
  if (login) refuseLoginHost(placed, login);
  const services = placed.map(({ service }) => service);
  const warnings = openServiceWarnings(placed);
  return { services, policies, providers, ...login && { login }, warnings };
}

/** Services and policies that come from elsewhere than files. */
export interface MoreServices {
  readonly services: readonly ServiceKeys[];
  readonly policies: readonly PolicyEntry[];
}

/** Where they come from, for messages. */
const elsewhere = "Admin API";

/**
 * Adds services and policies to what files hold. They may use the files' policies and providers.
 *
 * @throws {ConfigError} naming the entry and the key
 */
export function addServices(
  { warnings: _, ...base }: Services,
  more: MoreServices,
  context: ServicesContext,
): Services {
  const policies = [...base.policies, ...more.policies];
  const { providers, login } = base;
  checkPolicies(policies, providers, elsewhere);
  const vouching = usualProvider(base, context);
  const known = base.services.map((service) => ({
    service,
    place: `the configuration's service "${service.name}"`,
  }));
  const added = more.services.map((entry, index): PlacedService => ({
    service: toService(entry, policies, vouching),
    place: `${elsewhere}, entry ${index + 1} ("${entry.name}")`,
  }));
  for (const here of added) checkService(here, { policies, providers, context });
  refuseTwins([...known, ...added]);
  refuseOwnNames(added, context);
  refuseImpossiblePorts([...known, ...added], context);
  if (login) refuseLoginHost(added, login);
  const services = [...base.services, ...added.map(({ service }) => service)];
  return { ...base, services, policies, warnings: openServiceWarnings(added) };
}

/** Who vouches for people at services that name no provider. */
export function usualProvider(
  { login, providers }: Pick<Services, "login" | "providers">,
  { hasJwtIssuer }: Pick<ServicesContext, "hasJwtIssuer">,
): string | undefined {
  return login?.provider ?? providers[0]?.name ?? (hasJwtIssuer ? callerJwtProvider : undefined);
}

/** @throws {ConfigError} when two files have one: which counts would be a guess */
function theLogin(files: readonly { source: string; login?: Login }[]): Login | undefined {
  const [first, second] = files.filter(({ login }) => login !== undefined);
  if (second) {
    throw new ConfigError(`${first!.source} and ${second.source} both have login; keep one`);
  }
  return first?.login;
}

/** @throws {ConfigError} when login does not go with the providers and policies */
function checkLogin(
  login: Login | undefined,
  providers: readonly Provider[],
  policies: readonly PolicyEntry[],
  source: string,
): void {
  const oidc = providers.find(({ kind }) => kind === "oidc");
  if (!login) {
    if (!oidc) return;
    throw new ConfigError(
      `${source}: provider "${oidc.name}" is of kind oidc, which needs login: ` +
        '{"host": …}, the host where people sign in',
    );
  }
  const { provider, statusPolicy } = login;
  if (provider !== undefined && !providers.some(({ name }) => name === provider)) {
    throw new ConfigError(`${source}: login: provider: there is no provider "${provider}"`);
  }
  if (statusPolicy === undefined) return;
  const entry = policies.find(({ name }) => name === statusPolicy);
  if (!entry) {
    throw new ConfigError(`${source}: login: statusPolicy: there is no policy "${statusPolicy}"`);
  }
  refuseScopes(entry, `${source}: login: statusPolicy`);
}

/** JSON says more exactly where it is wrong than a reader of YAML does. */
function parse({ text, source }: ServicesText): z.output<typeof fileSchema> {
  const isJson = /^\ufeff?\s*[[{]/.test(text);
  const value = isJson ? parseJson(text, source, EXPECTED) : parseYaml(text, source, EXPECTED);
  const result = fileSchema.safeParse(value);
  if (result.success) return result.data;
  throw new ConfigError(`${source}${describeIssues(result.error.issues, value)}`);
}

function toService(
  entry: ServiceKeys,
  policies: readonly PolicyEntry[],
  vouching: string | undefined,
): Service {
  const { host = "public", impersonation = "refuse", headers, cors, limits, ...rest } = entry;
  const { responseTimeout, authorization, frame, ...named } = rest;
  const provider = named.provider ?? vouching;
  const policy = policies.find(({ name }) => name === entry.policy);
  return {
    ...named,
    ...provider !== undefined && { provider },
    ...frame !== undefined && { frameOrigins: frame },
    host,
    impersonation,
    authorization: authorization ?? (readsBearers(policy, provider) ? "culvert" : "app"),
    ...responseTimeout !== undefined && { responseTimeoutMs: responseTimeout },
    ...limits !== undefined && { limits },
    headers: {
      set: Object.entries(headers?.set ?? {}),
      remove: (headers?.remove ?? []).map((name) => name.toLowerCase()),
    },
    corsOrigins: cors?.origins ?? [],
  };
}

/** Whether a policy has a rule that a bearer token meets: `Authorization` is culvert's then. */
function readsBearers(policy: PolicyEntry | undefined, vouching: string | undefined): boolean {
  const rules: readonly RuleEntry[] = policy ? ruleEntriesOf(policy) : [];
  return rules.some((rule) =>
    "token" in rule ||
    (isPersonRule(rule) &&
      (("provider" in rule && rule.provider) || vouching) === callerJwtProvider)
  );
}
