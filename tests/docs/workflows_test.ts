/** The workflow files, which run elsewhere only: what they name is here, and what they use is pinned. */
import assert from "node:assert/strict";
import { parse } from "yaml";
import { code, exists, readText, table } from "./markdown.ts";

const folder = ".github/workflows";
const paths = ["ci", "release"].map((name) => `${folder}/${name}.yaml`);

interface Step {
  readonly uses?: string;
  readonly run?: string;
  readonly with?: Readonly<Record<string, unknown>>;
}

interface Job {
  readonly steps?: readonly Step[];
  readonly uses?: string;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly "timeout-minutes"?: number;
}

interface Workflow {
  readonly permissions: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly jobs: Readonly<Record<string, Job>>;
}

const workflows = paths.map((path) => ({ path, text: readText(path), ...read(path) }));

function read(path: string): Workflow {
  return parse(readText(path), { strict: true });
}

Deno.test("workflows: actions are pinned to the commit of a release", () => {
  for (const { path, text } of workflows) {
    const uses = [...text.matchAll(/^ *-? *uses: (.*)$/gm)].map((match) => match[1]!);
    for (const action of uses.filter((action) => !action.startsWith("./"))) {
      assert.match(action, /^[\w.-]+\/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/, path);
    }
  }
  const pins = new Map<string, string>();
  for (
    const [, action, pin] of workflows.flatMap((
      { text },
    ) => [...text.matchAll(/uses: ([\w/-]+)@(.+)$/gm)])
  ) {
    assert.equal(pins.get(action!) ?? pin, pin, `${action} has one version everywhere`);
    pins.set(action!, pin!);
  }
  assert.ok(pins.size > 5);
});

Deno.test("workflows: jobs may read only, unless they say what they write, and end in time", () => {
  for (const { path, permissions, jobs } of workflows) {
    assert.deepEqual(permissions, { contents: "read" }, path);
    for (const [name, job] of Object.entries(jobs)) {
      if (job.uses === undefined) assert.ok(job["timeout-minutes"], `${path}: ${name}`);
      for (const { uses, with: options } of job.steps ?? []) {
        const keepsToken = uses?.startsWith("actions/checkout@") &&
          options?.["persist-credentials"] !== false;
        assert.ok(!keepsToken, `${path}: ${name} leaves its token in .git`);
      }
    }
  }
});

Deno.test("workflows: what comes from outside enters no script as text", () => {
  for (const { path, jobs } of workflows) {
    for (const { run = "" } of Object.values(jobs).flatMap(({ steps = [] }) => steps)) {
      for (const [, expression] of run.matchAll(/\$\{\{ *([^}]*?) *\}\}/g)) {
        assert.equal(expression, "matrix.program", path);
      }
    }
  }
});

Deno.test("workflows: their Deno is the one that the tests run with", () => {
  const version = /^readonly deno_version=([\d.]+)$/m.exec(readText(".ci/run"))?.[1];
  for (const { path, env } of workflows) assert.equal(env["DENO_VERSION"], version, path);
});

Deno.test("workflows: tasks and files that they name are there", () => {
  const { tasks } = JSON.parse(readText("deno.json"));
  let count = 0;
  for (const { path, text } of workflows) {
    for (const [, task] of text.matchAll(/deno task ([\w:]+)/g)) {
      assert.ok(task! in tasks, `${path}: ${task}`);
      count++;
    }
    const named = text.replaceAll("${{ matrix.program }}", "relay").replaceAll(
      "$CHART",
      "culvert-relay",
    );
    for (const [file] of named.matchAll(/(?:deploy|tests|\.ci|docs)\/[\w./-]+\w/g)) {
      assert.ok(exists(file), `${path}: ${file}`);
      count++;
    }
  }
  assert.ok(count > 10, `${count} were looked at`);
});

Deno.test("workflows: development.md has the jobs of CI", () => {
  const written = table("docs/development.md", ["job", "does"]).map((row) => code(row["job"]!));
  assert.deepEqual(written, Object.keys(workflows[0]!.jobs));
});

Deno.test("sbom.ts: lists what deno.lock pins of the programs' packages, and no types", async () => {
  const args = ["run", "--allow-run", "--allow-read", "deploy/sbom.ts"];
  const cwd = new URL("../../", import.meta.url);
  const output = await new Deno.Command(Deno.execPath(), { args, cwd }).output();
  const { success, stdout, stderr } = output;
  assert.ok(success, new TextDecoder().decode(stderr));
  const bom: {
    readonly components: readonly { "bom-ref": string; name: string; version: string }[];
    readonly dependencies: readonly { ref: string; dependsOn: readonly string[] }[];
  } = JSON.parse(new TextDecoder().decode(stdout));
  const rows = table("docs/dependencies.md", ["package", "version", "used in", "why"]);
  const ours = rows.filter((row) => row["used in"]!.includes("`lib/"))
    .map((row) => code(row["package"]!)).filter((name) => !name.startsWith("@types/"));
  const names = bom.components.map(({ name }) => name);
  for (const name of ours) assert.ok(names.includes(name), name);
  assert.ok(!names.includes("fast-check"), "what only tests use is no part of the programs");
  assert.deepEqual(names.filter((name) => name.startsWith("@types/")), []);
  const refs = new Set(["culvert", ...bom.components.map((component) => component["bom-ref"])]);
  for (const { ref, dependsOn } of bom.dependencies) {
    for (const name of [ref, ...dependsOn]) assert.ok(refs.has(name), name);
  }
});
