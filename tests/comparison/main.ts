/**
 * Tries the same attacks on culvert and on oauth2-proxy, and prints a table of what came of each:
 * `deno task compare --oauth2-proxy PATH`.
 */
import { parseArgs } from "node:util";
import { attacks, type Result } from "./attacks.ts";
import { startCulvert, startOauth2Proxy, type Subject } from "./subjects.ts";

const { values } = parseArgs({ options: { "oauth2-proxy": { type: "string" } } });
const binary = values["oauth2-proxy"];
if (binary === undefined) {
  console.error(
    "--oauth2-proxy PATH is missing. To build it: " +
      "go install github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6",
  );
  Deno.exit(2);
}

async function tryAll(start: () => Promise<Subject>): Promise<Result[]> {
  await using subject = await start();
  const results: Result[] = [];
  for (const { name, run } of attacks) {
    console.error(`${subject.name}: ${name}`);
    results.push(await run(subject));
  }
  return results;
}

const results = [await tryAll(startCulvert), await tryAll(() => startOauth2Proxy(binary))];
console.log("| attack | right outcome | holds in culvert | holds in oauth2-proxy |");
console.log("| --- | --- | --- | --- |");
for (const [index, { name, outcome }] of attacks.entries()) {
  const cells = results.map((all) => cell(all[index]!));
  console.log(`| ${[name, outcome, ...cells].map(escape).join(" | ")} |`);
}
const failed = results[0]!.filter(({ isRight }) => !isRight).length;
if (failed > 0) console.error(`culvert: ${failed} wrong`);
Deno.exit(failed > 0 ? 1 : 0);

function cell({ isRight, seen }: Result): string {
  return `${isRight ? "yes" : "**no**"}: ${seen}`;
}

function escape(text: string): string {
  return text.replaceAll("|", "\\|");
}
