/**
 * What callers of `kubernetesApi` may do: the agents' ServiceAccount, bound to the ClusterRole that the
 * spec names. A Tunnel gives rights in its namespace, and a ClusterTunnel in the cluster, so nobody
 * gets a right outside of where the tunnel's author works.
 */
import { isForbidden } from "../../kube/errors.ts";
import type { KubeObject } from "../../kube/objects.ts";
import {
  clusterRoleBindings,
  clusterRoles,
  type ObjectPath,
  type Resource,
  roleBindings,
  serviceAccounts,
} from "../../kube/resources.ts";
import { includes } from "../applied.ts";
import { no, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import { metadataOf, namesOf, serviceAccountOf } from "./agent_metadata.ts";
import { ensureOwned, isOwnedBy, NotOurs, notOurs } from "./owned_objects.ts";
import type { ReadableTunnel, Tunnel } from "../tunnel.ts";

type GrantPath = readonly [Resource, ObjectPath];

/** The objects that give a tunnel's callers rights: the binding, and its ServiceAccount. */
export function grantPaths(tunnel: Tunnel): readonly [GrantPath, GrantPath] {
  const { resource, ...at } = bindingPath(tunnel);
  const account = { namespace: tunnel.home, name: namesOf(tunnel).agent };
  return [[resource, at], [serviceAccounts, account]];
}

function bindingPath(tunnel: Tunnel): { resource: Resource; namespace?: string; name: string } {
  const { agent } = namesOf(tunnel);
  return tunnel.resource.isNamespaced
    ? { resource: roleBindings, namespace: tunnel.home, name: agent }
    : { resource: clusterRoleBindings, name: `culvert-${agent}` };
}

function bindingOf(tunnel: ReadableTunnel, clusterRole: string): KubeObject {
  const { name, namespace } = bindingPath(tunnel);
  const { namespace: _, ...metadata } = metadataOf(tunnel, name);
  return {
    metadata: { ...metadata, ...namespace !== undefined && { namespace } },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: clusterRole },
    subjects: [{
      kind: "ServiceAccount",
      name: serviceAccountOf(tunnel),
      namespace: tunnel.home,
    }],
  };
}

/** Makes and deletes the ServiceAccounts and role bindings of tunnels. */
export class AgentRights {
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /**
   * Whether tunnels may name a role. RBAC alone does not tell: the operator may also bind roles whose
   * rights it has itself.
   */
  permits(clusterRole: string): boolean {
    return this.#context.settings.agentClusterRoles.includes(clusterRole);
  }

  /** Binds the permitted role that the spec names; the status must record the role before. */
  async ensure(tunnel: ReadableTunnel, clusterRole: string): Promise<Verdict> {
    try {
      if (tunnel.spec.kubernetesApi?.serviceAccountName === undefined) {
        const account = { metadata: metadataOf(tunnel, namesOf(tunnel).agent) };
        await ensureOwned(this.#context, serviceAccounts, undefined, tunnel, account);
      }
      await this.#bind(tunnel, clusterRole);
      return await this.#isMissing(clusterRole)
        ? no("ClusterRoleMissing", `There is no ClusterRole ${clusterRole}`)
        : yes("Bound");
    } catch (error) {
      if (error instanceof NotOurs) return no("Conflict", error.message);
      if (!isForbidden(error)) throw error;
      return notPermitted(clusterRole);
    }
  }

  /** Deletes bindings that the spec no longer asks for, or may not. @returns why it could not */
  async withdraw(tunnel: ReadableTunnel): Promise<Verdict | undefined> {
    const { clusterRole, serviceAccountName } = tunnel.spec.kubernetesApi ?? {};
    const isPermitted = clusterRole !== undefined && this.permits(clusterRole);
    const [binding, account] = grantPaths(tunnel);
    try {
      if (!isPermitted) await this.#delete(tunnel, ...binding);
      if (clusterRole === undefined || serviceAccountName !== undefined) {
        await this.#delete(tunnel, ...account);
      }
      return undefined;
    } catch (error) {
      if (!isForbidden(error)) throw error;
      const [{ kind }, { name }] = binding;
      return no("Forbidden", `The operator may not delete ${kind} ${name}`);
    }
  }

  async #bind(tunnel: ReadableTunnel, clusterRole: string): Promise<void> {
    const { resource, ...at } = bindingPath(tunnel);
    const wanted = bindingOf(tunnel, clusterRole);
    const there = await this.#context.client.find(resource, at);
    if (there && !isOwnedBy(there, tunnel)) throw notOurs(resource, at.name);
    // The role of a binding can't be changed.
    if (there && !includes(there["roleRef"], wanted["roleRef"])) {
      await this.#context.client.delete(resource, at, there.metadata.uid!);
    }
    await ensureOwned(this.#context, resource, undefined, tunnel, wanted);
  }

  /** With Roles in namespaces alone, the operator can't look. */
  async #isMissing(name: string): Promise<boolean> {
    if (!this.#context.caches.isWide) return false;
    try {
      return await this.#context.client.find(clusterRoles, { name }) === undefined;
    } catch (error) {
      if (isForbidden(error)) return false;
      throw error;
    }
  }

  async #delete(tunnel: Tunnel, resource: Resource, at: ObjectPath): Promise<void> {
    const there = await this.#context.client.find(resource, at);
    if (!there || !isOwnedBy(there, tunnel)) return;
    await this.#context.client.delete(resource, at, there.metadata.uid!);
  }
}

/** The condition of a tunnel whose role may not be bound. */
export function notPermitted(clusterRole: string): Verdict {
  const message = `The operator may not bind ClusterRole ${clusterRole}; ` +
    "agentClusterRoles of its chart (--agent-cluster-roles) must have it";
  return no("Forbidden", message);
}
