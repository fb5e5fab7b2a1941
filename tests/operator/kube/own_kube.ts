/**
 * An API server and etcd of a test file's own, to be frozen and killed: started by the tools' `kube`,
 * without a node. Needs KUBE_TOOLS. KUBE_APISERVER names the program of an API server of another version.
 */
import { kubeFetch } from "../../../lib/runtime/deno/kube_fetch.ts";
import { readKubeConnection } from "../../../lib/config/kube_connection.ts";
import { KubeClient, type KubeClientOptions } from "../../../lib/kube/client.ts";
import { eventually, within } from "../../support/deadline.ts";
import { freePort as freeListenerPort } from "../../support/free_port.ts";
import { type AuditEntry, auditOptions, readAudit } from "./audit_log.ts";

const startTimeoutMs = 240_000;
const binaries = Deno.env.get("KUBE_BIN") ?? `${Deno.env.get("HOME")}/.cache/kube/bin`;
/** Another API server than the tools' own. */
export const apiServer = Deno.env.get("KUBE_APISERVER");

/**
 * Registers a test that needs an API server; ignored where there are no tools.
 *
 * @param hasRest Whether there is what it needs besides.
 */
export function kubeTest(
  name: string,
  test: (kube: OwnKube) => Promise<void>,
  hasRest = true,
): void {
  Deno.test({
    name,
    ignore: Deno.env.get("KUBE_TOOLS") === undefined || !hasRest,
    async fn() {
      await using kube = await OwnKube.start();
      await test(kube);
    },
  });
}

/** A ServiceAccount. */
export interface Account {
  readonly namespace: string;
  readonly name: string;
}

/** As whom the operator runs, by its chart. */
export const operatorAccount: Account = { namespace: "culvert", name: "culvert-operator" };

/** One API server. */
export class OwnKube implements AsyncDisposable {
  readonly #home: string;
  readonly #port: number;
  #binaries = binaries;
  #apiserver: Deno.ChildProcess | undefined;
  #controllers: Deno.ChildProcess | undefined;

  private constructor(home: string, port: number) {
    this.#home = home;
    this.#port = port;
  }

  static async start(): Promise<OwnKube> {
    const home = await Deno.makeTempDir({ prefix: "culvert-kube-" });
    const kube = new OwnKube(home, freePort());
    try {
      if (apiServer !== undefined) await kube.#replaceApiServer(apiServer);
      await kube.#tool("up");
      return kube;
    } catch (error) {
      await kube[Symbol.asyncDispose]();
      throw error;
    }
  }

  get kubeconfig(): string {
    return `${this.#home}/admin.conf`;
  }

  /** A client with all rights. */
  client(options: Partial<KubeClientOptions> = {}): { client: KubeClient; close: () => void } {
    const connection = readKubeConnection(this.kubeconfig, "Option --kubeconfig", {});
    const { fetch, close } = kubeFetch(connection);
    return { client: new KubeClient({ fetch, fieldManager: "test", ...options }), close };
  }

  /** Stops the API server where it is: connections stay, and nothing answers. */
  async freeze(): Promise<void> {
    Deno.kill(await this.#pid(), "SIGSTOP");
  }

  async thaw(): Promise<void> {
    Deno.kill(await this.#pid(), "SIGCONT");
  }

  /** Has the API server record all requests from now on; restarts it. */
  async startAudit(): Promise<void> {
    await this.restart(await auditOptions(this.#home));
  }

  /** The requests since {@link startAudit}. */
  audit(): Promise<AuditEntry[]> {
    return readAudit(this.#home);
  }

  /** Those of a ServiceAccount: the operator's unless said. */
  async auditOf({ namespace, name }: Account = operatorAccount): Promise<readonly AuditEntry[]> {
    const username = `system:serviceaccount:${namespace}:${name}`;
    return (await this.audit()).filter(({ user }) => user.username === username);
  }

  /** Kills the API server and starts it anew with the same etcd, its options and further ones. */
  async restart(options: readonly string[] = []): Promise<void> {
    const pid = await this.#pid();
    const [program = "", ...args] = (await Deno.readTextFile(`/proc/${pid}/cmdline`))
      .split("\0").filter((arg) => arg !== "");
    Deno.kill(pid, "SIGKILL");
    await this.#apiserver?.status;
    await eventually(() => !isThere(`/proc/${pid}/fd`), "the API server to end");
    this.#apiserver = new Deno.Command(program, {
      args: [...args, ...options],
      cwd: this.#home,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await Deno.writeTextFile(`${this.#home}/run/apiserver.pid`, `${this.#apiserver.pid}\n`);
    const { client, close } = this.client({ timeoutMs: 2_000 });
    const path = { group: "", version: "v1", kind: "Namespace", plural: "namespaces" };
    await eventually(
      () =>
        client.get({ ...path, isNamespaced: false }, { name: "default" })
          .then(() => true, () => false),
      "the API server to answer again",
      startTimeoutMs,
    );
    close();
  }

  /** Starts some of Kubernetes' own controllers. */
  startControllers(names: readonly string[]): void {
    const port = freeListenerPort();
    this.#controllers = new Deno.Command(`${binaries}/kube-controller-manager`, {
      args: [
        ...["--kubeconfig", this.kubeconfig, "--authentication-kubeconfig", this.kubeconfig],
        ...["--authorization-kubeconfig", this.kubeconfig, "--bind-address", "127.0.0.1"],
        ...["--secure-port", String(port), "--leader-elect=false"],
        ...["--controllers", names.join(",")],
        ...["--service-account-private-key-file", `${this.#home}/pki/sa.key`],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** All objects as etcd has them, Secrets left out. */
  async everything(): Promise<string> {
    return [...await this.stored()].filter(([key]) => !key.startsWith("/registry/secrets/"))
      .map(([, value]) => value).join("\n");
  }

  /** What etcd has, by key, such as `/registry/secrets/NAMESPACE/NAME`. */
  async stored(): Promise<ReadonlyMap<string, string>> {
    const url = `http://127.0.0.1:${this.#port + 10_000}/v3/kv/range`;
    const all = { key: btoa("\0"), range_end: btoa("\0") };
    const response = await fetch(url, { method: "POST", body: JSON.stringify(all) });
    const { kvs } = await response.json() as { kvs: { key: string; value: string }[] };
    return new Map(kvs.map(({ key, value }) => [atob(key), atob(value)]));
  }

  /** Has etcd forget all revisions but the newest. */
  async compact(): Promise<void> {
    const url = `http://127.0.0.1:${this.#port + 10_000}/v3`;
    const post = async (path: string, body: unknown) => {
      const response = await fetch(url + path, { method: "POST", body: JSON.stringify(body) });
      if (!response.ok) throw new Error(`etcd: ${path}: ${await response.text()}`);
      return await response.json();
    };
    const { header } = await post("/kv/range", { key: btoa("\0") });
    await post("/kv/compaction", { revision: header.revision, physical: true });
  }

  async #pid(): Promise<number> {
    return Number(await Deno.readTextFile(`${this.#home}/run/apiserver.pid`));
  }

  /** Has the tools start this API server beside their other programs. */
  async #replaceApiServer(program: string): Promise<void> {
    this.#binaries = `${this.#home}/bin`;
    await Deno.mkdir(this.#binaries);
    for await (const { name } of Deno.readDir(binaries)) {
      const original = name === "kube-apiserver" ? program : `${binaries}/${name}`;
      await Deno.symlink(original, `${this.#binaries}/${name}`);
    }
  }

  async #tool(word: "up" | "down"): Promise<void> {
    const tools = Deno.env.get("KUBE_TOOLS");
    const command = new Deno.Command(`${tools}/kube`, {
      args: [word],
      env: {
        KUBE_HOME: this.#home,
        KUBE_BIN: this.#binaries,
        KUBE_PORT: String(this.#port),
        KUBE_NODE: "0",
      },
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const { code } = await within(command.status, `kube ${word}`, startTimeoutMs);
    if (code !== 0) throw new Error(`kube ${word} ended with code ${code}`);
  }

  async #stopControllers(): Promise<void> {
    try {
      this.#controllers?.kill("SIGTERM");
    } catch {
      // It has ended.
    }
    await this.#controllers?.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      Deno.kill(await this.#pid(), "SIGCONT");
    } catch {
      // It has ended, or never began.
    }
    await this.#stopControllers();
    await this.#tool("down");
    await this.#apiserver?.status;
    await Deno.remove(this.#home, { recursive: true });
  }
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** A port that is free now, and so are those 10,000 above it, which etcd gets. */
function freePort(): number {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 9_000);
    if ([port, port + 10_000, port + 10_001].every(isFree)) return port;
  }
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}
