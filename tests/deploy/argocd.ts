/** A real Argo CD, and a git repository for its Applications. */
import { run } from "../e2e/command.ts";
import { fromEnvironment } from "../e2e/environment.ts";
import type { KubeClient } from "../e2e/kube_client.ts";
import { eventually } from "../support/deadline.ts";
import { borrow, borrowNamespace } from "./borrowed.ts";
import { must, tool } from "./tools.ts";

/** For Argo CD to see a change and sync it. */
export const syncTimeoutMs = 150_000;

/** A git repository with the manifests of an Application, in its folder `app`. */
export class Repository {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** An empty one, until the end. */
  static async create(stack: AsyncDisposableStack): Promise<Repository> {
    const folder = await Deno.makeTempDir({ prefix: "culvert-argocd-" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    return new Repository(folder);
  }

  /** Writes a manifest, commits it, and serves the repository; its URL. */
  async publish(manifest: unknown): Promise<string> {
    await Deno.mkdir(`${this.folder}/app`, { recursive: true });
    await Deno.writeTextFile(`${this.folder}/app/manifest.json`, JSON.stringify(manifest));
    await this.#git("init", "--quiet", "--initial-branch=main");
    await this.#git("add", "--all");
    const author = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    await this.#git(...author, "commit", "--quiet", "--message", "Another state");
    return await this.#serve((await this.#git("rev-parse", "HEAD")).trim());
  }

  /** Has the repository served until what is served is this commit; its URL. */
  async #serve(commit: string): Promise<string> {
    let url = "";
    await eventually(async () => {
      // The server that it replaces may still have the port, so once is not always enough.
      url = (await tool("argo", ["repo", this.folder])).trim();
      const { stdout } = await run("git", ["ls-remote", url, "main"]);
      return stdout.startsWith(commit);
    }, "the repository to be served");
    return url;
  }

  async #git(...args: string[]): Promise<string> {
    return await must("git", ["-C", this.folder, ...args]);
  }
}

/** Argo CD until the end; nothing of it stays in the cluster unless it was there. */
export async function startArgocd(stack: AsyncDisposableStack, client: KubeClient): Promise<void> {
  for (const kind of ["applications", "applicationsets", "appprojects"]) {
    const name = `${kind}.argoproj.io`;
    await borrow(stack, client, ["customresourcedefinition", name], () => Promise.resolve());
  }
  await borrowNamespace(stack, client, "argocd");
  stack.defer(async () => void await tool("argo", ["down"]));
  await tool("argo", ["up"], { timeoutMs: 180_000 });
}

/** Has Argo CD reach the API server directly, as a cluster of this name, until the end. */
export async function addDirectCluster(
  stack: AsyncDisposableStack,
  client: KubeClient,
  name: string,
): Promise<void> {
  const config = {
    bearerToken: (await Deno.readTextFile(fromEnvironment("KUBE_SA_TOKEN"))).trim(),
    tlsClientConfig: { caData: btoa(await Deno.readTextFile(fromEnvironment("KUBE_CA"))) },
  };
  const labels = { "argocd.argoproj.io/secret-type": "cluster" };
  const server = `https://${fromEnvironment("KUBE_API")}`;
  const secret = {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name, namespace: "argocd", labels },
    stringData: { name, server, config: JSON.stringify(config) },
  };
  stack.defer(async () => void await client.output(["-n", "argocd", "delete", "secret", name]));
  await client.output(["apply", "-f", "-"], { stdin: JSON.stringify(secret) });
}
