/** Every command of the documentation can be copied: a shell runs it, and its options are valid. */
import assert from "node:assert/strict";
import { parse } from "yaml";
import { names } from "./documented_options.ts";
import { culvertCommand, denoTask, isProgramName } from "./examples/culvert_command.ts";
import { ExampleShell, type Invocation } from "./examples/shell.ts";
import { blocks, exists, pages, readText, textFiles } from "./markdown.ts";

const { tasks }: { tasks: Record<string, { command: string }> } = JSON.parse(readText("deno.json"));

/** Programs whose commands must be in `sh` blocks, where the tests here find them. */
const commandLine =
  /^\s*(?:\$ )?(?:deno|npx|relay|agent|access|docker|kubectl|helm|curl|openssl) [\w./$"'-]/m;

Deno.test("docs: commands are in `sh` blocks, and write to no absolute path", () => {
  for (const page of pages) {
    for (const { info, text } of blocks(page)) {
      if (info === "sh") assert.doesNotMatch(text, />\s*"?\/(?!dev\/null)/, page);
      else assert.doesNotMatch(text, commandLine, `${page}: a block of ${info || "no language"}`);
    }
  }
});

Deno.test("docs: no block needs at once what it starts in the background", () => {
  const early = pages.flatMap((page) =>
    blocks(page).filter(({ info, text }) => info === "sh" && / &\n(?!.* &\n)./.test(text))
      .map(({ text }) => `${page}: ${text}`)
  );
  assert.deepEqual(early, []);
});

Deno.test("docs: JSON in `json` blocks can be read", () => {
  for (const page of pages) {
    for (const { info, text } of blocks(page)) {
      if (info !== "json") continue;
      const isLines = /^\{.*\}\n\{/.test(text);
      for (const part of isLines ? text.trimEnd().split("\n") : [text]) JSON.parse(part);
    }
  }
});

Deno.test("docs: YAML in `yaml` blocks can be read", () => {
  for (const page of pages) {
    for (const { info, text } of blocks(page)) {
      if (info === "yaml") assert.ok(parse(text, { strict: true }), `${page}: ${text}`);
    }
  }
});

Deno.test("deploy: kubectl --server has a kubeconfig of its own, and sends nobody's credential", () => {
  const printed = [...textFiles("deploy"), ...pages];
  const lines = printed.flatMap((path) => readText(path).split("\n").map((line) => [path, line]));
  const calls = lines.filter(([, line]) => /kubectl[^`]* --server[ =]\S/.test(line!));
  assert.notEqual(calls.length, 0);
  for (const [path, line] of calls) assert.match(line!, /--kubeconfig /, path!);
});

for (const page of pages.filter((page) => blocks(page).some(({ info }) => info === "sh"))) {
  Deno.test({
    name: `${page}: a shell runs its examples, and no program refuses their options`,
    // They are for bash with the tools of GNU.
    ignore: Deno.build.os !== "linux",
    fn: () => checkExamples(page),
  });
}

async function checkExamples(page: string): Promise<void> {
  await using shell = await ExampleShell.open();
  const invocations = await shell.run(page);
  assert.ok(invocations.length > 0);
  assert.deepEqual(await optionFaults(invocations, shell.clone), []);
  for (const invocation of invocations) {
    checkTask(invocation);
    checkFiles(invocation);
    checkKubectl(invocation);
  }
  for (const name of shell.ownFiles()) {
    assert.ok(isIgnoredByGit(name), `${name} is missing in .gitignore`);
  }
}

Deno.test("examples: a command line that a program would refuse is found, however it is started", async () => {
  const commands = [
    ["relay", "--clusters", "[]", "--callers", "open", "--nonsense"],
    ["deno", "task", "agent", "--server", "wss://relay.example.com/connect"],
    ["npx", "-y", "deno@2.9.6", "task", "relay", "kubeconfig", "dev"],
    ["docker", "run", "--rm", "registry.example.com/culvert-relay:1.2.3", "token", "--nonsense"],
    ["relay", "token", "--cluster", "dev"],
    ["operator", "drain", "--policy", "nonsense"],
  ];
  const cwd = Deno.cwd();
  const invocations = commands.map(([name = "", ...argv]) => ({ name, argv, cwd, env: {} }));
  const faults = await optionFaults(invocations, cwd);
  assert.deepEqual(faults.map((fault) => fault.split(" ").slice(0, 2).join(" ")), [
    "relay --clusters",
    "agent --server",
    "relay kubeconfig",
    "relay token",
    "operator drain",
  ]);
});

/** Whether git leaves out a file in the clone: what examples write is mostly secret. */
function isIgnoredByGit(name: string): boolean {
  const { code } = new Deno.Command("git", {
    args: ["check-ignore", "--no-index", "--quiet", name],
    cwd: new URL("../../", import.meta.url),
  }).outputSync();
  return code === 0;
}

/** What the programs would say about the options of their command lines. */
async function optionFaults(invocations: readonly Invocation[], cwd: string): Promise<string[]> {
  const commands = invocations.flatMap((invocation) => culvertCommand(invocation) ?? []);
  if (commands.length === 0) return [];
  const script = new URL("examples/parse_commands.ts", import.meta.url).pathname;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, JSON.stringify(commands)],
    cwd,
  }).output();
  const text = new TextDecoder().decode(stdout);
  return text === "" ? [new TextDecoder().decode(stderr)] : JSON.parse(text);
}

/** Where the options of the other tasks are written. */
const optionSources: Record<string, string> = {
  demo: "deploy/demo/main.ts",
  bench: "tests/bench/options.ts",
  fuzz: "tests/fuzz/main.ts",
  soak: "tests/bench/soak.ts",
  chaos: "tests/bench/chaos.ts",
};

function checkTask(invocation: Invocation): void {
  const task = denoTask(invocation);
  if (!task || isProgramName(task.name)) return;
  assert.ok(tasks[task.name], `deno task ${task.name}`);
  const known = names(readText(optionSources[task.name] ?? "deno.json"));
  for (const option of names(task.argv.join(" "))) {
    assert.ok(known.has(option), `deno task ${task.name}: --${option}`);
  }
}

/** Files of the repository that a command names are there. */
function checkFiles({ argv }: Invocation): void {
  for (const word of argv) {
    const [path] = /(?:^|(?<==))(?:deploy|docs|tests|lib)\/\S+/.exec(word) ?? [];
    if (path) assert.ok(exists(path), argv.join(" "));
  }
}

/** Beside a normal kubeconfig, `--server` alone would send the current context's credential. */
function checkKubectl({ name, argv }: Invocation): void {
  if (name !== "kubectl" || !argv.some((word) => word.includes("/tunnel/"))) return;
  assert.ok(argv.includes("--kubeconfig"), `kubectl ${argv.join(" ")}`);
}
