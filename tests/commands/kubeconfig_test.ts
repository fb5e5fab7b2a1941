/** `relay kubeconfig`, by what it is for: kubectl with the printed file reaches the cluster. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { Authority, type KeyPairFiles, withFolder } from "../support/certificates.ts";
import { hashToken } from "../../lib/relay/digests.ts";
import {
  type RunningAgent,
  type RunningRelay,
  startAgent,
  startRelay,
} from "../support/programs.ts";
import { podName, startKubernetes, version } from "./kubernetes.ts";
import { fromYaml, hasKubectl, printed, refusal, relay, run } from "./run.ts";

const agentToken = "an-agents-token-0123456789";
const callerToken = "a-callers-token-0123456789";
const callers = JSON.stringify([
  { name: "me", tokenSha256: await hashToken(callerToken), clusters: ["dev"] },
]);

interface Kubeconfig {
  readonly "current-context": string;
  readonly clusters: readonly { name: string; cluster: Record<string, string> }[];
  readonly users: readonly { name: string; user: Record<string, string> }[];
  readonly contexts: readonly { name: string; context: Record<string, string> }[];
}

/** A relay of this kind with an agent, and what a caller's kubeconfig needs to reach it. */
interface Setup {
  readonly what: string;
  readonly relayArgs: (files: Files) => readonly string[];
  readonly kubeconfigArgs: (files: Files) => readonly string[];
  readonly warns?: RegExp;
}

interface Files {
  readonly authority: Authority;
  readonly server: KeyPairFiles;
  readonly agent: KeyPairFiles;
  readonly caller: KeyPairFiles;
  readonly tokenPath: string;
}

const tlsArgs = ({ server }: Files) => ["-tls-cert", server.certPath, "-tls-key", server.keyPath];
const caArgs = ({ authority }: Files) => ["--ca", authority.caPath];

const setups: readonly Setup[] = [
  { what: "plain HTTP", relayArgs: () => [], kubeconfigArgs: () => [] },
  {
    // kubectl would ask for a name and a password if the kubeconfig had no credential at all.
    what: "TLS and open to callers",
    relayArgs: tlsArgs,
    kubeconfigArgs: caArgs,
    warns: /^relay: Without --client-cert or a token, only a relay with --callers open [^\n]+\n$/,
  },
  {
    what: "TLS and a caller's token",
    relayArgs: (files) => [...tlsArgs(files), "-caller-tokens", callers],
    kubeconfigArgs: (files) => [...caArgs(files), "--token-file", files.tokenPath],
  },
  {
    what: "mutual TLS, and another name in the certificate",
    relayArgs: (files) => [...tlsArgs(files), "-tls-client-ca", files.authority.caPath],
    kubeconfigArgs: (files) => [
      ...caArgs(files),
      ...["--client-cert", files.caller.certPath, "--client-key", files.caller.keyPath],
      ...["--tls-server-name", "relay.example"],
    ],
  },
];

async function makeFiles(folder: string): Promise<Files> {
  const authority = await Authority.create(folder, "own");
  const tokenPath = `${folder}/caller.token`;
  await Deno.writeTextFile(tokenPath, `${callerToken}\n`);
  return {
    authority,
    server: await authority.issue("server", "IP:127.0.0.1,DNS:relay.example"),
    agent: await authority.issue("agent", "DNS:agent"),
    caller: await authority.issue("caller", "DNS:caller"),
    tokenPath,
  };
}

function startAgentOf(
  running: RunningRelay,
  target: string,
  { authority, agent }: Files,
  usesTls: boolean,
): Promise<RunningAgent> {
  const pair = ["-client-cert", agent.certPath, "-client-key", agent.keyPath];
  return startAgent({
    relayUrl: usesTls ? `wss://${running.publicAddress}/connect` : running.connectUrl,
    token: agentToken,
    target,
    args: usesTls ? ["-server-ca-cert", authority.caPath, ...pair] : [],
  });
}

Deno.test("relay kubeconfig: what it prints reaches the cluster", async (t) => {
  await withFolder(async (folder) => {
    const files = await makeFiles(folder);
    for (const { what, relayArgs, kubeconfigArgs, warns = /^$/ } of setups) {
      await t.step(what, async () => {
        await using target = startKubernetes();
        const args = relayArgs(files);
        await using running = await startRelay({
          clusters: [{ id: "dev", token: agentToken, targetAddr: target.address }],
          args,
        });
        const usesTls = args.length > 0;
        await using _agent = await startAgentOf(running, target.address, files, usesTls);
        await running.waitForAgent("dev");
        const server = `${usesTls ? "https" : "http"}://${running.internalAddress}/`;
        const options = ["--server", server, ...kubeconfigArgs(files), "--namespace", "prod"];
        const { code, stdout: text, stderr } = await relay(["kubeconfig", "dev", ...options]);
        equal(code, 0, stderr);
        match(stderr, warns);
        const kubeconfig = `${folder}/kubeconfig`;
        await Deno.writeTextFile(kubeconfig, text);

        deepEqual(await versionThrough(fromYaml<Kubeconfig>(text)), version);
        if (!hasKubectl) return;
        const kubectl = (...args: string[]) =>
          run("kubectl", ["--kubeconfig", kubeconfig, ...args], { env: { HOME: folder } });
        const asked = await kubectl("version", "-o", "json");
        equal(asked.code, 0, asked.stderr);
        equal(JSON.parse(asked.stdout).serverVersion.gitVersion, version.gitVersion);
        const pods = await kubectl("get", "pods", "-o", "name");
        deepEqual({ ...pods }, { code: 0, stdout: `pod/${podName}\n`, stderr: "" });
        ok(target.paths.includes("/api/v1/namespaces/prod/pods"), target.paths.join(" "));
      });
    }
  });
});

/** The cluster's `/version`, asked for with no other knowledge than the kubeconfig's. */
async function versionThrough({ clusters, users }: Kubeconfig): Promise<unknown> {
  const { server, ...tls } = clusters[0]!.cluster;
  const user = users[0]!.user;
  const pem = (base64: string | undefined) => base64 === undefined ? undefined : atob(base64);
  const [ca, cert, key] = [
    tls["certificate-authority-data"],
    user["client-certificate-data"],
    user["client-key-data"],
  ].map(pem);
  using client = Deno.createHttpClient({
    ...(ca !== undefined && { caCerts: [ca] }),
    ...(cert !== undefined && key !== undefined && { cert, key }),
  });
  const headers: Record<string, string> = user["token"] === undefined
    ? {}
    : { authorization: `Bearer ${user["token"]}` };
  const response = await fetch(`${server}/version`, { client, headers });
  return await response.json();
}

Deno.test("relay kubeconfig: names and namespaces that YAML could take for something else", async () => {
  const args = ["kubeconfig", "0x1F", "--server", "http://127.0.0.1:8080/base"];
  const text = await printed([...args, "--name", 'no: "#é', "--namespace", "1e3"]);
  const config = fromYaml<Kubeconfig>(text);
  const name = 'no: "#é';
  deepEqual(config, {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster: { server: "http://127.0.0.1:8080/base/tunnel/0x1F" } }],
    users: [{ name, user: {} }],
    contexts: [{ name, context: { cluster: name, user: name, namespace: "1e3" } }],
    "current-context": name,
  });
  if (!hasKubectl) return;
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    const view = await run("kubectl", ["config", "view", "--kubeconfig", path, "-o", "json"]);
    equal(view.code, 0, view.stderr);
    const seen = JSON.parse(view.stdout);
    equal(seen["current-context"], name);
    deepEqual(seen.contexts, config.contexts);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("relay kubeconfig: a token on standard input", async () => {
  const args = ["kubeconfig", "dev", "--server", "https://relay:8080", "--token-file", "-"];
  const config = fromYaml<Kubeconfig>(await printed(args, `${callerToken}\r\n`));
  deepEqual(config.users[0]!.user, { token: callerToken });
});

Deno.test("relay kubeconfig: what it can't use is one line and code 2", async (t) => {
  const dev = ["kubeconfig", "dev"];
  const https = [...dev, "--server", "https://relay:8080"];
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const [one, other] = [await authority.issue("a", "DNS:a"), await authority.issue("b", "DNS:b")];
    const damaged = `${folder}/damaged.crt`;
    const begin = "-----BEGIN CERTIFICATE-----";
    await Deno.writeTextFile(damaged, `${begin}\nAAAA\n-----END CERTIFICATE-----\n`);
    const cases: readonly [string, readonly string[], RegExp, string?][] = [
      ["no cluster", ["kubeconfig"], /^Argument CLUSTER is required: relay kubeconfig CLUSTER /],
      ["an id that can't be", ["kubeconfig", "a/b"], /^Argument CLUSTER must be 1 to 253 letters/],
      ["no server", dev, /^Option --server is required: give --server URL$/],
      ["ws://", [...dev, "--server", "ws://x"], /^Option --server must be the URL .* but is "ws:/],
      [
        "a user in the URL",
        [...dev, "--server", "http://u:secret@x"],
        /^Option --server (?!.*secret)/,
      ],
      ["a path to the tunnel", [...dev, "--server", "http://x/tunnel/dev"], /without \/tunnel\//],
      ["a query", [...dev, "--server", "http://x/?a=secret"], /^Option --server (?!.*secret)/],
      ["two clusters", [...dev, "b", "--server", "http://x"], /^Unexpected argument 2: .*--help$/],
      [
        "half a pair",
        [...https, "--client-cert", one.certPath],
        /cert needs --client-key as well$/,
      ],
      [
        "the other half",
        [...https, "--client-key", one.keyPath],
        /key needs --client-cert as well$/,
      ],
      [
        "no such file",
        [...https, "--ca", `${folder}/none.crt`],
        /^Option --ca names .* no such file$/,
      ],
      ["a key as CA", [...https, "--ca", one.keyPath], /holds no certificate/],
      ["a damaged CA", [...https, "--ca", damaged], /^Option --ca .* damaged/],
      [
        "a pair that is none",
        [...https, "--client-cert", one.certPath, "--client-key", other.keyPath],
        /^Option --client-key .* not the key of the certificate in --client-cert$/,
      ],
      [
        "a CA over http://",
        [...dev, "--server", "http://x", "--ca", authority.caPath],
        /needs an https/,
      ],
      [
        "a token over http://, which kubectl does not send",
        [...dev, "--server", "http://x", "--token", callerToken],
        /^Option --server is http:\/\/, over which kubectl sends no token/,
      ],
      [
        "two tokens",
        [...https, "--token", callerToken, "--token-file", "x.token"],
        /^Option --token-file can't go with --token/,
      ],
      ["no token", [...https, "--token-file", "-"], /^Option --token-file: .* no token$/, "\n"],
      ["two lines", [...https, "--token-file", "-"], /holds no token, which must be/, "a\nb"],
      ["a namespace", [...https, "--namespace", "Prod"], /^Option --namespace must be 1 to 63/],
      ["a name of two lines", [...https, "--name", "a\nb"], /^Option --name must be 1 to 253/],
    ];
    for (const [what, args, says, stdin] of cases) {
      await t.step(what, async () => match(await refusal(args, stdin), says));
    }
  });
});

Deno.test("relay kubeconfig and argocd-secret print certificates only, whatever else the files hold", async () => {
  await withFolder(async (folder) => {
    const authority = await Authority.create(folder, "own");
    const pair = await authority.issue("caller", "DNS:caller");
    const read = (path: string) => Deno.readTextFile(path);
    const [ca, cert, key] = await Promise.all([
      read(authority.caPath),
      read(pair.certPath),
      read(pair.keyPath),
    ]);
    const caPath = `${folder}/ca.pem`;
    const certPath = `${folder}/cert.pem`;
    // As Windows' editors write them, and with a private key that does not belong there.
    await Deno.writeTextFile(caPath, `\uFEFF${ca}${await read(authority.keyPath)}`);
    await Deno.writeTextFile(certPath, `\uFEFF${cert}${key}`.replaceAll("\n", "\r\n"));
    const args = [
      ...["dev", "--server", "https://relay", "--ca", caPath],
      ...["--client-cert", certPath, "--client-key", certPath],
    ];
    const config = fromYaml<Kubeconfig>(await printed(["kubeconfig", ...args]));
    const decoded = (base64?: string) =>
      new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.fromBase64(base64 ?? ""));
    const { cluster } = config.clusters[0]!;
    const { user } = config.users[0]!;
    deepEqual(decoded(cluster["certificate-authority-data"]), ca);
    deepEqual(decoded(user["client-certificate-data"]), cert);
    deepEqual(decoded(user["client-key-data"]), key);
    const secret = fromYaml<{ stringData: { config: string } }>(
      await printed(["argocd-secret", ...args]),
    );
    const { tlsClientConfig } = JSON.parse(secret.stringData.config);
    deepEqual(
      [tlsClientConfig.caData, tlsClientConfig.certData, tlsClientConfig.keyData].map(decoded),
      [
        ca,
        cert,
        key,
      ],
    );
  });
});

Deno.test("relay kubeconfig: a mistyped command is named", async () => {
  equal(
    await refusal(["kubconfig", "dev"]),
    "Unexpected argument 1; did you mean relay kubeconfig?",
  );
});
