/**
 * Compiles each program to a standalone binary in `dist/`, for all platforms or for those named:
 * `deno task compile linux-x64`. Deno downloads its runtime for a platform once; `DENORT_BIN` names
 * one that is there already.
 *
 * Binaries are made from the bundles: `deno compile` overflows its stack on the module graph of
 * prom-client, and a bundle embeds only what the program uses.
 */
import { bundle, deno, programs } from "./programs.ts";

/** Deno's name for each platform. */
const targets: Readonly<Record<string, string>> = {
  "linux-x64": "x86_64-unknown-linux-gnu",
  "linux-arm64": "aarch64-unknown-linux-gnu",
  "macos-x64": "x86_64-apple-darwin",
  "macos-arm64": "aarch64-apple-darwin",
  "windows-x64": "x86_64-pc-windows-msvc",
};

/** Nothing is resolved or asked for at run time: the binary holds all that it needs. */
const standalone = ["--no-config", "--no-lock", "--no-remote", "--no-npm", "--no-prompt"];

const platforms = Deno.args.length > 0 ? Deno.args : Object.keys(targets);
const unknown = platforms.find((platform) => targets[platform] === undefined);
if (unknown !== undefined) {
  console.error(`compile: "${unknown}" must be one of ${Object.keys(targets).join(", ")}`);
  Deno.exit(2);
}

for (const { name, permissions } of programs) {
  await bundle(`${name}.ts`, `dist/${name}.js`);
  for (const platform of platforms) {
    const target = ["--target", targets[platform]!];
    const output = ["--output", `dist/culvert-${name}-${platform}`];
    await deno(["compile", ...standalone, ...target, ...permissions, ...output, `dist/${name}.js`]);
  }
}
