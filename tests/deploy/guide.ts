/** The commands of a guide, run as somebody would who follows it word by word. */
import { ok } from "node:assert/strict";
import { blocks } from "../docs/markdown.ts";
import { run } from "../e2e/command.ts";

/** What has to differ from the guide where a test runs: each must be in it. */
export type Replacements = readonly (readonly [string, string])[];

/** The shell blocks of one part of a page, changed as little as possible. */
export function readGuide(
  page: string,
  section: string,
  replacements: Replacements,
): readonly string[] {
  const texts = blocks(page, section).filter(({ info }) => info === "sh").map(({ text }) => text);
  for (const [from] of replacements) {
    ok(texts.some((text) => text.includes(from)), `${page}, ${section}: no "${from}"`);
  }
  return texts.map((text) =>
    replacements.reduce((changed, [from, to]) => changed.replaceAll(from, to), text)
  );
}

/** Longer than helm and kubectl wait by themselves. */
const timeoutMs = 600_000;

/** Runs one block in a folder. @returns what it printed @throws with all of it if it fails */
export async function follow(
  text: string,
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const script = `set -euo pipefail\ncd '${cwd}'\n${text}`;
  const { code, stdout, stderr } = await run("bash", ["-c", script], { env, timeoutMs });
  if (code !== 0) throw new Error(`${text}\nended with code ${code}:\n${stdout}${stderr}`);
  return stdout;
}
