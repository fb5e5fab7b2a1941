/**
 * Both charts over a table of values files: those that are good render to what the API server takes,
 * the others are refused with a message that names the value.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { run } from "../e2e/command.ts";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { chartFolder, type ChartName, type Manifest, manifests, only, render } from "./helm.ts";

const charts: readonly ChartName[] = ["relay", "agent"];
const valuesFolder = fileURLToPath(new URL("values/", import.meta.url));

/** What the API server of the tests does not know: the operators' and the Gateway's own kinds. */
const foreignGroups = /^(monitoring\.coreos\.com|gateway\.networking\.k8s\.io)\//;

/** Namespaces that the values files name; a server-side dry run wants them there. */
const namespaces = ["culvert", "argocd"];

interface ValuesFile {
  readonly name: string;
  readonly path: string;
  /** What the refusal says; undefined for a file that is good. */
  readonly refusal: string | undefined;
}

function valuesFiles(chart: ChartName): ValuesFile[] {
  const folder = `${valuesFolder}${chart}`;
  return [...Deno.readDirSync(folder)].map(({ name }) => {
    const path = `${folder}/${name}`;
    const refusal = /^# refused: (.+)$/m.exec(Deno.readTextFileSync(path))?.[1];
    return { name, path, refusal };
  });
}

for (const chart of charts) {
  const good = valuesFiles(chart).filter(({ refusal }) => refusal === undefined);
  const bad = valuesFiles(chart).filter(({ refusal }) => refusal !== undefined);

  Deno.test(`culvert-${chart}: helm lint finds nothing`, async (t) => {
    for (const { name, path } of good) {
      await t.step(name, async () => {
        const args = ["lint", "--strict", chartFolder(chart), "--values", path];
        const { code, stdout, stderr } = await run("helm", args);
        equal(code, 0, stdout + stderr);
      });
    }
  });

  Deno.test(`culvert-${chart}: values that can't work are refused by name`, async (t) => {
    ok(bad.length > 10, "there are such files");
    for (const { name, path, refusal } of bad) {
      await t.step(name, async () => {
        const { code, stdout, stderr } = await render(chart, ["--values", path]);
        equal(code, 1, stdout);
        ok(stderr.includes(refusal!), `"${refusal}" is not in:\n${stderr}`);
      });
    }
  });

  clusterTest(`culvert-${chart}: the API server takes what good values render to`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "culvert-charts-" });
    try {
      const client = new KubeClient(fromEnvironment("KUBECONFIG"), folder);
      for (const namespace of namespaces) {
        const made = await client.output(
          ["create", "namespace", namespace, "--dry-run=client", "-o", "json"],
        );
        await client.output(["apply", "-f", "-"], { stdin: made });
      }
      for (const { name, path } of good) {
        const objects = await manifests(chart, ["--values", path]);
        const known = objects.filter(({ apiVersion }) => !foreignGroups.test(apiVersion));
        const stdin = known.map(({ text }) => text).join("\n---\n");
        const args = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        const { code, stderr } = await client.kubectl(args, { stdin });
        equal(code, 0, `${name}:\n${stderr}`);
        equal(stderr, "", name);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

  Deno.test(`culvert-${chart}: each option that the chart can pass is the program's`, () => {
    const parse = chart === "relay" ? parseRelayOptions : parseAgentOptions;
    const parsed = parse(["--help"], {});
    ok(parsed.kind === "help");
    const known = new Set([...parsed.text.matchAll(/--([a-z][\w-]*)/g)].map((m) => m[1]!));
    const template = Deno.readTextFileSync(`${chartFolder(chart)}/templates/deployment.yaml`);
    const passed = [
      ...template.matchAll(/^ +- (?:\{\{ printf ")?--([a-z][\w-]*)/gm),
      ...template.matchAll(/^ +"([a-z][\w-]*)" \.Values\./gm),
    ].map((found) => found[1]!);
    ok(passed.length > 10, `${passed.length} options were found`);
    deepEqual(passed.filter((option) => !known.has(option)), []);
  });
}

const oneCluster = ["--set", "clusters[0].id=a", "--set", "clusters[0].token=0123456789abcdef"];
const mutualTls = ["--set", "tls.enabled=true,tls.certSecret=c,tls.clientCASecret=ca"];

/** What Argo CD reads of a cluster Secret. */
function argocdSecret(objects: readonly Manifest[]): { server: string; config: unknown } {
  const secret = objects.find(({ text }) => text.includes("secret-type: cluster"))?.text ?? "";
  const value = (key: string): string => {
    const quoted = new RegExp(`^  ${key}: (".*")$`, "m").exec(secret)?.[1];
    return JSON.parse(quoted ?? "null");
  };
  return { server: value("server"), config: JSON.parse(value("config")) };
}

Deno.test("culvert-relay: Argo CD's Secret has the scheme and the certificates of the listener", async () => {
  const argocd = [...oneCluster, "--set", "argocd.enabled=true"];
  deepEqual(argocdSecret(await manifests("relay", argocd)), {
    server: "http://culvert-relay-internal.culvert.svc:8080/tunnel/a",
    config: { tlsClientConfig: { insecure: true } },
  });

  const tls = [...argocd, "--set", "tls.enabled=true,tls.certSecret=c"];
  const caData = btoa("-----BEGIN CERTIFICATE-----");
  deepEqual(argocdSecret(await manifests("relay", [...tls, "--set", `argocd.caData=${caData}`])), {
    server: "https://culvert-relay-internal.culvert.svc:8080/tunnel/a",
    config: { tlsClientConfig: { insecure: false, caData } },
  });

  const keyData = btoa("-----BEGIN PRIVATE KEY-----");
  const data =
    `argocd.caData=${caData},argocd.clientCertData=${caData},argocd.clientKeyData=${keyData}`;
  deepEqual(argocdSecret(await manifests("relay", [...argocd, ...mutualTls, "--set", data])), {
    server: "https://culvert-relay-internal.culvert.svc:8080/tunnel/a",
    config: { tlsClientConfig: { insecure: false, caData, certData: caData, keyData } },
  });
});

Deno.test("culvert-relay: what the relay watches does not restart it", async () => {
  const before = only(await manifests("relay", [...oneCluster, ...mutualTls]), "Deployment");
  const more = ["--set", "clusters[1].id=b", "--set", "clusters[1].token=fedcba9876543210"];
  const after = await manifests("relay", [...oneCluster, ...more, ...mutualTls]);
  equal(only(after, "Deployment"), before);
  const file = after.find(({ text }) => text.includes("clusters.json"))?.text ?? "";
  match(file, /fedcba9876543210/);
});

Deno.test("culvert-agent: a new token in the values makes new pods, as it is a variable", async () => {
  const deployment = async (token: string) => {
    const values = [
      "--set",
      "serverURL=wss://relay.example.com/connect",
      "--set",
      `token=${token}`,
    ];
    return only(await manifests("agent", values), "Deployment");
  };
  const first = await deployment("0123456789abcdef");
  ok(first !== await deployment("fedcba9876543210"));
  equal(first, await deployment("0123456789abcdef"));
  ok(!first.includes("0123456789abcdef"), "the token is in its Secret alone");
});

Deno.test("culvert-relay: who may call, by what is configured", async () => {
  const callers = async (...args: string[]) => {
    const deployment = only(await manifests("relay", args), "Deployment");
    return /--callers=(\w+)/.exec(deployment)?.[1];
  };
  equal(await callers(), "open");
  equal(await callers(...mutualTls), undefined);
  equal(await callers("--set", "callers.existingSecret=tokens"), "known");
  equal(await callers(...mutualTls, "--set", "callers.mode=known"), "known");
  equal(await callers("--set", "hostNetwork=true,callers.mode=open"), "open");
});
