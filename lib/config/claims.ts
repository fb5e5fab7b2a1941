/** Hostnames that an agent claims, each for one of its targets. */
import { ConfigError } from "./config_error.ts";
import { listOf, parsedBy } from "./options/kinds.ts";
import type { Kind } from "./options/kinds.ts";

/** A value of `--hostname`. */
export interface HostnameOption {
  /** The hostname in lower case. */
  readonly hostname: string;
  /** The target's name; undefined is the only one. */
  readonly target?: string;
}

/** More are not announced to relays. */
const MAX_HOSTNAMES = 100;
const MAX_TARGETS = 1_000;

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const HOSTNAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
/** A target as in Open: a name, or `HOST:PORT`. */
const TARGET = /^[\w.:[\]%-]{1,260}$/;

const claim: Kind<HostnameOption> = {
  placeholder: "HOSTNAME",
  schema: parsedBy(
    parseClaim,
    "must be a host name such as hello.example.com, without a port and without a wildcard, and " +
      "may be followed by =TARGET",
  ),
};

/** A list of hostnames. */
export const claims = listOf(claim);

function parseClaim(text: string): HostnameOption | undefined {
  const [name = "", ...rest] = text.split("=");
  const hostname = name.toLowerCase();
  // Digits and dots alone are an address.
  const isName = hostname.length <= 253 && HOSTNAME.test(hostname) && !/^[\d.]+$/.test(hostname);
  if (!isName || rest.length > 1) return undefined;
  const [target] = rest;
  if (target === undefined) return { hostname };
  return TARGET.test(target) ? { hostname, target } : undefined;
}

/** What a claim may be for. */
interface Claimable {
  readonly name: string;
  readonly kind: string;
}

/**
 * Finds the target that each hostname is for.
 *
 * @param origin Names the option in messages.
 * @throws {ConfigError} for a target that is not there or not clear, for a hostname given twice, and
 *   for more of either than may be announced.
 */
export function resolveClaims(
  hostnames: readonly HostnameOption[],
  targets: readonly Claimable[],
  origin: string,
): { hostname: string; target: string }[] {
  if (targets.length > MAX_TARGETS) {
    throw new ConfigError(
      `The agent has ${targets.length} targets, with that of --target; at most ${MAX_TARGETS}`,
    );
  }
  if (hostnames.length > MAX_HOSTNAMES) {
    throw new ConfigError(`${origin} names ${hostnames.length} hosts; at most ${MAX_HOSTNAMES}`);
  }
  const seen = new Set<string>();
  return hostnames.map(({ hostname, target }) => {
    if (seen.has(hostname)) throw new ConfigError(`${origin} has ${hostname} twice; keep one`);
    seen.add(hostname);
    return { hostname, target: target ?? onlyTarget(hostname, targets, origin) };
  }).map((claim) => {
    if (targets.some(({ name }) => name === claim.target)) return claim;
    throw new ConfigError(
      `${origin} has ${claim.hostname} for the target ${JSON.stringify(claim.target)}, which the ` +
        "agent does not have",
    );
  });
}

function onlyTarget(hostname: string, targets: readonly Claimable[], origin: string): string {
  const http = targets.filter(({ kind }) => kind === "http");
  const [only, another] = targets.length === 1 ? targets : http;
  if (only && !another) return only.name;
  throw new ConfigError(
    `${origin} must say which target ${hostname} is for, as ${hostname}=TARGET: the agent has ` +
      (http.length === 0 ? "none of kind http" : `${http.length} of kind http`),
  );
}
