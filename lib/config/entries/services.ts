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
import { callerJwtProvider, type Provider } from "../../domain/provider.ts";
import { type Service, serviceKinds } from "../../domain/service.ts";
import { ConfigError } from "../config_error.ts";
import { duration } from "../options/kinds.ts";
import { clusterIdSchema, limitsSchema, TIMEOUT_EXPECTED } from "./clusters.ts";
import { covers, hostnames } from "./hostnames.ts";
import { entryOf, parseJson } from "./json_entries.ts";
import { checkPolicies, checkPolicyUse, policyName, policySchema } from "./policies.ts";
import { checkProviders, providerSchema } from "./providers.ts";
import { targetName } from "./target_name.ts";
import { describeIssues, parseYaml } from "./yaml_entries.ts";

/** What the services' texts hold. */
export interface Services {
  readonly services: readonly Service[];
  readonly policies: readonly PolicyEntry[];
  readonly providers: readonly Provider[];
  /** One line each, about what works but may not be meant. */
  readonly warnings: readonly string[];
}

/** Of a relay without services. */
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
}

const EXPECTED = "an object with services, in YAML or JSON";
const SERVICE_EXPECTED = "must be an object with name, hostnames, cluster, target and policy";
const POLICY_EXPECTED =
  `is missing: it must be "${publicPolicy}", which lets everybody in, or the name of a policy`;
const HEADERS_EXPECTED = "must be an object with set, remove or both";
const HEADER_EXPECTED = "must be the name of a header field";
const VALUE_EXPECTED = "must be printable ASCII without spaces at its ends";
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

const serviceSchema = entryOf({
  name: policyName,
  hostnames,
  cluster: clusterIdSchema,
  target: targetName,
  kind: z.enum(serviceKinds, `must be one of ${serviceKinds.join(", ")}`).default("http"),
  policy: z.string(POLICY_EXPECTED).min(1, POLICY_EXPECTED),
  host: z.enum(["public", "target"], 'must be "public" or "target"').exactOptional(),
  authorization: z.enum(["culvert", "app"], 'must be "culvert" or "app"').exactOptional(),
  impersonation: z.enum(impersonations, 'must be "refuse", "strip" or "forward"').exactOptional(),
  responseTimeout: z.string(TIMEOUT_EXPECTED).pipe(duration({ min: "0" }).schema).exactOptional(),
  limits: limitsSchema.exactOptional(),
  headers: entryOf({
    set: headerFields.exactOptional(),
    remove: z.array(headerName, "must be a list of header fields").exactOptional(),
  }, HEADERS_EXPECTED).exactOptional(),
  cors: entryOf({
    origins: z.array(origin, "must be a list of origins").min(1, "must be a list of origins"),
  }, "must be an object with origins").exactOptional(),
}, SERVICE_EXPECTED).superRefine((entry, context) => {
  // What goes through unread can't be changed.
  for (const key of entry.kind === "http" ? [] : HTTP_KEYS) {
    if (entry[key] === undefined) continue;
    context.addIssue({ code: "custom", path: [key], message: "is for services of kind http" });
  }
});

/** Keys of services whose requests the relay reads. */
const HTTP_KEYS = [
  ...["host", "authorization", "impersonation", "responseTimeout", "headers", "cors"] as const,
];

type ServiceEntry = z.output<typeof serviceSchema>;

const fileSchema = entryOf({
  services: z.array(serviceSchema, "must be a list of services").exactOptional(),
  policies: z.array(policySchema, "must be a list of policies").exactOptional(),
  providers: z.array(providerSchema, "must be a list of providers").exactOptional(),
}, `must be ${EXPECTED}`);

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
  const vouching = providers[0]?.name ?? (context.hasJwtIssuer ? callerJwtProvider : undefined);
  const placed = files.flatMap(({ source, services = [] }) =>
    services.map((entry, index): PlacedService => ({
      service: toService(entry, policies, vouching),
      place: `${source}, entry ${index + 1} ("${entry.name}")`,
    }))
  );
  for (const { service: { name, policy, kind }, place } of placed) {
    const where = `service "${name}"`;
    const sees = kind === "tls" ? "connection" : "requests";
    const from = place.slice(0, place.indexOf(", entry"));
    checkPolicyUse({ where, policy, sees, provider: vouching }, policies, from);
  }
  refuseTwins(placed);
  refuseOwnNames(placed, context);
  const services = placed.map(({ service }) => service);
  return { services, policies, providers, warnings: placed.flatMap(warningsAbout) };
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
  entry: ServiceEntry,
  policies: readonly PolicyEntry[],
  vouching: string | undefined,
): Service {
  const { host = "public", impersonation = "refuse", headers, cors, limits, ...rest } = entry;
  const { responseTimeout, authorization, ...named } = rest;
  const policy = policies.find(({ name }) => name === entry.policy);
  return {
    ...named,
    host,
    impersonation,
    authorization: authorization ?? (readsBearers(policy, vouching) ? "culvert" : "app"),
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
            "case does not count",
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

function warningsAbout({ service: { policy, kind }, place }: PlacedService): string[] {
  const isOpen = policy === publicPolicy && kind !== "tls";
  return isOpen ? [`${place}: policy: "${publicPolicy}" lets everybody in who reaches it`] : [];
}
