/** `relay kubeconfig --merge`: the user's own file gets a context, and keeps all that it has. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { parse } from "yaml";
import { ScratchDirectory } from "../config/support.ts";
import { run } from "./run.ts";

const OWN = `# my clusters
apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
- name: home   # the one in the cellar
  cluster:
    server: https://home:6443
    certificate-authority-data: QUJD
users:
- {name: me, user: {token: secret-of-home}}
contexts:
- name: home
  context: {cluster: home, user: me, namespace: no}
current-context: home
extensions: []
`;

async function merge(kubeconfig: string, ...args: readonly string[]) {
  const server = ["--server", "http://127.0.0.1:8080"];
  const command = ["run", "-A", "relay.ts", "kubeconfig", "dev", ...server, "--merge", ...args];
  return await run(Deno.execPath(), command, { env: { KUBECONFIG: kubeconfig } });
}

function files(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

Deno.test("relay kubeconfig --merge adds a context, makes it current, and leaves the rest as it is", async () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("config", OWN);
  Deno.chmodSync(path, 0o640);
  const { code, stdout, stderr } = await merge(path);
  equal(code, 0, stderr);
  equal(stdout, `Switched to context "dev" in ${JSON.stringify(path)}\n`);
  const text = Deno.readTextFileSync(path);
  for (
    const line of ["# my clusters", "# the one in the cellar", "preferences: ", "extensions: []"]
  ) {
    ok(text.includes(line), line);
  }
  const before = parse(OWN);
  deepEqual(parse(text), {
    ...before,
    clusters: [
      ...before.clusters,
      { name: "dev", cluster: { server: "http://127.0.0.1:8080/tunnel/dev" } },
    ],
    users: [...before.users, { name: "dev", user: {} }],
    contexts: [...before.contexts, { name: "dev", context: { cluster: "dev", user: "dev" } }],
    "current-context": "dev",
  });
  equal(Deno.statSync(path).mode! & 0o777, 0o640);
  deepEqual(files(scratch.path), ["config"], "neither a lock nor a half file is left");
});

Deno.test("relay kubeconfig --merge replaces what it made before, and nothing of somebody else's", async () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("config", OWN);
  equal((await merge(path)).code, 0);
  equal((await merge(path, "--namespace", "apps")).code, 0);
  const { contexts, clusters } = parse(Deno.readTextFileSync(path));
  deepEqual(contexts.map(({ name }: { name: string }) => name), ["home", "dev"]);
  deepEqual(contexts[1].context, { cluster: "dev", user: "dev", namespace: "apps" });
  equal(clusters.length, 2);
  const before = Deno.readTextFileSync(path);
  const { code, stderr } = await merge(path, "--name", "home");
  equal(code, 2);
  match(
    stderr,
    /has "home" already among its clusters and contexts, for another server; .*--name$/m,
  );
  equal(Deno.readTextFileSync(path), before);
});

Deno.test("relay kubeconfig --merge makes the file and its folder, for its owner alone", async () => {
  using scratch = new ScratchDirectory();
  const path = `${scratch.path}/new/.kube/config`;
  const { code, stderr } = await merge(path);
  equal(code, 0, stderr);
  equal(Deno.statSync(path).mode! & 0o777, 0o600);
  equal(parse(Deno.readTextFileSync(path))["current-context"], "dev");
});

Deno.test("relay kubeconfig --merge writes where kubectl would: the first file of KUBECONFIG that is there", async () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("second", "");
  const { code, stderr } = await merge(`${scratch.path}/first:${path}:${scratch.path}/third`);
  equal(code, 0, stderr);
  deepEqual(files(scratch.path), ["second"]);
  equal(parse(Deno.readTextFileSync(path)).kind, "Config");
  Deno.removeSync(path);
  equal((await merge(`${scratch.path}/first:${path}`)).code, 0);
  deepEqual(files(scratch.path), ["second"], "and the last one, where none is");
});

Deno.test("relay kubeconfig --merge changes the file that a link leads to", async () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("real", OWN);
  Deno.symlinkSync(path, `${scratch.path}/link`);
  equal((await merge(`${scratch.path}/link`)).code, 0);
  ok(Deno.lstatSync(`${scratch.path}/link`).isSymlink);
  equal(parse(Deno.readTextFileSync(path))["current-context"], "dev");
});

Deno.test("relay kubeconfig --merge leaves alone what is no kubeconfig, in one line without its text", async () => {
  using scratch = new ScratchDirectory();
  const cases = [
    ["kind: Secret\n", /is not a kubeconfig: it must be a mapping of kind Config$/],
    ["- a\n- secret\n", /is not a kubeconfig/],
    ["clusters:\n  secret: [\n", /is not YAML, at line \d+, column \d+$/],
    ["clusters: []\nclusters: [secret]\n", /has a key twice, at line 2, column 1$/],
    ["clusters: secret\n", /: clusters must be a list$/],
    ["a: 1\n---\na: secret\n", /is not YAML/],
    [`a: ${"secret ".repeat(400_000)}`, /has more than 2097152 characters$/],
  ] as const;
  for (const [text, says] of cases) {
    const path = scratch.write("config", text);
    const { code, stdout, stderr } = await merge(path);
    equal(code, 2, text);
    equal(stdout, "");
    match(stderr.trimEnd(), says);
    ok(!stderr.includes("secret"));
    equal(stderr.trimEnd().split("\n").length, 1);
    equal(Deno.readTextFileSync(path), text);
    deepEqual(files(scratch.path), ["config"]);
  }
});

Deno.test("relay kubeconfig --merge waits for kubectl's lock, and names it when it stays", async () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("config", OWN);
  const lock = scratch.write("config.lock", "");
  const { code, stderr } = await merge(path);
  equal(code, 2);
  match(stderr, /is locked by another program; if there is none, remove ".*config\.lock"$/m);
  equal(Deno.readTextFileSync(path), OWN);
  const waiting = merge(path);
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  Deno.removeSync(lock);
  equal((await waiting).code, 0);
});

Deno.test("several relay kubeconfig --merge at once lose nothing", async () => {
  using scratch = new ScratchDirectory();
  const path = scratch.write("config", OWN);
  const names = ["one", "two", "three", "four"];
  const results = await Promise.all(names.map((name) => merge(path, "--name", name)));
  deepEqual(results.map(({ code }) => code), [0, 0, 0, 0]);
  const { contexts } = parse(Deno.readTextFileSync(path));
  const written = contexts.map(({ name }: { name: string }) => name).sort();
  deepEqual(written, [...names, "home"].sort());
});
