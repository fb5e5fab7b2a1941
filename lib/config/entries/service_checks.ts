/** What services must be together with each other, with policies and providers, and with their relay. */
import type { Login } from "../../domain/login.ts";
import {
  isPersonRule,
  type PolicyEntry,
  publicPolicy,
  ruleEntriesOf,
} from "../../domain/policy.ts";
import { callerJwtProvider, type Provider } from "../../domain/provider.ts";
import type { Service } from "../../domain/service.ts";
import { ConfigError } from "../config_error.ts";
import { covers } from "./hostnames.ts";
import { checkPolicyUse } from "./policies.ts";
import { checkAudience } from "./providers.ts";
import { type Listening, refuseSharedPorts } from "./service_ports.ts";

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

/** A service and where it stands, for messages. */
export interface PlacedService {
  readonly service: Service;
  /** `Services file "x.yaml", entry 1 ("dashboard")`. */
  readonly place: string;
}

/** What a service is checked against. */
export interface ServiceSurroundings {
  readonly policies: readonly PolicyEntry[];
  readonly providers: readonly Provider[];
  readonly context: ServicesContext;
}

/** @throws {ConfigError} when a service's policy or provider is not there, or can't decide there */
export function checkService(
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

/** Whether a policy has rules about people. */
function asksForPeople(policy: string, policies: readonly PolicyEntry[]): boolean {
  const entry = policies.find(({ name }) => name === policy);
  return entry !== undefined && ruleEntriesOf(entry).some(isPersonRule);
}

/** Wildcards may cover it: the login host is asked for by its own name, and comes first. */
export function refuseLoginHost(placed: readonly PlacedService[], { host: { name } }: Login): void {
  for (const { service: { hostnames }, place } of placed) {
    const index = hostnames.findIndex((hostname) => hostname.name === name);
    if (index === -1) continue;
    throw new ConfigError(
      `${place}: hostnames: entry ${index + 1}: ${JSON.stringify(name)} is login's host; ` +
        "choose another",
    );
  }
}

/** One hostname leads to one service, and one name names one. */
export function refuseTwins(placed: readonly PlacedService[]): void {
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

export function refuseOwnNames(
  placed: readonly PlacedService[],
  { ownNames }: ServicesContext,
): void {
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

export function refuseImpossiblePorts(
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

export function openServiceWarnings(placed: readonly PlacedService[]): string[] {
  const open = placed.filter(({ service: { policy, kind, allow } }) =>
    policy === publicPolicy && kind !== "tls" && !allow
  );
  const says = `policy: "${publicPolicy}" lets everybody in who reaches it`;
  const warnings = open.slice(0, maxNamedServices).map(({ place }) => `${place}: ${says}`);
  const more = open.length - warnings.length;
  return more === 0 ? warnings : [...warnings, `${more} more services are open: ${says}`];
}
