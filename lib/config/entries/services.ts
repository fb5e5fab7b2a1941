/**
 * The services file: what the relay publishes at hostnames, and who may use it. Reads text and knows no
 * files, so that a relay without a file system can use it too.
 */
import { z } from "zod";
import { impersonations } from "../../domain/cluster.ts";
import {
  isPersonRule,
  type PolicyEntry,
  publicPolicy,
  ruleEntriesOf,
  type RuleEntry,
} from "../../domain/policy.ts";
import type { Login } from "../../domain/login.ts";
import { callerJwtProvider, type Provider } from "../../domain/provider.ts";
import { type Service, serviceKinds } from "../../domain/service.ts";
import { AddressRanges } from "../../domain/address_ranges.ts";
import { ConfigError } from "../config_error.ts";
import { parseListenAddress } from "../options/address.ts";
import { duration } from "../options/kinds.ts";
import { clusterIdSchema, limitsSchema, TIMEOUT_EXPECTED } from "./clusters.ts";
import { covers, hostnames } from "./hostnames.ts";
import { entryOf, parseJson } from "./json_entries.ts";
import { identitySchema } from "./identity.ts";
import { loginSchema } from "./login.ts";
import { pathList } from "./path_list.ts";
import {
  checkPolicies,
  checkPolicyUse,
  policyName,
  policySchema,
  refuseScopes,
} from "./policies.ts";
import { checkAudience, checkProviders, providerSchema } from "./providers.ts";
import { type Listening, refuseSharedPorts } from "./service_ports.ts";
import { targetName } from "./target_name.ts";
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

/** What the relay that reads the services is like. */
export interface ServicesContext {
  /** Its own names, which no service may have: `--web-relay-host`. */
  readonly ownNames: readonly { readonly option: string; readonly name: string }[];
  /** Whether `--caller-jwt-issuer` vouches for people. */
  readonly hasJwtIssuer: boolean;
  /** The issuer of callers' JWTs, which may be a provider's as well. */
  readonly jwtIssuer?: string | undefined;
  /** Whether there are other relays, and no keys that all of them sign with. */
  readonly lacksSharedKeys?: boolean;
  /** What its own listeners have; no service may listen there. */
  readonly taken?: readonly Listening[];
  /** What ports with TLS show to clients, and whether they can ask for a certificate; nothing without. */
  readonly serverTls?: "on" | "mutual" | undefined;
  /** Whether a platform opens the ports, and terminates TLS: services can have neither. */
  readonly isAtEdge?: boolean;
}

const EXPECTED = "an object with services, in YAML or JSON";
const LISTEN_EXPECTED = "must be an address to listen on such as 127.0.0.1:15432";
const ALLOW_EXPECTED = "must be an IP address or a range such as 10.0.0.0/8";
const SERVICE_EXPECTED = "must be an object with name, hostnames, cluster, target and policy";
const POLICY_EXPECTED =
  `is missing: it must be "${publicPolicy}", which lets everybody in, or the name of a policy`;
const HEADERS_EXPECTED = "must be an object with set, remove or both";
const HEADER_EXPECTED = "must be the name of a header field";
const VALUE_EXPECTED = "must be printable ASCII without spaces at its ends";
const AUDIENCE_EXPECTED = "must be the claim aud of the JWTs, 1 to 1024 printable characters";
const RECENT_EXPECTED = "must be a whole number from 0 to 1000";
const ORIGIN_EXPECTED = "must be an origin such as https://app.example.com, without a path";

/** Fields that frame a response, and those that only culvert or the app may set. */
const UNTOUCHABLE = new Set([
  ...["connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer"],
  ...["transfer-encoding", "upgrade", "set-cookie", "x-request-id"],
]);

const headerName = z.string(HEADER_EXPECTED)
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/, HEADER_EXPECTED)
  .refine((name) => !isUntouchable(name.toLowerCase()), {
    error: "frames the response or belongs to culvert or the app; it cannot be changed",
  });

const headerValue = z.string(VALUE_EXPECTED)
  .regex(/^(?:[\x21-\x7e](?:[\x20-\x7e]{0,4094}[\x21-\x7e])?)?$/, VALUE_EXPECTED);

const headerFields = z.record(z.string(), headerValue, "must be an object of header fields")
  .superRefine((fields, context) => {
    for (const name of Object.keys(fields)) {
      const { error } = headerName.safeParse(name);
      if (!error) continue;
      context.addIssue({ code: "custom", path: [name], message: error.issues[0]!.message });
    }
  });

const origin = z.string(ORIGIN_EXPECTED).refine((text) => {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text;
}, ORIGIN_EXPECTED);

/** The keys of a service. */
export const serviceShape = {
  name: policyName,
  hostnames,
  cluster: clusterIdSchema,
  target: targetName,
  kind: z.enum(serviceKinds, `must be one of ${serviceKinds.join(", ")}`).default("http"),
  policy: z.string(POLICY_EXPECTED).min(1, POLICY_EXPECTED),
  provider: policyName.exactOptional(),
  audience: z.string(AUDIENCE_EXPECTED).regex(/^[\x21-\x7e]{1,1024}$/, AUDIENCE_EXPECTED)
    .exactOptional(),
  identity: identitySchema.exactOptional(),
  anonymousPaths: pathList(64).exactOptional(),
  serviceWorkers: z.boolean("must be true or false").exactOptional(),
  frame: z.array(origin, "must be a list of origins").exactOptional(),
  host: z.enum(["public", "target"], 'must be "public" or "target"').exactOptional(),
  authorization: z.enum(["culvert", "app"], 'must be "culvert" or "app"').exactOptional(),
  impersonation: z.enum(impersonations, 'must be "refuse", "strip" or "forward"').exactOptional(),
  listen: z.string(LISTEN_EXPECTED).transform((text, context) => {
    const address = parseListenAddress(text);
    if (!address) context.addIssue({ code: "custom", message: LISTEN_EXPECTED });
    return address ?? z.NEVER;
  }).exactOptional(),
  listenTls: z.boolean("must be true or false").exactOptional(),
  allow: z.array(
    z.string(ALLOW_EXPECTED).refine(
      (text) => !text.includes(",") && AddressRanges.parse(text) !== undefined,
      ALLOW_EXPECTED,
    ),
    "must be a list of addresses and ranges of them",
  ).min(1, "must list an address; without it, nobody could connect").exactOptional(),
  responseTimeout: z.string(TIMEOUT_EXPECTED).pipe(duration({ min: "0" }).schema).exactOptional(),
  limits: limitsSchema.exactOptional(),
  recentRequests: z.int(RECENT_EXPECTED).min(0, RECENT_EXPECTED).max(1_000, RECENT_EXPECTED)
    .exactOptional(),
  headers: entryOf({
    set: headerFields.exactOptional(),
    remove: z.array(headerName, "must be a list of header fields").exactOptional(),
  }, HEADERS_EXPECTED).exactOptional(),
  cors: entryOf({
    origins: z.array(origin, "must be a list of origins").min(1, "must be a list of origins"),
  }, "must be an object with origins").exactOptional(),
};

/** What the keys of a service must be together. */
export function checkServiceKeys(entry: ServiceKeys, context: z.core.$RefinementCtx): void {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: "custom", path: [path], message });
  if (entry.listen && entry.kind !== "tcp") refuse("listen", "is for services of kind tcp");
  if (entry.allow && !entry.listen) refuse("allow", "needs listen as well");
  if (entry.listenTls !== undefined && !entry.listen) refuse("listenTls", "needs listen as well");
  if (entry.listen && !entry.allow && entry.policy === publicPolicy) {
    refuse("listen", 'needs allow: with policy "public" the port would be open to everybody');
  }
  // What goes through unread can't be changed.
  for (const key of entry.kind === "http" ? [] : HTTP_KEYS) {
    if (entry[key] === undefined) continue;
    context.addIssue({ code: "custom", path: [key], message: "is for services of kind http" });
  }
}

const serviceSchema = entryOf(serviceShape, SERVICE_EXPECTED).superRefine(checkServiceKeys);

/** Keys of services whose requests the relay reads. */
const HTTP_KEYS = [
  ...["host", "authorization", "impersonation", "responseTimeout", "headers", "cors"] as const,
  ...["audience", "identity", "anonymousPaths", "serviceWorkers", "frame"] as const,
];

/** A service's keys, read. */
export type ServiceKeys = z.output<z.ZodObject<typeof serviceShape, z.core.$strict>>;

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

/** A service and where it stands, for messages. */
interface PlacedService {
  readonly service: Service;
  /** `Services file "x.yaml", entry 1 ("dashboard")`. */
  readonly place: string;
}

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

/** What a service is checked against. */
interface ServiceSurroundings {
  readonly policies: readonly PolicyEntry[];
  readonly providers: readonly Provider[];
  readonly context: ServicesContext;
}

/** @throws {ConfigError} when a service's policy or provider is not there, or can't decide there */
function checkService(
  { service: { name, policy, kind, listen, listenTls, provider, audience }, place }: PlacedService,
  { policies, providers, context }: ServiceSurroundings,
): void {
  const where = `service "${name}"`;
  const sees = kind === "tls" || listen !== undefined
    ? "connection"
    : kind === "tcp"
    ? "credentials"
    : "requests";
  const from = place.slice(0, place.indexOf(", entry"));
  const hasCertificates = listenTls === true && context.serverTls === "mutual";
  checkPolicyUse({ where, policy, sees, hasCertificates, provider }, policies, from);
  if (provider === undefined || policy === publicPolicy) return;
  const found = providers.find((it) => it.name === provider);
  if (!found && provider !== callerJwtProvider) {
    throw new ConfigError(`${place}: provider: there is no provider "${provider}"`);
  }
  if (kind === "http" && (audience !== undefined || asksForPeople(policy, policies))) {
    checkAudience(where, found, audience, from);
  }
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

/** Whether a policy has rules about people. */
function asksForPeople(policy: string, policies: readonly PolicyEntry[]): boolean {
  const entry = policies.find(({ name }) => name === policy);
  return entry !== undefined && ruleEntriesOf(entry).some(isPersonRule);
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

/** Wildcards may cover it: the login host is asked for by its own name, and comes first. */
function refuseLoginHost(placed: readonly PlacedService[], { host: { name } }: Login): void {
  for (const { service: { hostnames }, place } of placed) {
    const index = hostnames.findIndex((hostname) => hostname.name === name);
    if (index === -1) continue;
    throw new ConfigError(
      `${place}: hostnames: entry ${index + 1}: ${JSON.stringify(name)} is login's host; ` +
        "choose another",
    );
  }
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

function isUntouchable(name: string): boolean {
  return UNTOUCHABLE.has(name) || name.startsWith("culvert-");
}

/** One hostname leads to one service, and one name names one. */
function refuseTwins(placed: readonly PlacedService[]): void {
  const byName = new Map<string, PlacedService>();
  const byHostname = new Map<string, PlacedService>();
  for (const here of placed) {
    const sameName = byName.get(here.service.name);
    if (sameName) {
      throw new ConfigError(
        `${sameName.place} and ${here.place} have the same name; each needs its own`,
      );
    }
    byName.set(here.service.name, here);
    for (const { name } of here.service.hostnames) {
      const other = byHostname.get(name);
      if (other) {
        throw new ConfigError(
          `${other.place} and ${here.place} have the same hostname ${JSON.stringify(name)}; ` +
            "case is ignored",
        );
      }
      byHostname.set(name, here);
    }
  }
}

function refuseOwnNames(placed: readonly PlacedService[], { ownNames }: ServicesContext): void {
  for (const { service, place } of placed) {
    for (const { option, name } of ownNames) {
      const index = service.hostnames.findIndex((hostname) =>
        hostname.name === name || covers(hostname.name, name)
      );
      const hostname = service.hostnames[index];
      if (!hostname) continue;
      const how = hostname.name === name ? "is" : "covers";
      throw new ConfigError(
        `${place}: hostnames: entry ${index + 1}: ${JSON.stringify(hostname.name)} ${how} ` +
          `the relay's own name ${JSON.stringify(name)} (${option}); choose another`,
      );
    }
  }
}

function refuseImpossiblePorts(
  placed: readonly PlacedService[],
  { taken = [], serverTls, isAtEdge = false }: ServicesContext,
): void {
  refuseSharedPorts(placed, taken);
  for (const { service: { kind, listen, listenTls }, place } of placed) {
    if (isAtEdge && listen) {
      throw new ConfigError(`${place}: listen: a relay at the edge cannot open ports; remove it`);
    }
    if (isAtEdge && kind === "tls") {
      throw new ConfigError(
        `${place}: kind: "tls" is impossible at the edge, where the platform terminates TLS; use "http"`,
      );
    }
    if (listenTls === true && serverTls === undefined) {
      throw new ConfigError(`${place}: listenTls: needs --tls-cert and --tls-key as well`);
    }
  }
}

/** Services that are named one by one; a program may have written thousands. */
const maxNamedServices = 10;

function openServiceWarnings(placed: readonly PlacedService[]): string[] {
  const open = placed.filter(({ service: { policy, kind, allow } }) =>
    policy === publicPolicy && kind !== "tls" && !allow
  );
  const says = `policy: "${publicPolicy}" lets everybody in who reaches it`;
  const warnings = open.slice(0, maxNamedServices).map(({ place }) => `${place}: ${says}`);
  const more = open.length - warnings.length;
  return more === 0 ? warnings : [...warnings, `${more} more services are open: ${says}`];
}
