/**
 * Runs the `sh` blocks of a page in a real shell, in a folder of their own, with stand-ins for
 * programs that would reach a network or change the machine, and tells which programs they started.
 */
import { blockLines, readText } from "../markdown.ts";

/** A program that an example started. */
export interface Invocation {
  readonly name: string;
  readonly cwd: string;
  readonly argv: readonly string[];
  /** Its environment, without what every program of the shell has. */
  readonly env: Readonly<Record<string, string>>;
}

/** Programs that only write down how they were started. A program in neither list is not found. */
const standIns = [
  "access",
  "agent",
  "argocd",
  "cosign",
  "curl",
  "deno",
  "dig",
  "docker",
  "gh",
  "go",
  "helm",
  "install",
  "journalctl",
  "jq",
  "kc.sh",
  "kcadm.sh",
  "kubectl",
  "logrotate",
  "nginx",
  "npx",
  "operator",
  "promtool",
  "psql",
  "redis-cli",
  "relay",
  "rm",
  "ssh",
  "sudo",
  "systemctl",
  "tee",
  "traefik",
  "useradd",
  "userdel",
];

/** Programs that run for real: they work on the example's own files. */
const realPrograms = [
  "base64",
  "bash",
  "cat",
  "chmod",
  "cut",
  "date",
  "env",
  "grep",
  "head",
  "ls",
  "mkdir",
  "mktemp",
  "mv",
  "openssl",
  "realpath",
  "sed",
  "sh",
  "sha256sum",
  "tr",
];

const root = new URL("../../../", import.meta.url).pathname;

const standInPath = `${root}tests/docs/examples/stand_in.sh`;

/** Variables that every program of the shell has. */
const ambient = ["PATH", "HOME", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_"];

/** The folder in which a page's examples run; dispose it. */
export class ExampleShell implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Makes the folder, with the files that examples take for granted. */
  static async open(): Promise<ExampleShell> {
    const shell = new ExampleShell(await Deno.makeTempDir({ prefix: "culvert-examples-" }));
    for (const name of ["bin", "records", "tmp", "clone"]) await Deno.mkdir(shell.#path(name));
    for (const name of standIns) {
      await Deno.symlink(standInPath, shell.#path(`bin/${name}`));
    }
    for (const name of realPrograms) {
      await Deno.symlink(await which(name), shell.#path(`bin/${name}`));
    }
    await shell.#fillClone();
    await shell.#addKubeTools();
    await shell.#addKubeconfig();
    return shell;
  }

  /** Where the shell starts: the clone that the documentation speaks of. */
  get clone(): string {
    return this.#path("clone");
  }

  /** What the clone has that is not the repository's: folders end with a slash. */
  ownFiles(): string[] {
    return [...Deno.readDirSync(this.clone)].filter(({ isSymlink }) => !isSymlink)
      .map(({ name, isDirectory }) => isDirectory ? `${name}/` : name);
  }

  /** Runs the blocks of a page in order, in one shell that ends at the first failure. */
  async run(page: string): Promise<Invocation[]> {
    const lines = blockLines(readText(page), "sh");
    const script = [
      "set -euo pipefail",
      `trap 'echo "${page}:$((LINENO - ${scriptOffset})): $BASH_COMMAND" >&2' ERR`,
      ...lines,
    ];
    const path = this.#path("script.sh");
    await Deno.writeTextFile(path, script.join("\n"));
    const { success, stderr } = await new Deno.Command("/bin/bash", {
      args: [path],
      cwd: this.clone,
      clearEnv: true,
      env: {
        PATH: this.#path("bin"),
        HOME: this.#path("tmp"),
        TMPDIR: this.#path("tmp"),
        EXAMPLE_RECORDS: this.#path("records"),
        EXAMPLE_FILES: this.clone,
      },
      stdin: "null",
      signal: AbortSignal.timeout(60_000),
    }).output();
    if (!success) throw new Error(`${page}: ${new TextDecoder().decode(stderr)}`);
    return this.#readRecords();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }

  #path(name: string): string {
    return `${this.#folder}/${name}`;
  }

  /** Files of the repository, certificates, and lists as the pages name them. */
  async #fillClone(): Promise<void> {
    for (const name of ["deploy", "docs", "relay.ts", "agent.ts", "deno.json"]) {
      await Deno.symlink(`${root}${name}`, `${this.clone}/${name}`);
    }
    const script = `${root}deploy/openssl/certificates.sh`;
    await output(script, [this.clone, "dev", "relay.example.com"]);
    await Deno.remove(`${this.clone}/ca.srl`);
    for (const [copy, name] of [["agent", "agent-dev"], ["caller", "argocd"]]) {
      for (const ending of ["crt", "key"]) {
        await Deno.copyFile(`${this.clone}/${name}.${ending}`, `${this.clone}/${copy}.${ending}`);
      }
    }
    await Deno.copyFile(`${this.clone}/ca.crt`, `${this.clone}/target-ca.crt`);
    await output("/bin/sh", ["-c", `cd ${this.clone} && sha256sum deno.json > SHA256SUMS`]);
    const token = "0123456789abcdef0123456789abcdef";
    const files = {
      "clusters.json": JSON.stringify([{ id: "dev", token, targetAddr: "127.0.0.1:6443" }]),
      "tunnel.token": token,
      "agent.token": token,
      "caller.token": token,
      "callers.json": JSON.stringify([{ name: "me", token, clusters: ["dev"] }]),
      "admin.token": `${token}\n`,
      "admin-tokens.json": JSON.stringify([{ name: "ops", token, clusters: ["*"] }]),
      "caller-certificates.json": JSON.stringify([{ name: "argocd", clusters: ["*"] }]),
    };
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${this.clone}/${name}`, text);
    }
  }

  /** Beside the clone, the scripts that start a Kubernetes. */
  async #addKubeTools(): Promise<void> {
    await Deno.mkdir(this.#path("shared/kube"), { recursive: true });
    for (const name of ["argo", "kube"]) {
      await Deno.symlink(standInPath, this.#path(`shared/kube/${name}`));
    }
  }

  /** The user's own kubeconfig. */
  async #addKubeconfig(): Promise<void> {
    await Deno.mkdir(this.#path("tmp/.kube"), { recursive: true });
    const config = {
      clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:6443" } }],
      users: [{ name: "u", user: { token: "token" } }],
      contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
      "current-context": "c",
    };
    await Deno.writeTextFile(this.#path("tmp/.kube/config"), JSON.stringify(config));
  }

  #readRecords(): Invocation[] {
    return [...Deno.readDirSync(this.#path("records"))].map(({ name }) =>
      readRecord(Deno.readTextFileSync(this.#path(`records/${name}`)))
    );
  }
}

/** Lines of the script in front of the page's first. */
const scriptOffset = 2;

function readRecord(text: string): Invocation {
  const [name = "", cwd = "", count = "", ...rest] = text.split("\0");
  const env = rest.slice(Number(count)).filter((entry) => entry.includes("=")).map(
    (entry): [string, string] => [
      entry.slice(0, entry.indexOf("=")),
      entry.slice(entry.indexOf("=") + 1),
    ],
  );
  const own = env.filter(([key]) => !ambient.includes(key) && !key.startsWith("EXAMPLE_"));
  return { name, cwd, argv: rest.slice(0, Number(count)), env: Object.fromEntries(own) };
}

async function which(name: string): Promise<string> {
  return (await output("/bin/sh", ["-c", `command -v ${name}`])).trim();
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args: [...args] }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}
