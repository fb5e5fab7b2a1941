/**
 * Deletes the objects of a deleted tunnel. The garbage collector alone does not suffice: it looks owners
 * up by their kind, and can miss those whose CustomResourceDefinition is deleted at the same time.
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
import { isOwnedBy } from "./owned_objects.ts";

type PathOfKind = readonly [Resource, ObjectPath];

/**
 * Deletes what the tunnel alone owns: first its agents, then what they need. The garbage collector
 * deletes what the operator has no right to delete.
 *
 * @throws {KubeError}
 */
export async function removeAgents({ client }: Pick<Context, "client">, tunnel: Tunnel) {
  if (keepsDependents(tunnel.object)) return;
  for (const [resource, at] of pathsOf(tunnel)) {
    try {
      const there = await client.find(resource, at);
      if (!there || !isOwnedBy(there, tunnel)) continue;
      // Kubernetes keeps an object until its last owner is gone.
      if (there.metadata.ownerReferences!.length > 1) continue;
      await client.delete(resource, at, there.metadata.uid!);
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
