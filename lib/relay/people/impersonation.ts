/** Which user and groups of a cluster a caller stands for. */
import { type ImpersonationMap, isSystemName } from "../../domain/identity.ts";
import { foldedName } from "../../http1/folded_name.ts";
import type { Field } from "../../http1/head.ts";
import type { Caller } from "../callers/caller.ts";
import { impersonationRefused } from "../caller_errors.ts";
import type { RelayError } from "../relay_error.ts";

/** A user of a cluster and its groups. */
export interface ClusterIdentity {
  readonly user: string;
  readonly groups: readonly string[];
}

/**
 * Whom a caller stands for in a cluster, or why it stands for nobody.
 *
 * @param told The groups that the caller's provider tells.
 */
export function clusterIdentityOf(
  caller: Caller,
  map: ImpersonationMap,
  told: readonly string[],
): ClusterIdentity | RelayError {
  const identity = caller.person
    ? {
      user: own(map.users, caller.person.username) ?? map.prefix + caller.person.username,
      groups: [...new Set(told.flatMap((group) => own(map.groups, group) ?? []))],
    }
    : mappedCaller(caller, map);
  if (!identity) return impersonationRefused("the cluster's entry maps no such caller");
  const system = [identity.user, ...identity.groups].find(isSystemName);
  return system === undefined
    ? identity
    : impersonationRefused('names that begin with "system:" are the cluster\'s own');
}

function mappedCaller(caller: Caller, map: ImpersonationMap): ClusterIdentity | undefined {
  const mapped = own(map.callers, `${caller.kind}:${caller.name}`);
  return mapped &&
    { user: mapped.user ?? `${map.prefix}${caller.kind}:${caller.name}`, groups: mapped.groups };
}

function own<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

/**
 * Takes what `kubectl --as` and `--as-group` ask for: groups among one's own may be chosen, and nobody
 * else's name.
 *
 * @param alias The caller's name as people write it, without the cluster's prefix.
 */
export function narrowed(
  identity: ClusterIdentity,
  alias: string,
  fields: readonly Field[],
): ClusterIdentity | RelayError {
  const asked = fields.filter(({ key }) => foldedName(key).startsWith("impersonate-"));
  if (asked.length === 0) return identity;
  const groups: string[] = [];
  let hasUser = false;
  for (const { key, value } of asked) {
    const name = decodeUtf8(value);
    if (key === "impersonate-user" && !hasUser && [identity.user, alias].includes(name)) {
      hasUser = true;
    } else if (key === "impersonate-user") return cannot(identity, "users", name);
    else if (key !== "impersonate-group") return cannot(identity, "userextras", key);
    else if (!identity.groups.includes(name)) return cannot(identity, "groups", name);
    else groups.push(name);
  }
  // The API server refuses groups without a user too.
  if (!hasUser) return impersonationRefused("requested groups without a user (--as)");
  return groups.length === 0 ? identity : { ...identity, groups: [...new Set(groups)] };
}

/** A refusal in the words of the API server's own. */
function cannot({ user, groups }: ClusterIdentity, resource: string, name: string): RelayError {
  const mapped = groups.length === 0 ? "no groups" : `the groups ${groups.join(", ")}`;
  return impersonationRefused(
    `${resource} "${name}" is forbidden: User "${user}" cannot impersonate resource "${resource}" ` +
      `in the relay's map, which gives it ${mapped}`,
  );
}

/** Heads are read as ISO-8859-1; kubectl writes UTF-8. */
function decodeUtf8(value: string): string {
  const bytes = Uint8Array.from(value, (char) => char.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}
