/**
 * `deno task compile` for every platform. The runtime that it downloads elsewhere is out of reach in
 * tests, so the `deno` of the npm package stands in (DENORT_BIN). Such a binary cannot be run, but
 * everything else about it is what a release publishes.
 */
import assert from "node:assert/strict";
import { programs } from "../../deploy/programs.ts";

const root = new URL("../../", import.meta.url);

/** A platform's npm package with Deno, and how its executables begin. */
const platforms: Readonly<Record<string, { npm: string; magic: RegExp; file?: string }>> = {
  // ELF, 64 bits, little-endian; the machine is at offset 18: x86-64, AArch64.
  "linux-x64": { npm: "linux-x64-glibc", magic: /^7f454c460201.{24}3e00/ },
  "linux-arm64": { npm: "linux-arm64-glibc", magic: /^7f454c460201.{24}b700/ },
  // Mach-O, 64 bits, and the CPU type.
  "macos-x64": { npm: "darwin-x64", magic: /^cffaedfe07000001/ },
  "macos-arm64": { npm: "darwin-arm64", magic: /^cffaedfe0c000001/ },
  "windows-x64": { npm: "win32-x64", magic: /^4d5a/, file: "deno.exe" },
};

async function run(command: string, args: string[], options: Deno.CommandOptions = {}) {
  const { code, stdout, stderr } = await new Deno.Command(command, { args, ...options }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  return { code, text };
}

/** The Deno of a platform, from its npm package, in `folder`. */
async function fetchRuntime(folder: string, platform: string): Promise<string> {
  const { npm, file = "deno" } = platforms[platform]!;
  const name = `@deno/${npm}@${Deno.version.deno}`;
  const packed = await run("npm", ["pack", "--silent", name], { cwd: folder });
  assert.equal(packed.code, 0, packed.text);
  const archive = packed.text.trim().split("\n").at(-1)!;
  const unpacked = await run("tar", ["xzf", archive], { cwd: folder });
  assert.equal(unpacked.code, 0, unpacked.text);
  return `${folder}/package/${file}`;
}

/** What a binary carries: the JSON that `deno compile` writes behind its marker. */
function embeddedMetadata(binary: Uint8Array): {
  permissions: Record<string, unknown>;
  entrypoint_key: string;
} {
  const text = new TextDecoder("latin1").decode(binary);
  const start = text.lastIndexOf('{"argv":');
  assert.notEqual(start, -1, "the binary carries no metadata");
  let depth = 0;
  for (let end = start; end < text.length; end++) {
    if (text[end] === "{") depth++;
    if (text[end] === "}" && --depth === 0) return JSON.parse(text.slice(start, end + 1));
  }
  throw new Error("the metadata does not end");
}

/** `--allow-net` as Deno's metadata writes it: an empty list allows everything. */
function grants(permissions: readonly string[]): Record<string, string[]> {
  return Object.fromEntries(permissions.map((option) => {
    const [name, values] = option.slice("--".length).split("=");
    return [name!.replace("-", "_"), values?.split(",") ?? []];
  }));
}

for (const [platform, { magic }] of Object.entries(platforms)) {
  Deno.test(`deno task compile makes every program for ${platform}`, async () => {
    await using stack = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir({ prefix: "culvert-compile-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const env = { DENORT_BIN: await fetchRuntime(folder, platform) };
    const options = { cwd: root, env };
    const compiled = await run(Deno.execPath(), ["task", "compile", platform], options);
    assert.equal(compiled.code, 0, compiled.text);
    const { size: runtimeSize } = await Deno.stat(env.DENORT_BIN);
    for (const { name, permissions } of programs) {
      const suffix = platform.startsWith("windows") ? ".exe" : "";
      const file = new URL(`dist/culvert-${name}-${platform}${suffix}`, root);
      stack.defer(() => Deno.remove(file));
      const binary = await Deno.readFile(file);
      assert.match(binary.subarray(0, 20).toHex(), magic);
      const { size: bundleSize } = await Deno.stat(new URL(`dist/${name}.js`, root));
      assert.ok(binary.length >= runtimeSize + bundleSize, `${binary.length} bytes`);
      const metadata = embeddedMetadata(binary);
      assert.match(metadata.entrypoint_key, new RegExp(`${name}\\.js$`));
      const { prompt, ...named } = metadata.permissions;
      assert.equal(prompt, false);
      const allowed = Object.entries(named).filter(([key, list]) =>
        key.startsWith("allow_") && key !== "allow_import" && list !== null
      );
      assert.deepEqual(Object.fromEntries(allowed), grants(permissions));
    }
  });
}

Deno.test("deno task compile names the platforms when it is given another", async () => {
  const { code, text } = await run(Deno.execPath(), ["task", "compile", "linux-x86"], {
    cwd: root,
  });
  assert.equal(code, 2);
  assert.match(text, /"linux-x86" must be one of linux-x64, .*windows-x64/);
});
