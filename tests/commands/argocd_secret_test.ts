/** `relay argocd-secret`: the Secret that argocd-cluster-proxy documents, for each kind of relay. */
import { deepEqual, equal, match } from "node:assert/strict";
import { Authority, withFolder } from "../support/certificates.ts";
import { fromYaml, hasKubectl, printed, refusal, relay, run } from "./run.ts";

const token = "argocds-own-token-0123456789";

interface Secret {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  readonly type: string;
  readonly stringData: Readonly<Record<string, string>>;
}

/** The Secret, and what Argo CD reads in its `config`. */
function read(text: string): { secret: Secret; config: unknown } {
  const secret = fromYaml<Secret>(text);
  return { secret, config: JSON.parse(secret.stringData["config"]!) };
}

/** What kubectl sends to the API server for a text. */
async function asKubectlReads(text: string): Promise<Secret> {
  // Adding the label that is there already leaves it as it is, and needs no server.
  const label = "argocd.argoproj.io/secret-type=cluster";
  const args = ["label", "--local", "--overwrite", "-f", "-", label, "-o", "json"];
  const { code, stdout, stderr } = await run("kubectl", args, { stdin: text });
  equal(code, 0, stderr);
  return JSON.parse(stdout);
}

const server = "http://culvert-relay-internal.culvert.svc:8080";

Deno.test("relay argocd-secret: plain, with TLS and with mutual TLS", async (t) => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const { certPath, keyPath } = await authority.issue("argocd", "DNS:argocd");
    const base64 = async (path: string) => btoa(await Deno.readTextFile(path));
    const [caData, certData, keyData] = [
      await base64(authority.caPath),
      await base64(certPath),
      await base64(keyPath),
    ];
    const https = ["--server", "https://relay.example:8080/"];
    const withCa = [...https, "--ca", authority.caPath];
    const pair = ["--client-cert", certPath, "--client-key", keyPath];
    const cases: readonly [string, readonly string[], unknown][] = [
      ["plain", ["--server", server], { tlsClientConfig: { insecure: true } }],
      ["TLS of a public CA", https, { tlsClientConfig: { insecure: false } }],
      [
        "TLS and a token",
        [...withCa, "--token", token],
        { bearerToken: token, tlsClientConfig: { insecure: false, caData } },
      ],
      [
        "mutual TLS",
        [...withCa, ...pair, "--tls-server-name", "relay"],
        { tlsClientConfig: { insecure: false, serverName: "relay", caData, certData, keyData } },
      ],
    ];
    for (const [what, args, expected] of cases) {
      await t.step(what, async () => {
        const text = await printed(["argocd-secret", "dev", ...args]);
        const { secret, config } = read(text);
        deepEqual(config, expected);
        const base = args === cases[0]![1] ? server : "https://relay.example:8080";
        deepEqual({ ...secret, stringData: { ...secret.stringData, config: "" } }, {
          apiVersion: "v1",
          kind: "Secret",
          metadata: {
            name: "culvert-cluster-dev",
            namespace: "argocd",
            labels: {
              "argocd.argoproj.io/secret-type": "cluster",
              "app.kubernetes.io/part-of": "culvert",
            },
          },
          type: "Opaque",
          stringData: { name: "dev", server: `${base}/tunnel/dev`, config: "" },
        });
        if (!hasKubectl) return;
        const seen = await asKubectlReads(text);
        deepEqual(seen.stringData, secret.stringData);
        deepEqual(seen.metadata.labels, secret.metadata.labels);
      });
    }
  });
});

Deno.test("relay argocd-secret: ids that are no names of Secrets keep apart", async () => {
  const nameOf = async (id: string) =>
    read(await printed(["argocd-secret", id, "--server", server])).secret.metadata.name;
  const names = await Promise.all(
    ["eu-west", "EU-west", "eu.west", "_", "-", "a".repeat(253)].map(nameOf),
  );
  equal(names[0], "culvert-cluster-eu-west");
  equal(new Set(names).size, names.length);
  for (const name of names) match(name, /^[a-z0-9](?:[a-z0-9-]{0,251}[a-z0-9])?$/);
});

Deno.test("relay argocd-secret: names and namespaces stay what they are", async () => {
  const more = ["--name", "yes", "--namespace", "123"];
  const { secret } = read(await printed(["argocd-secret", "1.0", "--server", server, ...more]));
  deepEqual(
    [secret.stringData["name"], secret.metadata.namespace, secret.stringData["server"]],
    ["yes", "123", `${server}/tunnel/1.0`],
  );
});

Deno.test("relay argocd-secret: a token over http:// works, with a warning", async () => {
  const args = ["argocd-secret", "dev", "--server", server, "--token-file", "-"];
  const { code, stdout, stderr } = await relay(args, token);
  equal(code, 0);
  match(stderr, /^relay: Over http:\/\/ everybody on the way can read the token; [^\n]*\n$/);
  deepEqual(read(stdout).config, { bearerToken: token, tlsClientConfig: { insecure: true } });
});

Deno.test("relay argocd-secret: what it can't use is one line and code 2", async () => {
  const dev = ["argocd-secret", "dev"];
  const cases: readonly [readonly string[], RegExp][] = [
    [dev, /^Option --server is required/],
    [[...dev, "--server", "wss://relay/connect"], /^Option --server must be the URL/],
    [[...dev, "--server", "https://x", "--client-key", "k"], /needs --client-cert as well$/],
    [[...dev, "--server", server, "--client-cert", "c"], /needs an https:\/\/ URL as --server$/],
    [[...dev, "--servr", "https://x"], /^Unknown option --servr; did you mean --server\?/],
  ];
  for (const [args, says] of cases) match(await refusal(args), says);
});
