/**
 * Deletes the objects of a deleted tunnel. The garbage collector would do it too, but not always: it
 * looks owners up by their kind, which is gone when somebody deletes the definitions of the kinds.
 */
import { isForbidden } from "../../kube/errors.ts";
import {
  configMaps,
  deployments,
  networkPolicies,
  type ObjectPath,
  podDisruptionBudgets,
  type Resource,
  secrets,
} from "../../kube/resources.ts";
import type { Context } from "../context.ts";
import { keepsDependents } from "../finalizer.ts";
import type { Tunnel } from "../tunnel.ts";
import { namesOf } from "./agent_metadata.ts";
import { grantPaths } from "./agent_rights.ts";

type PathOfKind = readonly [Resource, ObjectPath];

/**
 * Deletes what only the tunnel owns: its agents first, then what they need. Leaves to the garbage
 * collector what the operator may not delete.
 *
 * @throws {KubeError}
 */
export async function removeAgents({ client }: Pick<Context, "client">, tunnel: Tunnel) {
  if (keepsDependents(tunnel.object)) return;
  for (const [resource, at] of pathsOf(tunnel)) {
    try {
      const { metadata } = await client.find(resource, at) ?? {};
      const owners = metadata?.ownerReferences ?? [];
      const isOnlyOwner = owners.every(({ uid }) => uid === tunnel.object.metadata.uid);
      if (!metadata || owners.length === 0 || !isOnlyOwner) continue;
      await client.delete(resource, at, metadata.uid!);
    } catch (error) {
      if (!isForbidden(error)) throw error;
    }
  }
}

/** Where a tunnel's objects are, if it has them. */
function pathsOf(tunnel: Tunnel): readonly PathOfKind[] {
  const { home: namespace, spec, status } = tunnel;
  const { agent, routes, token, credentials } = namesOf(tunnel);
  const entry = spec?.relay.registration.secret?.name;
  return [
    [deployments, { namespace, name: agent }],
    [podDisruptionBudgets, { namespace, name: agent }],
    [networkPolicies, { namespace, name: agent }],
    [configMaps, { namespace, name: routes }],
    ...[token, credentials, ...entry === undefined ? [] : [entry]]
      .map((name): PathOfKind => [secrets, { namespace, name }]),
    ...status.clusterRole === undefined ? [] : grantPaths(tunnel),
  ];
}
