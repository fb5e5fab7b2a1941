/** RegistrationTokens as entries of the relay's file of admin tokens. */
import { ConfigError } from "../../config/config_error.ts";
import { readAdminTokens } from "../../config/entries/admin_tokens.ts";
import type { RegistrationTokenSpec } from "../api/registration_token.ts";
import { durationMs } from "../api/tunnel.ts";

/** The operator's own token of the relay's admin API. */
export const ownTokenName = "culvert-operator";

/** An entry of the file of admin tokens. */
export interface AdminTokenEntry {
  readonly name: string;
  readonly tokenSha256: string;
  readonly clusters: readonly string[];
  readonly hostnames: readonly string[];
  readonly maxClusters?: number;
  readonly expires?: string;
  readonly autoAccept?: boolean;
  readonly leaseSeconds?: number;
}

/** Names of the tokens in a file; none in one that somebody has broken. */
export function namesIn(text = "[]"): string[] {
  try {
    return (JSON.parse(text) as { name: string }[]).map(({ name }) => String(name));
  } catch {
    return [];
  }
}

/** A token as the relay is to take it. */
export function entryOf(
  name: string,
  spec: RegistrationTokenSpec,
  tokenSha256: string,
): AdminTokenEntry {
  const entry = { name, tokenSha256 };
  // Requests with it are refused because nothing is in its scope, not because it is unknown.
  if (isExpired(spec)) return { ...entry, clusters: [], hostnames: [] };
  return {
    ...entry,
    clusters: spec.idPrefixes.map((prefix) => `${prefix.replace(/\*$/, "")}*`),
    hostnames: spec.hostSuffixes.map((suffix) => `*.${suffix.replace(/^\*?\.?/, "")}`),
    ...spec.maxClusters !== undefined && { maxClusters: spec.maxClusters },
    ...spec.expires !== undefined && { expires: spec.expires },
    ...!spec.autoAccept && { autoAccept: false },
    ...spec.leaseDuration !== undefined && { leaseSeconds: durationMs(spec.leaseDuration) / 1_000 },
  };
}

/** Why the relay would refuse a token's entry, and with it the whole file; undefined if it would not. */
export function faultOf(name: string, spec: RegistrationTokenSpec): string | undefined {
  if (name === ownTokenName) return `The name ${name} is the operator's own`;
  try {
    readAdminTokens(JSON.stringify([entryOf(name, spec, "0".repeat(64))]), "RegistrationToken");
    return undefined;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message;
  }
}

/** Whether a token has expired by now. */
export function isExpired({ expires }: RegistrationTokenSpec): boolean {
  return expires !== undefined && Date.parse(expires) <= Date.now();
}
