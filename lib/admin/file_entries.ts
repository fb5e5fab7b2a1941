/** Entries of files as the API shows them: in the files' format, with digests in the place of tokens. */
import type { EntryBody } from "../domain/admin.ts";
import type { ClusterEntry, ClusterToken } from "../domain/cluster.ts";
import type { PolicyEntry } from "../domain/policy.ts";
import type { Hostname } from "../domain/hostname.ts";
import type { Service } from "../domain/service.ts";

/** Says that an entry can't be changed through the API. */
const source = { source: "configuration" } as const;

/** @param digest SHA-256 of a token in hexadecimal */
export function clusterFileEntry(
  { id, tokens, certificateNames, responseTimeoutMs, claims, ...rest }: ClusterEntry,
  digest: (token: string) => string,
): EntryBody {
  return defined({
    id,
    tokens: tokens.map((token) => tokenEntry(token, digest)),
    ...rest,
    certificateName: certificateNames,
    responseTimeout: responseTimeoutMs === undefined ? undefined : `${responseTimeoutMs}ms`,
    hostnames: claims?.hostnames.map(hostnameText),
    policy: claims?.policy,
    ...source,
  });
}

function tokenEntry(
  { name, token, tokenSha256, expiresMs }: ClusterToken,
  digest: (token: string) => string,
) {
  return defined({
    name,
    tokenSha256: tokenSha256 ?? digest(token!),
    expires: expiresMs === undefined ? undefined : new Date(expiresMs).toISOString(),
  });
}

export function serviceFileEntry(
  { hostnames, responseTimeoutMs, frameOrigins, corsOrigins, headers, listen, ...rest }: Service,
): EntryBody {
  const { set, remove } = headers;
  return defined({
    ...rest,
    hostnames: hostnames.map(hostnameText),
    responseTimeout: responseTimeoutMs === undefined ? undefined : `${responseTimeoutMs}ms`,
    frame: frameOrigins,
    cors: corsOrigins.length > 0 ? { origins: corsOrigins } : undefined,
    headers: set.length + remove.length > 0 ? { set: Object.fromEntries(set), remove } : undefined,
    listen: listen && `${listen.hostname}:${listen.port}`,
    ...source,
  });
}

export function policyFileEntry(policy: PolicyEntry): EntryBody {
  return { ...policy, ...source };
}

function hostnameText({ name, port }: Hostname): string {
  return port === undefined ? name : `${name}:${port}`;
}

function defined(entry: EntryBody): EntryBody {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined));
}
