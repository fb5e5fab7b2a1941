/**
 * The charts of the programs over a table of values files: those that are good render to what the API server takes,
 * and print the notes that they name; the others are refused with a message that names the value.
 */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import { readServices } from "../../lib/config/entries/services.ts";
import { readTargets } from "../../lib/config/entries/targets.ts";
import { parseOperatorOptions } from "../../lib/config/operator_options.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { run } from "../e2e/command.ts";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { scratchFolder } from "../e2e/scratch.ts";
import { borrowNamespace } from "./borrowed.ts";
import { learnForeignKinds } from "./foreign_kinds.ts";
import { chartFolder, type ChartName, type Manifest, manifests, only, render } from "./helm.ts";
import { must } from "./tools.ts";

const charts: readonly ChartName[] = ["relay", "agent", "operator"];
const valuesFolder = fileURLToPath(new URL("values/", import.meta.url));

/** Namespaces that values files and examples name; a server-side dry run wants them there. */
const namespaces = ["culvert", "argocd", "fleet", "cert-manager", "shop", "blog"];

const parsers = {
  relay: parseRelayOptions,
  agent: parseAgentOptions,
  operator: parseOperatorOptions,
};

interface ValuesFile {
  readonly name: string;
  readonly path: string;
  /** What the refusal says; undefined for a file that is good. */
  readonly refusal: string | undefined;
  /** What the notes say that are printed after an install, among other things. */
  readonly notes: readonly string[];
  /** What they do not say. */
  readonly notInNotes: readonly string[];
}

function valuesFiles(chart: ChartName): ValuesFile[] {
  const folder = `${valuesFolder}${chart}`;
  return [...Deno.readDirSync(folder)].map(({ name }) => {
    const path = `${folder}/${name}`;
    const text = Deno.readTextFileSync(path);
    const refusal = /^# refused: (.+)$/m.exec(text)?.[1];
    const notes = [...text.matchAll(/^# notes: (.+)$/gm)].map((found) => found[1]!);
    const notInNotes = [...text.matchAll(/^# not in the notes: (.+)$/gm)].map((found) => found[1]!);
    return { name, path, refusal, notes, notInNotes };
  });
}

function goodValues(chart: ChartName): ValuesFile[] {
  return valuesFiles(chart).filter(({ refusal }) => refusal === undefined);
}

/** Has the API server judge manifests as if they were applied. */
async function assertTaken(client: KubeClient, args: readonly string[], stdin = ""): Promise<void> {
  const apply = ["apply", "--dry-run=server", "--validate=strict"];
  const { code, stderr } = await client.kubectl([...apply, ...args], { stdin });
  equal(code, 0, stderr);
  equal(stderr, "", "there is no warning either");
}

for (const chart of charts) {
  const good = goodValues(chart);
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

  clusterTest(
    `culvert-${chart}: the notes say what to do next, and what should not stay so`,
    async (t) => {
      await using stack = new AsyncDisposableStack();
      const client = new KubeClient(fromEnvironment("KUBECONFIG"), await scratchFolder(stack));
      const noted = good.filter(({ notes }) => notes.length > 0);
      ok(noted.length > 2, "there are such files");
      for (const { name, path, notes, notInNotes } of noted) {
        await t.step(name, async () => {
          const args = ["install", `culvert-${chart}`, chartFolder(chart), "--values", path];
          const printed = await client.helm([
            ...args,
            "--dry-run=client",
            "--namespace",
            "culvert",
          ]);
          const said = printed.slice(printed.indexOf("\nNOTES:\n")).replaceAll(/\s+/g, " ");
          for (const note of notes) ok(said.includes(note), `"${note}" is not in:\n${said}`);
          for (const note of notInNotes) ok(!said.includes(note), `"${note}" is in:\n${said}`);
        });
      }
    },
  );

  Deno.test(`culvert-${chart}: each option that the chart can pass is the program's`, () => {
    const parsed = parsers[chart](["--help"], {});
    ok(parsed.kind === "help");
    const known = new Set([...parsed.text.matchAll(/--([a-z][\w-]*)/g)].map((m) => m[1]!));
    const template = ["deployment.yaml", "_options.tpl"].map((name) =>
      Deno.readTextFileSync(`${chartFolder(chart)}/templates/${name}`)
    ).join("\n");
    const passed = [
      ...template.matchAll(/^ +- (?:\{\{ printf ")?--([a-z][\w-]*)/gm),
      ...template.matchAll(/^ +\(list "([a-z][\w-]*)" \.Values\./gm),
    ].map((found) => found[1]!);
    ok(passed.length > 10, `${passed.length} options were found`);
    deepEqual(passed.filter((option) => !known.has(option)), []);
  });
}

clusterTest(
  "the API server takes what good values render to, and the manifests for cert-manager",
  async (t) => {
    await using stack = new AsyncDisposableStack();
    const client = new KubeClient(fromEnvironment("KUBECONFIG"), await scratchFolder(stack));
    for (const namespace of namespaces) await borrowNamespace(stack, client, namespace);
    await learnForeignKinds(stack, client);
    for (const chart of charts) {
      for (const { name, path } of goodValues(chart)) {
        await t.step(`culvert-${chart}: ${name}`, async () => {
          const objects = await manifests(chart, ["--values", path]);
          const stdin = objects.map(({ text }) => text).join("\n---\n");
          await assertTaken(client, ["-f", "-"], stdin);
        });
      }
    }
    await t.step("deploy/cert-manager", async () => {
      const folder = fileURLToPath(new URL("../../deploy/cert-manager", import.meta.url));
      await assertTaken(client, ["-f", folder]);
    });
  },
);

const oneCluster = ["--set", "clusters[0].id=a", "--set", "clusters[0].token=0123456789abcdef"];
const tlsAlone = ["--set", "tls.enabled=true,tls.certSecret=c"];
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

  const tls = [...argocd, ...tlsAlone];
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

/** What a ConfigMap has under a key. */
function configMapData(objects: readonly Manifest[], name: string, key: string): string {
  const found = objects.filter(({ kind }) => kind === "ConfigMap").map(({ text }) => parse(text))
    .find(({ metadata }) => metadata.name === name);
  return found.data[key];
}

/** The one container's arguments that begin so. */
function argsWith(objects: readonly Manifest[], prefix: string): string[] {
  const { containers } = parse(only(objects, "Deployment")).spec.template.spec;
  return containers[0].args.filter((arg: string) => arg.startsWith(prefix));
}

Deno.test("culvert-relay: services are a file that the relay takes, watched in a folder", async () => {
  const objects = await manifests("relay", ["--values", `${valuesFolder}relay/web.yaml`]);
  const text = configMapData(objects, "culvert-relay-services", "services.json");
  const context = { ownNames: [], hasJwtIssuer: false };
  const { services, policies } = readServices([{ text, source: "Services" }], context);
  deepEqual(services.map(({ name, policy }) => [name, policy]), [["dash", "staff"]]);
  deepEqual(policies.map(({ name }) => name), ["staff"]);
  deepEqual(argsWith(objects, "--services"), ["--services=/etc/culvert/services"]);
  const { volumes } = parse(only(objects, "Deployment")).spec.template.spec;
  const { sources } = volumes.find(({ name }: { name: string }) => name === "services").projected;
  const names = sources.map((source: Record<string, { name: string }>) =>
    Object.values(source)[0]!.name
  );
  deepEqual(names, ["culvert-relay-services", "more-services", "secret-services"]);
});

Deno.test("culvert-relay: people sign in with a client secret that is in a Secret alone", async () => {
  const objects = await manifests("relay", ["--values", `${valuesFolder}relay/sign-in.yaml`]);
  const text = configMapData(objects, "culvert-relay-services", "services.json");
  const context = { ownNames: [], hasJwtIssuer: false };
  const { login } = readServices([{ text, source: "Services" }], context);
  equal(login?.host.name, "login.example.com");
  const keys = ["--session-keys=/etc/culvert/session-keys/keys"];
  deepEqual(argsWith(objects, "--session-keys"), keys);
  const { containers: [relay], volumes } = parse(only(objects, "Deployment")).spec.template.spec;
  const isIt = ({ name }: { name: string }) => name === "provider-secret-0";
  equal(relay.volumeMounts.find(isIt).mountPath, "/etc/culvert/secrets/dex-client");
  equal(volumes.find(isIt).secret.secretName, "dex-client");
});

Deno.test("culvert-relay: a changed service does not restart the relay", async () => {
  const values = ["--values", `${valuesFolder}relay/web.yaml`];
  const before = only(await manifests("relay", values), "Deployment");
  const changed = [...values, "--set", "services[0].target=other"];
  equal(only(await manifests("relay", changed), "Deployment"), before);
});

Deno.test("culvert-relay: each web certificate is a folder of its own", async () => {
  const objects = await manifests("relay", ["--values", `${valuesFolder}relay/web.yaml`]);
  const { containers: [relay], volumes } = parse(only(objects, "Deployment")).spec.template.spec;
  deepEqual(argsWith(objects, "--web"), [
    "--web-addr=:8444",
    "--web-certs=/etc/culvert/web-certs",
    "--web-relay-host=relay.example.com",
  ]);
  const mounted = ["wildcard-tls", "relay-tls"].map((secret, index) => {
    const isIt = ({ name }: { name: string }) => name === `web-cert-${index}`;
    equal(volumes.find(isIt).secret.secretName, secret);
    return relay.volumeMounts.find(isIt).mountPath;
  });
  deepEqual(mounted, ["/etc/culvert/web-certs/wildcard-tls", "/etc/culvert/web-certs/relay-tls"]);
});

Deno.test("culvert-relay: Ingress and Gateway route the hostnames of services and claims", async () => {
  const gateway = await manifests("relay", ["--values", `${valuesFolder}relay/web.yaml`]);
  const claimed = ["*.team-a.example.com", "relay.example.com"];
  deepEqual(parse(only(gateway, "TLSRoute")).spec.hostnames, ["dash.example.com", ...claimed]);
  const ingress = await manifests("relay", ["--values", `${valuesFolder}relay/web-ingress.yaml`]);
  const { rules } = parse(only(ingress, "Ingress")).spec;
  deepEqual(rules.map(({ host }: { host: string }) => host), ["dash.example.com", ...claimed]);
  equal(rules[0].http.paths[0].backend.service.name, "culvert-relay-web");
});

Deno.test("culvert-agent: targets' Secrets are folders, each under its name", async () => {
  const path = `${valuesFolder}agent/target-secrets.yaml`;
  const objects = await manifests("agent", ["--values", path]);
  const { containers: [agent], volumes } = parse(only(objects, "Deployment")).spec.template.spec;
  const isIt = ({ name }: { name: string }) => name === "target-secret-0";
  equal(agent.volumeMounts.find(isIt).mountPath, "/etc/culvert/secrets/grafana");
  equal(volumes.find(isIt).secret.secretName, "grafana");
});

Deno.test("culvert-agent: the pod gets its ServiceAccount's token only if a target wants it", async () => {
  const mounts = async (file: string) => {
    const target = [
      "--set",
      "serverURL=wss://relay.example.com/connect,existingSecret=t,targetSecrets={own}",
      "--set",
      `targets[0].name=a,targets[0].address=a:80,targets[0].credential.file=${file}`,
    ];
    const deployment = only(await manifests("agent", target), "Deployment");
    return parse(deployment).spec.template.spec.automountServiceAccountToken;
  };
  equal(await mounts("/var/run/secrets/kubernetes.io/serviceaccount/token"), true);
  equal(await mounts("/etc/culvert/secrets/own/token"), false);
});

Deno.test("culvert-agent: the token is a file, so that a new one makes no new pods", async () => {
  const url = ["--set", "serverURL=wss://relay.example.com/connect"];
  const pod = async (...more: string[]) => {
    const deployment = only(await manifests("agent", [...url, ...more]), "Deployment");
    const { spec } = parse(deployment, { version: "1.1" }).spec.template;
    return { deployment, spec };
  };
  const secretOf = ({ volumes }: { volumes: { name: string; secret: unknown }[] }) =>
    volumes.find(({ name }) => name === "token")?.secret;
  const first = await pod("--set", "token=0123456789abcdef");
  const second = await pod("--set", "token=fedcba9876543210");
  equal(first.deployment, second.deployment);
  deepEqual(secretOf(first.spec), {
    ...{ secretName: "culvert-agent-token", defaultMode: 0o440 },
    items: [{ key: "token", path: "token" }],
  });
  const { args, volumeMounts, env } = first.spec.containers[0];
  ok(args.includes("--token-file=/etc/culvert/token/token"));
  deepEqual(volumeMounts, [{ name: "token", mountPath: "/etc/culvert/token", readOnly: true }]);
  equal(env, undefined);
  const theirs = await pod("--set", "existingSecret=tunnel,existingSecretKey=secret");
  deepEqual(secretOf(theirs.spec), {
    ...{ secretName: "tunnel", defaultMode: 0o440 },
    items: [{ key: "secret", path: "token" }],
  });
});

Deno.test("culvert-agent: the proxy is a file, so that a new one makes no new pods", async () => {
  const needed = ["--set", "serverURL=wss://relay.example.com/connect,existingSecret=t"];
  const deploymentWith = async (...more: string[]) =>
    only(await manifests("agent", [...needed, ...more]), "Deployment");
  const podOf = (text: string) => parse(text, { version: "1.1" }).spec.template.spec;
  const secretOf = ({ volumes }: { volumes: { name: string; secret: unknown }[] }) =>
    volumes.find(({ name }) => name === "proxy")?.secret;
  const first = await deploymentWith("--set", "proxy.url=http://one.example.com:3128");
  equal(first, await deploymentWith("--set", "proxy.url=http://two.example.com:3128"));
  deepEqual(secretOf(podOf(first)), {
    ...{ secretName: "culvert-agent-token", defaultMode: 0o440 },
    items: [{ key: "proxy", path: "proxy" }],
  });
  const { containers: [agent] } = podOf(first);
  ok(agent.args.includes("--proxy-file=/etc/culvert/proxy/proxy"));
  equal(agent.env, undefined);
  const theirs = podOf(await deploymentWith("--set", "proxy.existingSecret=way-out"));
  deepEqual(secretOf(theirs), {
    ...{ secretName: "way-out", defaultMode: 0o440 },
    items: [{ key: "url", path: "proxy" }],
  });
  const more = ["--set", "proxy.existingSecret=p,extraEnvFrom[0].secretRef.name=more"];
  const { containers: [besides] } = podOf(await deploymentWith(...more));
  deepEqual(besides.env, ["TOKEN", "PROXY"].map((name) => ({ name, value: "" })));
});

Deno.test("culvert-agent: a token in extraEnv or extraArgs is the only one, and none in extraEnvFrom counts", async () => {
  const own = [
    'extraEnv=[{"name":"TOKEN","value":"0123456789abcdef"}]',
    'extraEnv=[{"name":"TOKEN_FILE","value":"/vault/token"}]',
    'extraArgs=["--token=0123456789abcdef"]',
    'extraArgs=["--token-file","/vault/token"]',
  ];
  const needed = ["--set", "serverURL=wss://relay.example.com/connect,existingSecret=t"];
  const pod = async (value: string) => {
    const deployment = only(
      await manifests("agent", [...needed, "--set-json", value]),
      "Deployment",
    );
    return parse(deployment).spec.template.spec;
  };
  for (const value of own) {
    const { containers: [agent], volumes } = await pod(value);
    equal(volumes, undefined, value);
    ok(!agent.args.includes("--token-file=/etc/culvert/token/token"), value);
    deepEqual(agent.env ?? [], JSON.parse(value.replace(/^extraEnv=|^extraArgs=.*/, "") || "[]"));
  }
  const { containers: [agent] } = await pod('extraEnvFrom=[{"secretRef":{"name":"more"}}]');
  deepEqual(agent.env, [{ name: "TOKEN", value: "" }]);
  const parsed = () =>
    parseAgentOptions(["--server=wss://r/connect", "--token-file=/none"], { TOKEN: "" });
  throws(parsed, /--token-file.*none/);
});

Deno.test("culvert-agent: targets are a file that the agent takes, and a change makes no new pods", async () => {
  const values = ["--values", `${valuesFolder}agent/targets.yaml`];
  const objects = await manifests("agent", values);
  const { data } = parse(only(objects, "ConfigMap"));
  const targets = readTargets(data["targets.yaml"], "ConfigMap");
  deepEqual(targets.map(({ name, kind }) => [name, kind]), [
    ["dashboard", "http"],
    ["api", "http"],
    ["pg", "tcp"],
    ["web", "http"],
    ["apps", "http"],
  ]);
  const deployment = only(objects, "Deployment");
  const { args } = parse(deployment).spec.template.spec.containers[0];
  const given = args.filter((arg: string) => /^--(target|hostname|sa-token|ca-cert)/.test(arg));
  deepEqual(given, [
    "--targets=/etc/culvert/targets/targets.yaml",
    "--hostname=dash.example.com=dashboard,db.example.com=pg",
  ]);
  const changed = await manifests("agent", [...values, "--set", "targets[0].address=other:80"]);
  ok(only(changed, "ConfigMap") !== only(objects, "ConfigMap"));
  equal(only(changed, "Deployment"), deployment);
});

Deno.test("culvert-relay: its NetworkPolicy lets relays reach each other's workers", async () => {
  const values = ["--values", `${valuesFolder}relay/callers-ca.yaml`];
  const policy = async (...more: string[]) => {
    const args = [...values, "--set", "networkPolicy.enabled=true", ...more];
    return parse(only(await manifests("relay", args), "NetworkPolicy")).spec;
  };
  const ranges = (rules: readonly { ports?: readonly { port: number; endPort?: number }[] }[]) =>
    rules.flatMap(({ ports = [] }) => ports)
      .filter(({ endPort }) => endPort !== undefined)
      .map(({ port, endPort }) => [port, endPort]);
  const one = await policy();
  deepEqual([ranges(one.ingress), ranges(one.egress)], [[], []]);
  const several = await policy("--set", "workers=3");
  deepEqual([ranges(several.ingress), ranges(several.egress)], [[[8081, 8087]], [[8080, 8087]]]);
});

Deno.test("culvert-relay: who may call, by what is configured", async () => {
  const callers = async (...args: string[]) => {
    const deployment = only(await manifests("relay", args), "Deployment");
    return /--callers=(\w+)/.exec(deployment)?.[1];
  };
  equal(await callers(), "open");
  equal(await callers(...mutualTls), undefined);
  equal(await callers(...tlsAlone), "open");
  equal(await callers(...tlsAlone, "--set", "callers.caSecret=ca"), undefined);
  equal(await callers("--set", "callers.existingSecret=tokens"), "known");
  equal(await callers(...mutualTls, "--set", "callers.mode=known"), "known");
  equal(await callers("--set", "hostNetwork=true,callers.mode=open"), "open");
});

Deno.test("culvert-relay: callers.hosts never shuts out who asks as this chart says", async () => {
  const hosts = async (...args: string[]) => {
    const objects = await manifests("relay", [...oneCluster, ...args]);
    const given = /--hosts=(\S+)/.exec(only(objects, "Deployment"))?.[1];
    return given?.split(",");
  };
  const ofService = ["", ".culvert", ".culvert.svc", ".culvert.svc.cluster.local"]
    .map((domain) => `culvert-relay-internal${domain}`);
  const given = ["--set", "callers.hosts={relay.example.com,relay}"];
  const all = ["relay.example.com", "relay", ...ofService];
  equal(await hosts(), undefined);
  equal(await hosts("--set", "argocd.serverURL=https://argocd.example.com"), undefined);
  deepEqual(await hosts(...given), all);

  const withServer = (url: string) => hosts(...given, "--set", `argocd.serverURL=${url}`);
  const named = "https://culvert.example.com";
  deepEqual(await withServer(named), [...all, "culvert.example.com"]);
  deepEqual(await withServer(`${named}.:8443/`), [...all, "culvert.example.com"]);
  deepEqual(await withServer("https://relay.example.com:8443"), all);
  // The relay takes addresses anyway, and none of these as a name.
  deepEqual(await withServer("https://[fd00::1]:8443"), all);
});

Deno.test("culvert-relay: of each CA's Secret nothing but ca.crt is mounted, as a folder", async () => {
  const callersCa = ["--set", "callers.caSecret=callers-ca"];
  const deployment = only(
    await manifests("relay", [...oneCluster, ...mutualTls, ...callersCa]),
    "Deployment",
  );
  // As Kubernetes reads it: 0440 is octal.
  const { containers: [relay], volumes } = parse(deployment, { version: "1.1" }).spec.template.spec;
  const expected = [["tls-client-ca", "client-ca", "ca"], ["caller-ca", "caller-ca", "callers-ca"]];
  const args = relay.args.filter((arg: string) => /^--\S+-ca=/.test(arg));
  deepEqual(args, expected.map(([option, volume]) => `--${option}=/etc/culvert/${volume}/ca.crt`));
  for (const [, volume, secretName] of expected) {
    const isIt = ({ name }: { name: string }) => name === volume;
    const mountPath = `/etc/culvert/${volume}`;
    deepEqual(relay.volumeMounts.find(isIt), { name: volume, mountPath, readOnly: true });
    const items = [{ key: "ca.crt", path: "ca.crt" }];
    deepEqual(volumes.find(isIt).secret, { secretName, defaultMode: 0o440, items });
  }
});

Deno.test("culvert-relay: a TLSRoute is of the newest version that the cluster knows", async () => {
  const versionOn = async (...known: string[]) => {
    const told = known.flatMap((version) => [
      "--api-versions",
      `gateway.networking.k8s.io/${version}/TLSRoute`,
    ]);
    const values = ["--values", `${valuesFolder}relay/gateway-passthrough.yaml`];
    const route = only(await manifests("relay", [...values, ...told]), "TLSRoute");
    return /^apiVersion: gateway\.networking\.k8s\.io\/(\w+)$/m.exec(route)?.[1];
  };
  equal(await versionOn("v1alpha2"), "v1alpha2");
  equal(await versionOn("v1alpha2", "v1alpha3"), "v1alpha3");
  equal(await versionOn("v1alpha2", "v1alpha3", "v1"), "v1");
  equal(await versionOn(), "v1");
});

Deno.test("the charts: on the host's network a pod that has gone is what helm --wait waits for", async () => {
  const strategy = async (chart: ChartName, ...more: string[]) => {
    const relay = [...oneCluster, ...mutualTls, "--set", "directory.url=redis://r:6379"];
    const secrets = ["--set", "relayToken=0123456789abcdef"];
    const agent = ["--set", "serverURL=wss://relay.example.com/connect,existingSecret=token"];
    const needed = { relay: [...relay, ...secrets], agent, operator: [] };
    const args = [...needed[chart], ...more];
    const deployment = only(await manifests(chart, args), "Deployment");
    const [, text] = /^ {2}strategy:\n((?: {4}.*\n)+)/m.exec(deployment)!;
    return text!.trim().split(/\s*\n\s*/).join(", ");
  };
  const host = ["--set", "hostNetwork=true"];
  const several = [...host, "--set", "replicas=2"];
  const surge = "type: RollingUpdate, rollingUpdate:, maxSurge: 1, maxUnavailable: 0";
  for (const chart of charts) {
    equal(await strategy(chart), surge);
    // With maxUnavailable it would be content with no pod at all.
    equal(await strategy(chart, ...host), "type: Recreate");
    const oneByOne = "type: RollingUpdate, rollingUpdate:, maxSurge: 0, maxUnavailable: 1";
    equal(await strategy(chart, ...several), oneByOne);
  }
  equal(await strategy("agent", ...host, "--set", "healthPort=0"), surge);
});

for (const chart of charts) {
  Deno.test(`helm packages culvert-${chart}, and finds nothing to mend in it`, async () => {
    await using stack = new AsyncDisposableStack();
    const folder = await scratchFolder(stack);
    const version = "1.2.3";
    const to = ["--version", version, "--app-version", version, "--destination", folder];
    await must("helm", ["package", chartFolder(chart), ...to]);
    const archive = `${folder}/culvert-${chart}-${version}.tgz`;
    match(await must("helm", ["show", "chart", archive]), /^appVersion: 1\.2\.3$/m);
    const [values] = goodValues(chart);
    await must("helm", ["lint", "--strict", archive, "--values", values!.path]);
  });
}
