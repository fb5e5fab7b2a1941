/** What callers of `kubernetesApi` may do: ServiceAccounts and bindings of tunnels. */
import assert from "node:assert/strict";
import {
  clusterRoleBindings,
  clusterRoles,
  deployments,
  roleBindings,
  serviceAccounts,
} from "../../lib/kube/resources.ts";
import { clusterTunnels, tunnels } from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import { Cluster, conditionsOf, tunnelSpec } from "./harness.ts";

const forbidden = { kind: "Status", status: "Failure", reason: "Forbidden", message: "no right" };

function newCluster(): Cluster {
  const cluster = new Cluster();
  for (const name of ["view", "edit"]) cluster.kube.put(clusterRoles, { metadata: { name } });
  return cluster;
}

/** Whether a binding binds one ServiceAccount to a ClusterRole. */
function binds(cluster: Cluster, role: string, account: string, namespace = "apps"): boolean {
  const resource = namespace === "ops" ? clusterRoleBindings : roleBindings;
  const [binding, ...others] = cluster.kube.all(resource);
  if (!binding || others.length > 0) return false;
  const { roleRef, subjects } = binding as unknown as {
    roleRef: { kind: string; name: string };
    subjects: unknown[];
  };
  return roleRef.kind === "ClusterRole" && roleRef.name === role &&
    JSON.stringify(subjects) ===
      JSON.stringify([{ kind: "ServiceAccount", name: account, namespace }]);
}

function accountOfPods(cluster: Cluster, name: string, namespace = "apps"): unknown {
  const { spec } = cluster.kube.read(deployments, namespace, name) as unknown as {
    spec: { template: { spec: { serviceAccountName?: string } } };
  };
  return spec.template.spec.serviceAccountName;
}

Deno.test("a Tunnel's ServiceAccount is bound in its namespace, and follows the spec", async () => {
  const cluster = newCluster();
  cluster.putTunnel({ kubernetesApi: { clusterRole: "view" } });
  await using running = cluster.start();
  await cluster.ready();
  assert.ok(binds(cluster, "view", "home-agent"));
  assert.ok(cluster.kube.read(serviceAccounts, "apps", "home-agent"));
  assert.equal(accountOfPods(cluster, "home-agent"), "home-agent");
  assert.deepEqual(cluster.kube.all(clusterRoleBindings), []);

  cluster.putTunnel({ kubernetesApi: { clusterRole: "edit" } });
  await eventually(() => binds(cluster, "edit", "home-agent"), "another role");

  cluster.putTunnel({ kubernetesApi: { clusterRole: "edit", serviceAccountName: "argocd" } });
  await eventually(() => binds(cluster, "edit", "argocd"), "another ServiceAccount");
  await eventually(() => cluster.kube.all(serviceAccounts).length === 0, "no account of its own");

  cluster.putTunnel();
  await eventually(() => cluster.kube.all(roleBindings).length === 0, "no binding");
  await cluster.ready();
  await eventually(() => running.operator.isSettled, "the operator to settle");
  const before = cluster.kube.requests.length;
  await eventually(() => cluster.kube.requests.length > before + 30, "several looks");
  const looked = cluster.kube.requests.slice(before).filter(({ path }) => path.includes("rbac"));
  assert.deepEqual(looked, [], "nothing is left to look after");
});

Deno.test("a ClusterTunnel's ServiceAccount is bound in the cluster; all goes with its tunnel", async () => {
  const cluster = newCluster();
  const spec = tunnelSpec({ kubernetesApi: { clusterRole: "view" } });
  cluster.kube.put(clusterTunnels, { metadata: { name: "shared" }, spec });
  cluster.putTunnel({ kubernetesApi: { clusterRole: "view" } });
  await using _ = cluster.start();
  await cluster.ready(clusterTunnels, "shared", null);
  await cluster.ready();
  assert.ok(binds(cluster, "view", "cluster-shared-agent", "ops"));
  cluster.kube.remove(clusterTunnels, undefined, "shared");
  cluster.kube.remove(tunnels, "apps", "home");
  const left = () =>
    [clusterRoleBindings, roleBindings, serviceAccounts, clusterTunnels, tunnels]
      .flatMap((resource) => cluster.kube.all(resource).map(({ metadata }) => metadata.name));
  await eventually(() => left().length === 0, () => `all to go; there is ${left()}`);
});

Deno.test("somebody else's binding or ServiceAccount is not taken over", async () => {
  const cases = [[roleBindings, "RoleBinding"], [serviceAccounts, "ServiceAccount"]] as const;
  for (const [resource, kind] of cases) {
    const cluster = newCluster();
    const theirs = { metadata: { name: "home-agent", namespace: "apps" }, theirs: "1" };
    cluster.kube.put(resource, theirs);
    cluster.putTunnel({ kubernetesApi: { clusterRole: "view" } });
    await using _ = cluster.start();
    const { message } = await cluster.condition(tunnels, "home", "ClusterRoleBound", "Conflict");
    assert.equal(message, `${kind} home-agent is there already and belongs to somebody else`);
    const kept = () => cluster.kube.read(resource, "apps", "home-agent")!;
    assert.equal(kept()["theirs"], "1");
    cluster.putTunnel();
    await cluster.ready();
    assert.equal(kept()["theirs"], "1");
  }
});

Deno.test("a role that the operator may not bind, or that is not there, is a condition; routes go on", async () => {
  const cluster = newCluster();
  let isForbidden = true;
  cluster.kube.intercept = ({ method, path }) =>
    isForbidden && path.includes("/rolebindings") && method === "PATCH"
      ? new Response(JSON.stringify(forbidden), { status: 403 })
      : undefined;
  cluster.putTunnel({ kubernetesApi: { clusterRole: "view" } });
  await using _ = cluster.start();
  const { message } = await cluster.condition(tunnels, "home", "ClusterRoleBound", "Forbidden");
  assert.equal(
    message,
    "The operator may not bind ClusterRole view; agentClusterRoles of its chart " +
      "(--agent-cluster-roles) must have it",
  );
  await cluster.condition(tunnels, "home", "RoutesProgrammed", "Programmed");
  await cluster.condition(tunnels, "home", "Ready", "Forbidden");
  isForbidden = false;
  await cluster.ready();
  cluster.putTunnel({ kubernetesApi: { clusterRole: "none" } });
  await cluster.condition(tunnels, "home", "ClusterRoleBound", "ClusterRoleMissing");
});

Deno.test("a role that the operator's list has not is not bound, and one that leaves the list is taken away", async () => {
  const cluster = newCluster();
  cluster.putTunnel({ kubernetesApi: { clusterRole: "view" } });
  {
    await using _ = cluster.start({ settings: { agentClusterRoles: [] } });
    await cluster.condition(tunnels, "home", "ClusterRoleBound", "Forbidden");
    assert.equal(cluster.kube.requests.some(({ path }) => path.includes("rbac")), false);
  }
  {
    await using _ = cluster.start();
    await cluster.ready();
    assert.ok(binds(cluster, "view", "home-agent"));
  }
  await using _ = cluster.start({ settings: { agentClusterRoles: ["edit"] } });
  await cluster.condition(tunnels, "home", "ClusterRoleBound", "Forbidden");
  await eventually(() => cluster.kube.all(roleBindings).length === 0, "the binding to go");
});

Deno.test("a Tunnel without a clusterRole needs no right to look at bindings", async () => {
  const cluster = newCluster();
  cluster.putTunnel({ kubernetesApi: { serviceAccountName: "argocd" } });
  await using _ = cluster.start();
  await cluster.ready();
  assert.equal(accountOfPods(cluster, "home-agent"), "argocd");
  assert.equal(cluster.kube.requests.some(({ path }) => path.includes("rbac")), false);
  const types = conditionsOf(cluster.kube.read(tunnels, "apps", "home")).map(({ type }) => type);
  assert.equal(types.includes("ClusterRoleBound"), false);
});
