import assert from "node:assert/strict";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { names } from "./documented_options.ts";
import { anchorsOf, blocks, code, commands, exists, pages, readText, table } from "./markdown.ts";

interface DenoConfig {
  license: string;
  tasks: Record<string, { command: string }>;
}

const config: DenoConfig = JSON.parse(readText("deno.json"));

Deno.test("docs: every `deno task` that a page names is in deno.json", () => {
  for (const page of pages) {
    for (const match of readText(page).matchAll(/deno(?:@[\d.]+)? task ([\w:]+)/g)) {
      assert.ok(config.tasks[match[1]!], `${page}: ${match[0]}`);
    }
  }
});

Deno.test("development.md: the table has every task of deno.json", () => {
  const written = table("docs/development.md", ["task", "does"]).map((row) => code(row["task"]!));
  const real = Object.keys(config.tasks).map((name) => `deno task ${name}`);
  assert.deepEqual(new Set(written), new Set(real));
});

Deno.test("README.md: both commands for a fresh machine name the Deno that CI runs", () => {
  const version = /^readonly deno_version=([\d.]+)$/m.exec(readText(".ci/run"))?.[1];
  const written = commands("README.md").filter((command) => command.startsWith("npx "));
  assert.deepEqual(written, [
    `npx -y deno@${version} task demo`,
    `npx -y deno@${version} task test`,
  ]);
});

/** What a program's command line may have, without dashes. */
function optionsOf(program: string): Set<string> {
  if (program === "demo") return names(readText("deploy/demo/main.ts"));
  const parse = program === "relay" ? parseRelayOptions : parseAgentOptions;
  const parsed = parse(["--help"], {});
  assert.ok(parsed.kind === "help");
  return names(parsed.text);
}

Deno.test("README.md, migration.md: options in their text are the programs'", () => {
  const known = new Set([...optionsOf("relay"), ...optionsOf("agent"), ...optionsOf("demo")]);
  for (const page of ["README.md", "docs/migration.md"]) {
    const prose = readText(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
    for (const match of prose.matchAll(/`--?([a-z][\w-]*)[ `]/g)) {
      assert.ok(known.has(match[1]!), `${page}: ${match[0]}`);
    }
  }
});

Deno.test("README.md: the clusters file that it writes is valid", () => {
  const json = /echo '(\[.*\])' > clusters\.json/.exec(readText("README.md"))?.[1];
  assert.ok(json);
  const clusters = json.replace(/'\$\(.*\)'/, "0123456789abcdef");
  assert.equal(parseRelayOptions(["-clusters", clusters, "-callers", "open"], {}).kind, "run");
});

Deno.test("README.md: the licence is deno.json's and the LICENSE file's", () => {
  assert.match(readText("README.md"), new RegExp(`\\[${config.license}\\]\\(LICENSE\\)`));
  assert.match(readText("LICENSE"), /Apache License\s+Version 2\.0/);
});

Deno.test("docs: every link inside the project leads somewhere", () => {
  for (const page of pages) {
    const folder = page.includes("/") ? page.slice(0, page.lastIndexOf("/") + 1) : "";
    for (const match of readText(page).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const [link, path = "", anchor] = match;
      const file = path === "" ? page : new URL(path, `file:///${folder}`).pathname.slice(1);
      assert.ok(exists(file), `${page}: ${link}`);
      if (anchor !== undefined) assert.ok(anchorsOf(file).has(anchor), `${page}: ${link}`);
    }
  }
});

Deno.test("development.md: what its layout names is there", () => {
  const layout = blocks("docs/development.md").find(({ text }) => text.includes("lib/protocol"));
  assert.ok(layout);
  for (const line of layout.text.trimEnd().split("\n")) {
    for (const path of line.split(/ {2,}/)[0]!.split(" ")) assert.ok(exists(path), path);
  }
});

Deno.test("docs: lines of prose are at most 100 columns", () => {
  for (const page of pages.filter((page) => page !== "docs/benchmarks.md")) {
    const prose = readText(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
    const long = prose.split("\n").filter((line) => line.length > 100 && !line.startsWith("|"));
    assert.deepEqual(long, [], page);
  }
});
