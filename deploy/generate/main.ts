/**
 * Writes what follows from the programs' tables of options: the tables in the docs, and the parts of
 * the Helm charts that pass options on. With `--check`, writes nothing and fails if a file is stale.
 */
import { generatedFiles } from "./files.ts";

const root = new URL("../../", import.meta.url);
const isCheck = Deno.args.includes("--check");
const stale: string[] = [];

for (
  const { path, write } of generatedFiles((path) => Deno.readTextFileSync(new URL(path, root)))
) {
  const url = new URL(path, root);
  const before = Deno.readTextFileSync(url);
  const after = write(before);
  if (before === after) continue;
  stale.push(path);
  if (!isCheck) Deno.writeTextFileSync(url, after);
}

if (isCheck && stale.length > 0) {
  console.error(
    `Run \`deno task generate\`: the table of options has changed. Stale: ${stale.join(", ")}`,
  );
  Deno.exit(1);
}
for (const path of stale) console.log(`Wrote ${path}`);
