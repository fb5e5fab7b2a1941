/** What the API server's RBAC grants a ServiceAccount, against what it asks for. */
import type { KubeClient } from "../../../lib/kube/client.ts";
import type { KubeObject } from "../../../lib/kube/objects.ts";
import type { Resource } from "../../../lib/kube/resources.ts";
import type { AuditEntry } from "./audit_log.ts";
import type { Account } from "./own_kube.ts";

/** One verb on one kind, as a rule grants it. */
export interface Right {
  /** The Role or ClusterRole that grants it. */
  readonly role: string;
  /** A namespace; undefined for the whole cluster. */
  readonly namespace: string | undefined;
  readonly verb: string;
  readonly group: string;
  /** With its subresource: `tunnels/status`. */
  readonly resource: string;
  /** The only object that it is for; undefined for all. */
  readonly name: string | undefined;
}

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface Binding extends KubeObject {
  readonly roleRef: { readonly kind: string; readonly name: string };
  readonly subjects?: readonly { readonly namespace?: string; readonly name: string }[];
}

function rbac(kind: string, plural: string, isNamespaced: boolean): Resource {
  const group = "rbac.authorization.k8s.io";
  return { group, version: "v1", kind, plural, isNamespaced };
}

const roles = rbac("Role", "roles", true);
const clusterRoles = rbac("ClusterRole", "clusterroles", false);
const bindings = [
  rbac("RoleBinding", "rolebindings", true),
  rbac("ClusterRoleBinding", "clusterrolebindings", false),
];

/** Everything that a ServiceAccount may do. */
export async function rightsOf(
  client: KubeClient,
  account: Account,
): Promise<Right[]> {
  const rights: Right[] = [];
  for (const resource of bindings) {
    for (const binding of (await client.list(resource)).items as unknown as Binding[]) {
      const { metadata: { namespace }, roleRef, subjects = [] } = binding;
      const isBound = subjects.some((subject) =>
        subject.name === account.name && subject.namespace === account.namespace
      );
      if (!isBound) continue;
      const role = roleRef.kind === "Role"
        ? await client.get(roles, { namespace, name: roleRef.name })
        : await client.get(clusterRoles, { name: roleRef.name });
      const rules = role["rules"] as readonly Rule[];
      const where = { role: roleRef.name, namespace };
      rights.push(...rules.flatMap((rule) => expanded(rule, where)));
    }
  }
  return rights;
}

function expanded(rule: Rule, where: Pick<Right, "role" | "namespace">): Right[] {
  return rule.apiGroups.flatMap((group) =>
    rule.resources.flatMap((resource) =>
      rule.verbs.flatMap((verb) =>
        (rule.resourceNames ?? [undefined]).map((name) => ({
          ...{ ...where, verb, group, resource, name },
        }))
      )
    )
  );
}

/** A right as it is told; one Role in several namespaces is told once. */
function titleOf({ role, verb, group, resource, name }: Right): string {
  const kind = group === "" ? resource : `${resource}.${group}`;
  return `${role}: ${[verb, kind, name].filter((part) => part !== undefined).join(" ")}`;
}

/** What a request needs: an apply that creates an object needs a second right. */
function verbsOf({ verb, responseStatus }: AuditEntry): readonly string[] {
  return verb === "patch" && responseStatus?.code === 201 ? ["patch", "create"] : [verb];
}

/** The rights that no request has used, in any namespace. */
export function unusedRights(
  rights: readonly Right[],
  requests: readonly AuditEntry[],
): readonly string[] {
  const asked = requests.flatMap((request) => verbsOf(request).map((verb) => ({ request, verb })));
  const used = new Set(
    rights.filter((right) =>
      asked.some(({ request, verb }) => verb === right.verb && isFor(right, request))
    ).map(titleOf),
  );
  return [...new Set(rights.map(titleOf).filter((title) => !used.has(title)))].sort();
}

function isFor({ namespace, group, resource, name }: Right, { objectRef }: AuditEntry): boolean {
  if (!objectRef) return false;
  const { apiGroup = "", resource: kind, subresource, ...asked } = objectRef;
  const whole = subresource === undefined ? kind : `${kind}/${subresource}`;
  return group === apiGroup && resource === whole &&
    (namespace === undefined || namespace === asked.namespace) &&
    (name === undefined || name === asked.name);
}
