/** What callers may do with each of the agent chart's presets, by the word of the real API server. */
import { equal } from "node:assert/strict";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { deleteAtEnd, scratchFolder, scratchName } from "../e2e/scratch.ts";
import { manifests } from "./helm.ts";

interface Preset {
  readonly name: string;
  /** More values, as `--set-json` takes them; NAMESPACE stands for the release's. */
  readonly values: string;
  readonly allowed: readonly string[];
  readonly denied: readonly string[];
}

const own = "-n NAMESPACE";
const other = "-n kube-system";

const presets: readonly Preset[] = [
  {
    name: "everything, unless told otherwise",
    values: "rbac.create=true",
    allowed: [`delete secrets ${other}`, "create clusterroles", "get /metrics"],
    denied: [],
  },
  {
    name: "rbac.readOnly",
    values: "rbac.readOnly=true",
    allowed: [`list pods ${other}`, `get pods/log ${own}`],
    denied: [`get secrets ${other}`, `create pods ${own}`, `create pods/exec ${own}`],
  },
  {
    name: "rbac.readOnly in the release's namespace",
    values: "rbac.readOnly=true,rbac.clusterWide=false",
    allowed: [`list pods ${own}`],
    denied: [`list pods ${other}`, `get secrets ${own}`, "list namespaces"],
  },
  {
    name: "rbac.clusterRole",
    values: 'rbac.clusterRole="edit"',
    allowed: [`create deployments.apps ${other}`, `create pods/exec ${own}`],
    denied: ["create clusterroles", `create rolebindings ${own}`],
  },
  {
    name: "rbac.rules in rbac.namespaces",
    values: 'rbac.clusterWide=false,rbac.namespaces=["kube-system","NAMESPACE"],' +
      'rbac.rules=[{"apiGroups":[""],"resources":["configmaps"],"verbs":["get"]}]',
    allowed: [`get configmaps ${own}`, `get configmaps ${other}`],
    denied: [`list configmaps ${own}`, "get configmaps -n default", `get secrets ${own}`],
  },
  {
    name: "rbac.impersonate for two groups, and nothing of its own",
    values: 'rbac.rules=[],rbac.impersonate={"enabled":true,"groups":["ops","viewers"]}',
    allowed: ["impersonate users/corp:ann", "impersonate groups/ops", "impersonate groups/viewers"],
    denied: [
      "impersonate groups/system:masters",
      `impersonate serviceaccounts ${own}`,
      `list pods ${own}`,
      `get secrets ${other}`,
    ],
  },
  {
    name: "rbac.impersonate on pods alone",
    values: 'rbac.rules=[],rbac.impersonate={"enabled":true,"groups":["ops"],"limitTo":' +
      '[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list"]}]}',
    allowed: [
      "impersonate-on:user-info:list pods",
      "impersonate-on:user-info:get /apis/apps/v1",
      "impersonate-on:user-info:create selfsubjectreviews.authentication.k8s.io",
      "impersonate-on:user-info:create selfsubjectaccessreviews.authorization.k8s.io",
    ],
    denied: [
      "impersonate groups/ops",
      "impersonate users/corp:ann",
      "impersonate-on:user-info:list secrets",
      "impersonate-on:user-info:get /metrics",
      `list pods ${own}`,
    ],
  },
  {
    name: "rbac.create=false: nothing",
    values: "rbac.create=false",
    allowed: [],
    denied: [`list pods ${own}`, `get configmaps ${other}`],
  },
];

const rightsKinds = new Set([
  "ServiceAccount",
  "ClusterRole",
  "ClusterRoleBinding",
  "Role",
  "RoleBinding",
]);

for (const { name, values, allowed, denied } of presets) {
  clusterTest(`culvert-agent: callers' rights with ${name}`, async () => {
    await using stack = new AsyncDisposableStack();
    const client = new KubeClient(fromEnvironment("KUBECONFIG"), await scratchFolder(stack));
    const namespace = scratchName();
    deleteAtEnd(stack, client, "namespace", namespace);
    await client.output(["create", "namespace", namespace]);
    const named = (text: string) => text.replaceAll("NAMESPACE", namespace);

    const needed = "serverURL=wss://relay.example.com/connect,existingSecret=token";
    const args = ["--namespace", namespace, "--set", needed, "--set-json", named(values)];
    const rights = (await manifests("agent", args)).filter(({ kind }) => rightsKinds.has(kind));
    const stdin = rights.map(({ text }) => text).join("\n---\n");
    stack.defer(async () => void await client.output(["delete", "-f", "-"], { stdin }));
    await client.output(["apply", "-f", "-"], { stdin });

    const as = `system:serviceaccount:${namespace}:culvert-agent`;
    const answers: Record<string, string> = {};
    for (const question of [...allowed, ...denied]) {
      const asked = ["auth", "can-i", ...named(question).split(" "), "--as", as];
      answers[question] = (await client.kubectl(asked)).stdout.trim();
    }
    for (const question of allowed) equal(answers[question], "yes", question);
    for (const question of denied) equal(answers[question], "no", question);
  });
}
