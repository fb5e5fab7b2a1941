/** The charts of the operator and of its kinds, rendered by the real helm. */
import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { parseDrainOptions } from "../../lib/config/commands/drain_options.ts";
import { parseOperatorOptions } from "../../lib/config/operator_options.ts";
import { clustersSecretNames } from "../../lib/operator/management/cluster_shards.ts";
import { crdOf, ownKinds } from "../../lib/operator/api/crds.ts";
import type { KubeObject } from "../../lib/kube/objects.ts";
import { run } from "../e2e/command.ts";
import { allowsFrom, allowsTo, isAbout } from "../support/network_policy_verdicts.ts";

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Record<string, string>;
  };
  readonly rules?: readonly Rule[];
  readonly spec?: Record<string, unknown>;
}

function folder(chart: string): string {
  return fileURLToPath(new URL(`../../deploy/helm/${chart}`, import.meta.url));
}

async function template(chart: string, ...set: string[]) {
  const args = ["template", "culvert-operator", folder(chart), "--namespace", "culvert"];
  const values = set.flatMap((value) => ["--set", value]);
  return await run("helm", [...args, "--kube-version", "1.34.0", ...values]);
}

async function rendered(chart: string, ...set: string[]): Promise<Manifest[]> {
  const { code, stdout, stderr } = await template(chart, ...set);
  equal(code, 0, stderr);
  return parseAllDocuments(stdout).map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
}

Deno.test("culvert-crds: helm lint finds nothing", async () => {
  const { code, stdout, stderr } = await run("helm", ["lint", "--strict", folder("culvert-crds")]);
  equal(code, 0, stdout + stderr);
});

Deno.test("culvert-crds: a misspelt value is refused by its name", async () => {
  const { code, stderr } = await template("culvert-crds", "kepe=true");
  equal(code, 1);
  match(stderr, /kepe/);
});

Deno.test("culvert-crds: the kinds are those that the operator reads, and stay unless asked", async () => {
  const kinds = await rendered("culvert-crds");
  deepEqual(
    kinds.map(({ metadata, spec }) => [metadata.name, JSON.stringify(spec)]),
    ownKinds.map((kind) => {
      const { metadata, spec } = crdOf(kind) as unknown as Manifest;
      return [metadata.name, JSON.stringify(spec)];
    }),
  );
  for (const { metadata } of kinds) {
    deepEqual(metadata.annotations, { "helm.sh/resource-policy": "keep" });
  }
  const loose = await rendered("culvert-crds", "keep=false");
  for (const { metadata } of loose) equal(metadata.annotations, undefined);
});

/** An environment with which the program knows an API server. */
async function withPodEnvironment(check: (env: Record<string, string>) => void): Promise<void> {
  const kubeconfig = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(
      kubeconfig,
      JSON.stringify({
        clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1" } }],
        users: [{ name: "u", user: { token: "t" } }],
        contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
        "current-context": "x",
      }),
    );
    check({ KUBECONFIG: kubeconfig, NAMESPACE: "culvert" });
  } finally {
    await Deno.remove(kubeconfig);
  }
}

Deno.test("culvert-operator: its arguments are options that the program takes", async () => {
  const set = ["idPrefix=eu-1", "resync=5m", "watchNamespaces={shop,blog}", "logLevel=debug"];
  const deployment = (await rendered("culvert-operator", ...set, "agentImage=r.example/agent:1"))
    .find(({ kind }) => kind === "Deployment")!;
  const { template } = deployment.spec as {
    template: { spec: { containers: { args: string[] }[] } };
  };
  await withPodEnvironment((env) => {
    const parsed = parseOperatorOptions(template.spec.containers[0]!.args, env);
    ok(parsed.kind === "run");
    const { idPrefix, resyncMs, watchNamespaces, agentImage, namespace, logLevel } = parsed.options;
    deepEqual({ idPrefix, resyncMs, watchNamespaces, agentImage, namespace, logLevel }, {
      idPrefix: "eu-1",
      resyncMs: 300_000,
      watchNamespaces: ["shop", "blog"],
      agentImage: "r.example/agent:1",
      namespace: "culvert",
      logLevel: "debug",
    });
  });
});

function verbsOf(manifests: readonly Manifest[], resource: string): Set<string> {
  const rules = manifests.flatMap(({ rules = [] }) => rules);
  return new Set(
    rules.filter(({ resources }) => resources.includes(resource)).flatMap(({ verbs }) => verbs),
  );
}

Deno.test("culvert-operator: no rights are for everything, and Secrets can't be listed", async () => {
  for (const set of [[], ["watchNamespaces={shop}"]]) {
    const manifests = await rendered("culvert-operator", ...set);
    doesNotMatch(JSON.stringify(manifests.map(({ rules }) => rules)), /"\*"|escalate|impersonate/);
    const secrets = verbsOf(manifests, "secrets");
    for (const verb of ["list", "watch"]) equal(secrets.has(verb), false, verb);
    // A Secret is found by its name alone, and goes with the Tunnel that owns it.
    for (const verb of ["get", "delete"]) ok(secrets.has(verb), verb);
  }
});

Deno.test("culvert-operator: it may bind the ClusterRoles of agentClusterRoles, and no others", async () => {
  for (const set of [[], ["watchNamespaces={shop}"]]) {
    const without = await rendered("culvert-operator", ...set);
    doesNotMatch(JSON.stringify(without), /"bind"|rolebindings|serviceaccounts/);
    const manifests = await rendered("culvert-operator", ...set, "agentClusterRoles={view,edit}");
    const rules = manifests.flatMap(({ rules = [] }) => rules);
    const binding = rules.filter(({ verbs }) => verbs.includes("bind"));
    deepEqual(binding, [{
      apiGroups: ["rbac.authorization.k8s.io"],
      resources: ["clusterroles"],
      resourceNames: ["view", "edit"],
      // A Role can't let it look at what is in no namespace.
      verbs: set.length === 0 ? ["get", "bind"] : ["bind"],
    }]);
    equal(verbsOf(manifests, "clusterrolebindings").has("create"), set.length === 0);
    ok(verbsOf(manifests, "rolebindings").has("create"));
  }
});

Deno.test("culvert-operator: it may write ClusterProfiles in clusterProfileNamespaces, and nowhere else", async () => {
  const kinds = /clusterprofiles/;
  const clusters = "controllers={clusters}";
  doesNotMatch(JSON.stringify(await rendered("culvert-operator", clusters)), kinds);
  const places = "clusterProfileNamespaces={fleet,other}";
  doesNotMatch(JSON.stringify(await rendered("culvert-operator", places)), kinds);
  const manifests = await rendered("culvert-operator", clusters, places);
  const roles = manifests.filter(({ rules }) => kinds.test(JSON.stringify(rules ?? [])));
  deepEqual(roles.map(({ kind, metadata }) => [kind, metadata.namespace]), [
    ["Role", "fleet"],
    ["Role", "other"],
  ]);
  deepEqual([...verbsOf(roles, "clusterprofiles/status")], ["patch"]);
  equal(verbsOf(roles, "secrets").size, 0);
});

Deno.test("culvert-operator: with watchNamespaces there are Roles there, and nothing cluster-wide", async () => {
  const manifests = await rendered("culvert-operator", "watchNamespaces={shop,blog}");
  equal(manifests.some(({ kind }) => kind.startsWith("ClusterRole")), false);
  const places = manifests.filter(({ kind }) => kind === "Role")
    .map(({ metadata }) => metadata.namespace).sort();
  deepEqual(places, ["blog", "culvert", "shop"]);
  const wide = await rendered("culvert-operator");
  equal(wide.filter(({ kind }) => kind === "ClusterRole").length, 1);
  const none = await rendered("culvert-operator", "rbac.create=false");
  equal(none.some(({ kind }) => kind.includes("Role")), false);
});

Deno.test("culvert-operator: before Helm deletes it, its drain runs with its own options", async () => {
  const set = [
    "watchNamespaces={shop}",
    "idPrefix=eu-1",
    "extraArgs={--cloudflare-api=https://cf.test}",
  ];
  const argsOf = (manifest: Manifest | undefined) => {
    const { template } = manifest!.spec as {
      template: { spec: { containers: { args: string[] }[] } };
    };
    return template.spec.containers[0]!.args;
  };
  const manifests = await rendered("culvert-operator", ...set);
  const job = manifests.find(({ kind }) => kind === "Job")!;
  equal(job.metadata.annotations!["helm.sh/hook"], "pre-delete");
  const [word, ...args] = argsOf(job);
  equal(word, "drain");
  const own = argsOf(manifests.find(({ kind }) => kind === "Deployment"));
  deepEqual(args.slice(-own.length), own);
  const { activeDeadlineSeconds } = job.spec as { activeDeadlineSeconds: number };
  await withPodEnvironment((env) => {
    const parsed = parseDrainOptions(args, env);
    ok(parsed.kind === "run");
    const { policy, timeoutMs, isForced } = parsed.options;
    deepEqual({ policy, timeoutMs, isForced }, {
      ...{ policy: "retain", timeoutMs: 180_000, isForced: true },
    });
    ok(activeDeadlineSeconds * 1_000 > timeoutMs, "it ends by itself");
  });
  const { template: { metadata } } = job.spec as {
    template: { metadata: { labels: Record<string, string> } };
  };
  ok(isAbout(await policy(), metadata.labels), "the NetworkPolicy lets it out, too");
  const none = await rendered("culvert-operator", "drain.enabled=false");
  equal(none.some(({ kind }) => kind === "Job"), false);
});

Deno.test("culvert-operator: the right to delete what is users' is there while it is uninstalled alone", async () => {
  const mayDelete = (manifests: readonly Manifest[]) =>
    manifests.filter(({ rules = [] }) =>
      rules.some(({ resources, verbs }) =>
        resources.includes("tunnels") && verbs.includes("delete")
      )
    );
  deepEqual(mayDelete(await rendered("culvert-operator")), []);
  for (
    const [places, set] of [[["shop", "blog"], ["watchNamespaces={shop,blog}"]], [
      [undefined],
      [],
    ]] as const
  ) {
    const roles = mayDelete(await rendered("culvert-operator", "drain.policy=Delete", ...set));
    deepEqual(roles.map(({ metadata }) => metadata.namespace), [...places]);
    for (const { metadata } of roles) {
      equal(metadata.annotations!["helm.sh/hook"], "pre-delete");
      match(metadata.annotations!["helm.sh/hook-delete-policy"]!, /hook-succeeded/);
    }
  }
});

Deno.test("culvert-operator: the image can be named by its digest", async () => {
  const digest = `sha256:${"a".repeat(64)}`;
  const manifests = await rendered("culvert-operator", `image.digest=${digest}`);
  match(JSON.stringify(manifests), new RegExp(`culvert-operator@${digest}`));
});

/** The operator chart's NetworkPolicy. */
async function policy(...set: string[]): Promise<KubeObject> {
  const manifests = await rendered("culvert-operator", ...set);
  return manifests.find(({ kind }) => kind === "NetworkPolicy") as unknown as KubeObject;
}

Deno.test("culvert-operator: its NetworkPolicy lets in what asks it, and out to what it asks", async () => {
  const anywhere = { ip: "203.0.113.10" };
  const agent = {
    ...{ ip: "10.1.0.1", namespace: "shop" },
    labels: { "app.kubernetes.io/name": "culvert-agent" },
  };
  const wide = await policy();
  ok(allowsFrom(wide, anywhere, 8083));
  equal(allowsFrom(wide, anywhere, 9443), false);
  ok(allowsFrom(await policy("injection.mode=webhook"), anywhere, 9443));
  ok(allowsTo(wide, anywhere, 53, "UDP") && allowsTo(wide, anywhere, 8444));
  equal(allowsTo(wide, anywhere, 443, "UDP"), false);

  const narrow = await policy(
    ...["networkPolicy.relayPorts={8444}", "networkPolicy.apiServerCIDR=192.0.2.1/32"],
    "networkPolicy.healthFrom[0].ipBlock.cidr=10.0.0.0/8",
  );
  ok(allowsTo(narrow, anywhere, 8444) && allowsTo(narrow, { ip: "192.0.2.1" }, 6443));
  for (const port of [80, 443, 6443]) equal(allowsTo(narrow, anywhere, port), false, `${port}`);
  ok(allowsTo(narrow, agent, 8081), "agents are asked for their tables");
  equal(allowsTo(narrow, { ...agent, labels: {} }, 8081), false);
  equal(allowsFrom(narrow, anywhere, 8083), false);
  equal(
    allowsTo(await policy("controllers={clusters}", "networkPolicy.relayPorts={1}"), agent, 8081),
    false,
  );

  const pod = (await rendered("culvert-operator")).find(({ kind }) => kind === "Deployment")!;
  const { template } = pod.spec as { template: { metadata: { labels: Record<string, string> } } };
  ok(isAbout(wide, template.metadata.labels));
});

Deno.test("culvert-operator: a budget keeps one of several replicas, and no node with the only one", async () => {
  const budget = async (...set: string[]) => {
    const manifests = await rendered("culvert-operator", ...set);
    const found = manifests.find(({ kind }) => kind === "PodDisruptionBudget");
    const { selector: _, ...rest } = found?.spec ?? {};
    return rest;
  };
  deepEqual(await budget(), {});
  deepEqual(await budget("replicas=2"), { minAvailable: 1 });
  deepEqual(await budget("replicas=3", "pdb.maxUnavailable=1"), { maxUnavailable: 1 });
  deepEqual(await budget("replicas=2", "pdb.enabled=false"), {});
});

/** As much of a webhook or of a policy's constraints as is looked at. */
interface Constraints {
  readonly namespaceSelector: { matchExpressions: { operator: string; values: string[] }[] };
  readonly objectSelector: unknown;
}

Deno.test("culvert-operator: without injection there is neither a webhook nor a policy", async () => {
  const kinds = (await rendered("culvert-operator")).map(({ kind }) => kind);
  equal(kinds.some((kind) => /Webhook|Admission|^Service$/.test(kind)), false);
});

Deno.test("culvert-operator: the webhook is asked about new pods with the label alone", async () => {
  const set = ["injection.mode=webhook", "watchNamespaces={shop}"];
  const manifests = await rendered("culvert-operator", ...set);
  const configuration = manifests.find(({ kind }) => kind === "MutatingWebhookConfiguration")!;
  const { webhooks: [webhook] } = configuration as unknown as {
    webhooks: (Constraints & Record<string, unknown>)[];
  };
  const { failurePolicy, reinvocationPolicy, sideEffects, timeoutSeconds } = webhook!;
  deepEqual([failurePolicy, reinvocationPolicy, sideEffects, timeoutSeconds], [
    ...["Fail", "IfNeeded", "None", 5],
  ]);
  deepEqual(webhook!.objectSelector, {
    matchExpressions: [{ key: "culvert.dev/inject", operator: "Exists" }],
  });
  deepEqual(
    webhook!.namespaceSelector.matchExpressions.map(({ operator, values }) => [operator, values]),
    [["NotIn", ["kube-system", "culvert"]], ["In", ["shop"]]],
  );
  const service = manifests.find(({ kind }) => kind === "Service")!;
  deepEqual((webhook!["clientConfig"] as { service: unknown }).service, {
    ...{ name: service.metadata.name, namespace: "culvert", port: 443, path: "/mutate-pods" },
  });
  const cluster = manifests.filter(({ kind }) => kind === "ClusterRole");
  deepEqual(cluster.map(({ rules }) => rules), [[{
    apiGroups: ["admissionregistration.k8s.io"],
    resources: ["mutatingwebhookconfigurations"],
    resourceNames: [configuration.metadata.name],
    verbs: ["get", "patch"],
  }]]);
  match(JSON.stringify(manifests), /--webhook-config=culvert-operator"/);
});

Deno.test("culvert-operator: the webhook can be reached at a URL, and then needs no Service", async () => {
  const url = "https://127.0.0.1:9443/mutate-pods";
  const manifests = await rendered(
    "culvert-operator",
    "injection.mode=webhook",
    `injection.url=${url}`,
  );
  equal(manifests.some(({ kind }) => kind === "Service"), false);
  match(
    JSON.stringify(manifests),
    /"clientConfig":\{"url":"https:\/\/127.0.0.1:9443\/mutate-pods"\}/,
  );
  const { code, stderr } = await template("culvert-operator", "injection.url=http://x/mutate-pods");
  equal(code, 1);
  match(stderr, /injection.url/);
});

Deno.test("culvert-operator: policies have the version that the cluster has, and need no rights", async () => {
  const versionOf = async (...args: string[]) => {
    const set = ["--set", "injection.mode=policy", ...args];
    const { stdout } = await run("helm", [
      ...[
        "template",
        "culvert-operator",
        folder("culvert-operator"),
        "--namespace",
        "culvert",
        ...set,
      ],
    ]);
    const manifests = parseAllDocuments(stdout).map((it) =>
      it.toJS() as Manifest & { apiVersion: string }
    );
    equal(manifests.filter((it) => it?.kind === "ClusterRole").length, 1);
    return manifests.find((it) => it?.kind === "MutatingAdmissionPolicy")?.apiVersion;
  };
  const group = "admissionregistration.k8s.io";
  equal(await versionOf("--kube-version", "1.34.0"), `${group}/v1beta1`);
  equal(await versionOf("--kube-version", "1.36.1"), `${group}/v1`);
  const capability = `${group}/v1/MutatingAdmissionPolicy`;
  equal(await versionOf("--kube-version", "1.35.0", "--api-versions", capability), `${group}/v1`);
});

Deno.test("culvert-relay: the folder of clusters has all Secrets that the operator writes", async () => {
  const manifests = await rendered("culvert-relay", "operator.enabled=true");
  const [deployment] = manifests.filter(({ kind }) => kind === "Deployment");
  const { volumes } = (deployment!.spec as {
    template: { spec: { volumes: { name: string; projected?: { sources: unknown[] } }[] } };
  }).template.spec;
  const sources = volumes.find(({ name }) => name === "clusters")?.projected?.sources ?? [];
  deepEqual(
    sources.slice(1),
    clustersSecretNames.map((name) => ({ secret: { name, optional: true } })),
  );
});

Deno.test("culvert-relay: the operator beside it may reach the admin API, and so may its drain", async () => {
  const labelsOf = async (kind: string) => {
    const manifests = await rendered("culvert-operator", "controllers={clusters}");
    const found = manifests.find((it) => it.kind === kind);
    return (found!.spec as { template: { metadata: { labels: Record<string, string> } } })
      .template.metadata.labels["app.kubernetes.io/name"];
  };
  const set = [
    "operator.enabled=true",
    "admin.enabled=true",
    "tls.enabled=true",
    "tls.certSecret=x",
  ];
  const manifests = await rendered("culvert-relay", ...set);
  const policy = manifests.find(({ kind }) => kind === "NetworkPolicy");
  const { ingress } = policy!.spec as {
    ingress: { ports: { port: number }[]; from?: unknown[] }[];
  };
  const admin = ingress.find(({ ports }) => ports[0]!.port === 9443);
  const values = [await labelsOf("Deployment"), await labelsOf("Job")];
  const matchExpressions = [{ key: "app.kubernetes.io/name", operator: "In", values }];
  deepEqual(admin!.from, [{ podSelector: { matchExpressions } }]);
});

Deno.test("culvert-relay: the operator may use the Service's name, whatever other names the admin API has", async () => {
  const set = [
    "admin.enabled=true",
    "admin.tokensSecret=x",
    "tls.enabled=true",
    "tls.certSecret=x",
  ];
  const manifests = await rendered("culvert-relay", ...set, "admin.hosts=relay.example.com");
  match(
    JSON.stringify(manifests),
    /--admin-hosts=[^"]*-admin\.culvert\.svc,[^"]*,relay\.example\.com"/,
  );
});
