/** The entries of the relay's folder of clusters: compiled for each namespace, and written. */
import type { KubeObject } from "../../kube/objects.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { ArgocdSecrets } from "./argocd_secrets.ts";
import {
  type ClusterTable,
  compileClusters,
  fileOf,
  type ReadCluster,
  readCluster,
} from "./cluster_table.ts";
import { inNamespace, type ManagementContext } from "./management_context.ts";
import { clustersSecretName, ForeignSecret, type RelaySecrets } from "./relay_secrets.ts";

/** What a file came to. */
interface WrittenFile {
  readonly text: string;
  readonly atMs: number;
}

/** Writes them. */
export class ClusterEntries {
  readonly #context: ManagementContext;
  readonly #relaySecrets: RelaySecrets;
  readonly #argocd: ArgocdSecrets;
  readonly #tables = new Map<string, ClusterTable>();
  /** By `NAMESPACE/FILE`. */
  readonly #written = new Map<string, WrittenFile>();
  readonly #faults = new Map<string, string>();
  /** By namespace: what was said of each Cluster when they were written last. */
  readonly #verdicts = new Map<string, ClusterTable["verdicts"]>();

  constructor(context: ManagementContext, relaySecrets: RelaySecrets, argocd: ArgocdSecrets) {
    this.#context = context;
    this.#relaySecrets = relaySecrets;
    this.#argocd = argocd;
  }

  /** Clusters of the namespace have changed: they are compiled anew when they are asked for. */
  forget(namespace: string): void {
    this.#tables.delete(namespace);
  }

  /** Whether a Cluster counts. */
  verdict({ key, object }: ReadCluster): Verdict {
    return this.#table(object.metadata.namespace ?? "").verdicts.get(key) ??
      unknown("Waiting", "The Cluster is about to be read");
  }

  /** Whether a Cluster's entry is where the relay reads it, and since when. */
  programmed(
    { object, id }: ReadCluster,
  ): { readonly verdict: Verdict; readonly writtenMs: number } {
    const { namespace = "" } = object.metadata;
    const fault = this.#faults.get(namespace);
    if (fault !== undefined) return { verdict: no("Conflict", fault), writtenMs: 0 };
    const file = this.#written.get(`${namespace}/${fileOf(id)}`);
    const isWritten = file !== undefined &&
      file.text === this.#table(namespace).files.get(fileOf(id));
    return isWritten
      ? { verdict: yes("Written", `In Secret ${clustersSecretName}`), writtenMs: file.atMs }
      : { verdict: unknown("Programming", "The entry is about to be written"), writtenMs: 0 };
  }

  /** Writes a namespace's entries. @returns what has to be looked at afterwards, and when again */
  async write(
    namespace: string,
  ): Promise<{ readonly keys: readonly string[]; readonly again: number | undefined }> {
    const { files, verdicts } = this.#table(namespace);
    const hadFault = this.#faults.get(namespace);
    const isUsed = verdicts.size > 0 || await this.#hasSecret(namespace);
    // Without a Cluster there is no relay to write for, unless it has had some.
    if (!isUsed) return { keys: [], again: undefined };
    try {
      await this.#relaySecrets.write(namespace, clustersSecretName, files);
      this.#faults.delete(namespace);
    } catch (error) {
      if (!(error instanceof ForeignSecret)) throw error;
      this.#faults.set(namespace, error.message);
    }
    const hasChanged = this.#remember(namespace, files) ||
      hadFault !== this.#faults.get(namespace);
    const before = this.#verdicts.get(namespace);
    this.#verdicts.set(namespace, verdicts);
    const keys = [...verdicts].filter(([key, verdict]) =>
      hasChanged || before?.get(key)?.reason !== verdict.reason
    ).map(([key]) => key);
    return { keys, again: this.#context.settings.checkMs };
  }

  async #hasSecret(namespace: string): Promise<boolean> {
    return await this.#relaySecrets.isThere(namespace, clustersSecretName);
  }

  #remember(namespace: string, files: ClusterTable["files"]): boolean {
    if (this.#faults.has(namespace)) return false;
    let hasChanged = false;
    for (const [name, text] of files) {
      const key = `${namespace}/${name}`;
      if (this.#written.get(key)?.text === text) continue;
      this.#written.set(key, { text, atMs: performance.now() });
      hasChanged = true;
    }
    for (const key of this.#written.keys()) {
      const isOfNamespace = key.startsWith(`${namespace}/`);
      if (isOfNamespace && !files.has(key.slice(namespace.length + 1))) this.#written.delete(key);
    }
    return hasChanged;
  }

  #table(namespace: string): ClusterTable {
    const known = this.#tables.get(namespace);
    if (known) return known;
    const { view, settings } = this.#context;
    // A policy that is not there would have the relay refuse all entries.
    const canAsk = view !== undefined && view.hasAnswered && namespace === settings.namespace;
    const table = compileClusters(
      this.#clusters(namespace),
      canAsk ? (name) => view.hasPolicy(name) : undefined,
    );
    this.#tables.set(namespace, table);
    return table;
  }

  /** A deleted Cluster counts while Applications use it: they could not be taken away otherwise. */
  #clusters(namespace: string): ReadCluster[] {
    const objects: KubeObject[] = inNamespace(this.#context.world.values("clusters"), namespace);
    return objects.map(readCluster).filter((cluster) =>
      !cluster.isDeleted || (cluster.spec?.argocd.keepWhileInUse ?? true) &&
        this.#argocd.usersOf(cluster.key).length > 0
    );
  }
}
