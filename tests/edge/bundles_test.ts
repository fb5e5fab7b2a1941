/** The single files: each runs in an empty folder, with nothing to fetch anything from. */
import assert from "node:assert/strict";
import { within } from "../support/deadline.ts";
import { Program } from "../support/programs.ts";

const dist = new URL("../../dist/", import.meta.url);

/** Runs a bundle alone: an empty folder, an empty cache, no registry and no configuration. */
async function runAlone(
  bundle: string,
  args: readonly string[],
  permissions: readonly string[],
): Promise<{ code: number; stdout: string; stderr: string }> {
  const folder = await Deno.makeTempDir({ prefix: "culvert-bundle-" });
  const cache = await Deno.makeTempDir({ prefix: "culvert-cache-" });
  try {
    await Deno.copyFile(new URL(bundle, dist), `${folder}/${bundle}`);
    const alone = ["--no-config", "--no-remote", "--no-npm", "--no-prompt", ...permissions];
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", ...alone, bundle, ...args],
      cwd: folder,
      env: { DENO_DIR: cache, HOME: folder, PATH: "", DENO_NO_UPDATE_CHECK: "1" },
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
    const { code, stdout, stderr } = await within(child.output(), `${bundle} to end`);
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr) };
  } finally {
    await Deno.remove(folder, { recursive: true });
    await Deno.remove(cache, { recursive: true });
  }
}

/** What `deno task compile` and the images give the programs. */
const permissions = {
  "relay.js": ["--allow-net", "--allow-read", "--allow-write", "--allow-env"],
  "agent.js": ["--allow-net", "--allow-read", "--allow-env"],
};

for (const [bundle, allowed] of Object.entries(permissions)) {
  Deno.test(`${bundle} runs alone`, async () => {
    const help = await runAlone(bundle, ["--help"], allowed);
    assert.deepEqual([help.code, help.stderr], [0, ""]);
    assert.match(help.stdout, /--log-format/);
    const wrong = await runAlone(bundle, ["--clusterz", "x"], allowed);
    assert.equal(wrong.code, 2, wrong.stderr);
  });
}

Deno.test("relay.js and agent.js, alone, serve a request", async () => {
  await using target = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response("hello"),
  );
  await using stack = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-bundle-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const start = async (bundle: keyof typeof permissions, args: string[], env = {}) => {
    await Deno.mkdir(`${folder}/cache-${bundle}`);
    await Deno.copyFile(new URL(bundle, dist), `${folder}/${bundle}`);
    const alone = ["--no-config", "--no-remote", "--no-npm", "--no-prompt"];
    return stack.use(Program.startDeno(
      bundle,
      ["run", ...alone, ...permissions[bundle], `${folder}/${bundle}`, ...args],
      { DENO_DIR: `${folder}/cache-${bundle}`, LOG_FORMAT: "json", ...env },
    ));
  };
  const address = `127.0.0.1:${target.addr.port}`;
  const cluster = { id: "alone", token: "bundle-token-0123456789", targetAddr: address };
  const relay = await start(
    "relay.js",
    ["--addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0"],
    { CLUSTERS: JSON.stringify([cluster]) },
  );
  const listener = async (name: string) => {
    const line = await relay.waitForLog(({ listener }) => listener === name);
    return String(line.address);
  };
  const toRelay = ["--server", `ws://${await listener("public")}/connect`];
  const toTarget = ["--target", address, "--plain-target", "--sa-token-path", ""];
  await start(
    "agent.js",
    [...toRelay, "--allow-insecure-server", ...toTarget, "--health-addr", "127.0.0.1:0"],
    { TOKEN: cluster.token },
  );
  await relay.waitForLog(({ message }) => message === "Agent connected");
  const response = await fetch(`http://${await listener("internal")}/tunnel/alone/`);
  assert.deepEqual([response.status, await response.text()], [200, "hello"]);
});

Deno.test("worker.js names no module and nothing of Node's or Deno's", async () => {
  const text = await Deno.readTextFile(new URL("worker.js", dist));
  assert.doesNotMatch(text, /^import\b/m);
  assert.doesNotMatch(text, /\bfrom "|\brequire\(|\bimport\("/);
  assert.doesNotMatch(text, /\bDeno\.[a-z]|\bprocess\.[a-z]|\bsetImmediate\b|\bBuffer\.[a-z]/);
});
