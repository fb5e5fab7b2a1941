import assert from "node:assert/strict";
import {
  parseAccessHttpOptions,
  parseAccessServicesOptions,
  parseAccessTcpOptions,
} from "../../lib/config/access_options.ts";
import {
  parseAccessKubectlTokenOptions,
  parseAccessLoginOptions,
  parseAccessLogoutOptions,
} from "../../lib/config/access_login_options.ts";
import { parseDrainOptions } from "../../lib/config/commands/drain_options.ts";
import { parseOperatorOptions } from "../../lib/config/operator_options.ts";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import {
  parseClustersOptions,
  parsePlainOptions,
  parseSessionsOptions,
  parseStreamsOptions,
  statusProgram,
} from "../../lib/config/commands/admin_options.ts";
import { parseArgocdSecretOptions } from "../../lib/config/commands/argocd_options.ts";
import { parseKubeconfigOptions } from "../../lib/config/commands/kubeconfig_options.ts";
import { parseTokenOptions } from "../../lib/config/commands/token_options.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { names } from "./documented_options.ts";
import {
  anchorsOf,
  code,
  commands,
  exists,
  headingsOf,
  pages,
  readText,
  table,
  textFiles,
} from "./markdown.ts";

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

/** Options of culvert's programs, their commands and tasks. */
function ownOptions(): Set<string> {
  const helps = [
    parseRelayOptions,
    parseAgentOptions,
    parseOperatorOptions,
    parseDrainOptions,
    parseKubeconfigOptions,
    parseArgocdSecretOptions,
    parseTokenOptions,
    parsePlainOptions(statusProgram),
    parseClustersOptions,
    parseSessionsOptions,
    parseStreamsOptions,
    parseAccessTcpOptions,
    parseAccessHttpOptions,
    parseAccessServicesOptions,
    parseAccessLoginOptions,
    parseAccessLogoutOptions,
    parseAccessKubectlTokenOptions,
  ].map((parse) => {
    const parsed = parse(["--help"], {});
    assert.ok(parsed.kind === "help");
    return parsed.text;
  });
  const tasks = ["bench/options", "bench/soak", "fuzz/main", "comparison/main"].map((name) =>
    `tests/${name}.ts`
  );
  const sources = ["deploy/demo/main.ts", "deploy/generate/main.ts", ...tasks].map(readText);
  return new Set([...helps, ...sources].flatMap((text) => [...names(text)]));
}

/** Options of other programs that the pages speak of. */
const otherOptions: Record<string, readonly string[]> = {
  curl: ["cacert", "cert", "key"],
  deno: [
    "allow-env",
    "allow-net",
    "allow-read",
    "allow-run",
    "allow-write",
    "no-config",
    "no-prompt",
  ],
  docker: ["build", "build-arg", "env-file"],
  helm: ["no-hooks", "set", "wait"],
  "external-dns": ["source"],
  "ingress-nginx": ["enable-ssl-passthrough"],
  kubectl: [
    "all",
    "append-server-path",
    "as",
    "as-group",
    "cascade",
    "context",
    "overwrite",
    "previous",
    "raw",
    "replicas",
    "since",
  ],
  prometheus: ["web"],
  "oauth2-proxy": [
    ...["api-route", "code-challenge-method", "cookie-csrf-per-request", "cookie-name"],
    ...["cookie-csrf-per-request-limit", "cookie-samesite", "insecure-oidc-skip-nonce"],
  ],
  v8: ["max-semi-space-size", "no-allocation-site-pretenuring", "v8-flags"],
};

Deno.test("docs: options in their text are culvert's, or those of a program that is named here", () => {
  const known = new Set([...ownOptions(), ...Object.values(otherOptions).flat()]);
  let count = 0;
  for (const page of pages) {
    const prose = readText(page).replaceAll(/^ *```[\s\S]*?^ *```$/gm, "");
    for (const [span] of prose.matchAll(/`[^`]*`/g)) {
      for (const [, option] of span.matchAll(/(?<![\w-])--([a-z][\w-]*)(?![\w-]*…)/g)) {
        assert.ok(known.has(option!), `${page}: --${option} in ${span}`);
        count++;
      }
    }
  }
  assert.ok(count > 300, `${count} options were looked at`);
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

Deno.test("docs: the pages and sections that the code names are there", () => {
  let found = 0;
  for (const path of [...textFiles("lib"), ...textFiles("deploy"), ...textFiles("tests")]) {
    const named = readText(path).matchAll(
      /\b(docs\/[a-z-]+\.md)(?:#([\p{L}\w-]+)|\)?,? "([^"\n]+)"(?=[).;:]))?/gu,
    );
    for (const [text, page, anchor, section] of named) {
      found++;
      assert.ok(exists(page!), `${path}: ${text}`);
      if (anchor !== undefined) assert.ok(anchorsOf(page!).has(anchor), `${path}: ${text}`);
      if (section === undefined) continue;
      // The steps of a guide are numbered.
      const headings = headingsOf(page!).map((heading) => heading.replace(/^\d+\. /, ""));
      assert.ok(headings.includes(section), `${path}: ${text}`);
    }
  }
  assert.ok(found > 100, `${found} were found`);
});

Deno.test("docs: lines of prose are at most 100 columns", () => {
  for (const page of pages.filter((page) => page !== "docs/benchmarks.md")) {
    const prose = readText(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
    const long = prose.split("\n").filter((line) => line.length > 100 && !line.startsWith("|"));
    assert.deepEqual(long, [], page);
  }
});

Deno.test("docs/README.md: the index leads to every page", () => {
  const index = readText("docs/README.md");
  const missing = pages.filter((page) => page.startsWith("docs/") && page !== "docs/README.md")
    .filter((page) => !index.includes(`](${page.slice("docs/".length)}`));
  assert.deepEqual(missing, []);
});
