/**
 * Compiles relay and agent to binaries of their own in `dist/`, for each platform or for those that
 * are named: `deno task compile linux-x64`. Deno's runtime part for a platform is downloaded once.
 */

/** Deno's name for each platform. */
const targets: Readonly<Record<string, string>> = {
  "linux-x64": "x86_64-unknown-linux-gnu",
  "linux-arm64": "aarch64-unknown-linux-gnu",
  "macos-x64": "x86_64-apple-darwin",
  "macos-arm64": "aarch64-apple-darwin",
  "windows-x64": "x86_64-pc-windows-msvc",
};

/** What each program may do; the relay writes its audit log. */
const permissions: Readonly<Record<string, readonly string[]>> = {
  relay: ["--allow-net", "--allow-read", "--allow-write", "--allow-env"],
  agent: ["--allow-net", "--allow-read", "--allow-env"],
};

const wanted = Deno.args.length > 0 ? Deno.args : Object.keys(targets);
for (const platform of wanted) {
  const target = targets[platform];
  if (target === undefined) {
    console.error(`compile: "${platform}" must be one of ${Object.keys(targets).join(", ")}`);
    Deno.exit(2);
  }
  for (const [program, allowed] of Object.entries(permissions)) {
    const output = `dist/culvert-${program}-${platform}`;
    const args = ["compile", "--target", target, ...allowed, "--output", output, `${program}.ts`];
    const { code } = await new Deno.Command(Deno.execPath(), { args }).spawn().status;
    if (code !== 0) Deno.exit(1);
  }
}
