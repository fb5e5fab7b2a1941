/** The entries of the relay's folder of clusters: compiled for each namespace, and written. */
import type { KubeObject } from "../../kube/objects.ts";
import { clusters } from "../api/crds.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { ArgocdSecrets } from "./argocd_secrets.ts";
import { allot, clustersSecretNames, type Files } from "./cluster_shards.ts";
import {
  clusterOfFile,
  type ClusterTable,
  compileClusters,
  fileOf,
  type ReadCluster,
  readCluster,
} from "./cluster_table.ts";
import { inNamespace, type ManagementContext } from "./management_context.ts";
import { ForeignSecret, type MountedSecret, type RelaySecrets } from "./relay_secrets.ts";

/** What a file came to. */
interface WrittenFile {
  readonly text: string;
  /** Where it is. */
  readonly secret: string;
  readonly atMs: number;
}

/** What is known of a namespace's Secrets. */
interface WrittenEntries {
  /** Those that are looked at. */
  secrets: readonly string[];
  /** The files that were written, by name. */
  written: ReadonlyMap<string, WrittenFile>;
  /** Files for which there is no room. */
  leftOut: ReadonlySet<string>;
  /** Why nothing can be written. */
  fault: string | undefined;
  /** What was said of each Cluster when they were written last, by key. */
  verdicts: ClusterTable["verdicts"];
}

/** How long to wait until Clusters that a list left out are compiled, in milliseconds. */
const soonMs = 10;
const fullMessage =
  `The Secrets ${clustersSecretNames[0]} to ${clustersSecretNames.at(-1)} have no ` +
  "room for the entry; remove Clusters, or have another relay for some of them";

/** Writes them. */
export class ClusterEntries {
  readonly #context: ManagementContext;
  readonly #relaySecrets: RelaySecrets;
  readonly #argocd: ArgocdSecrets;
  readonly #tables = new Map<string, ClusterTable>();
  readonly #entries = new Map<string, WrittenEntries>();

  constructor(context: ManagementContext, relaySecrets: RelaySecrets, argocd: ArgocdSecrets) {
    this.#context = context;
    this.#relaySecrets = relaySecrets;
    this.#argocd = argocd;
  }

  /** This replica begins to act: another one may have written since. */
  begin(): void {
    this.#entries.clear();
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
    cluster: ReadCluster,
  ): { readonly verdict: Verdict; readonly writtenMs: number } {
    const { namespace = "" } = cluster.object.metadata;
    const file = fileOf(cluster);
    const { fault, leftOut, written } = this.#entriesOf(namespace);
    if (fault !== undefined) return { verdict: no("Conflict", fault), writtenMs: 0 };
    if (leftOut.has(file)) return { verdict: no("SecretsFull", fullMessage), writtenMs: 0 };
    const there = written.get(file);
    return there !== undefined && there.text === this.#table(namespace).files.get(file)
      ? { verdict: yes("Written", `In Secret ${there.secret}`), writtenMs: there.atMs }
      : { verdict: unknown("Programming", "The entry is about to be written"), writtenMs: 0 };
  }

  /** Writes a namespace's entries. @returns what has to be looked at afterwards, and when again */
  async write(
    namespace: string,
  ): Promise<{ readonly keys: readonly string[]; readonly again: number | undefined }> {
    const { files, verdicts } = this.#table(namespace);
    const entries = this.#entriesOf(namespace);
    const before = { ...entries };
    try {
      const there = await this.#read(namespace);
      // Without a Cluster there is no relay to write for, unless it has had some.
      if (verdicts.size === 0 && there.size === 0) return { keys: [], again: undefined };
      if (await this.#findUnlisted(namespace, there, files)) return { keys: [], again: soonMs };
      await this.#write(namespace, files, there);
      entries.fault = undefined;
    } catch (error) {
      if (!(error instanceof ForeignSecret)) throw error;
      entries.fault = error.message;
    }
    const hasChanged = before.fault !== entries.fault || before.written !== entries.written ||
      !isSameSet(before.leftOut, entries.leftOut);
    entries.verdicts = verdicts;
    const keys = [...verdicts].filter(([key, verdict]) =>
      hasChanged || before.verdicts.get(key)?.reason !== verdict.reason
    ).map(([key]) => key);
    return { keys, again: this.#context.settings.checkMs };
  }

  /** The Secrets that are there: at first all, later those in use. */
  async #read(namespace: string): Promise<Map<string, MountedSecret>> {
    const entries = this.#entriesOf(namespace);
    const there = new Map<string, MountedSecret>();
    for (const name of entries.secrets) {
      const secret = await this.#relaySecrets.read(namespace, name);
      if (secret) there.set(name, secret);
    }
    return there;
  }

  /**
   * Looks for Clusters whose files are there, and which were in no list: whoever stands between may
   * have left them out, and nothing else would tell before the relay has lost their entries.
   */
  async #findUnlisted(
    namespace: string,
    there: ReadonlyMap<string, MountedSecret>,
    wanted: Files,
  ): Promise<boolean> {
    const { caches, client } = this.#context;
    const dropped = [...there.values()].flatMap(({ files }) => [...files])
      .filter(([file]) => !wanted.has(file))
      .flatMap(([file, text]) => clusterOfFile(file, text) ?? []);
    let isFound = false;
    for (const name of dropped) {
      if (caches.get("clusters", `${namespace}/${name}`)) continue;
      const object = await client.find(clusters, { namespace, name });
      if (!object) continue;
      caches.learn("clusters", object);
      isFound = true;
    }
    if (isFound) this.forget(namespace);
    return isFound;
  }

  async #write(
    namespace: string,
    wanted: Files,
    there: ReadonlyMap<string, MountedSecret>,
  ): Promise<void> {
    const entries = this.#entriesOf(namespace);
    const present = new Map([...there].map(([name, { files }]) => [name, files]));
    const { files, leftOut } = allot(
      wanted,
      present,
      this.#context.settings.maxSecretBytes,
    );
    // What moves to another Secret must not be missing in between.
    const gains = ([name, inSecret]: [string, Files]) =>
      [...inSecret.keys()].some((file) => !present.get(name)?.has(file));
    const sorted = [...files].sort((one, other) => Number(gains(other)) - Number(gains(one)));
    for (const [name, inSecret] of sorted) {
      const known = there.get(name) ?? await this.#relaySecrets.read(namespace, name);
      await this.#relaySecrets.write(namespace, name, inSecret, known);
    }
    entries.secrets = [...files.keys()];
    entries.leftOut = leftOut;
    this.#remember(entries, files);
  }

  /** Keeps what was written, as it was if nothing has changed. */
  #remember(entries: WrittenEntries, files: ReadonlyMap<string, Files>): void {
    const written = new Map<string, WrittenFile>();
    let hasChanged = false;
    for (const [secret, inSecret] of files) {
      for (const [file, text] of inSecret) {
        const before = entries.written.get(file);
        const isSame = before?.text === text && before.secret === secret;
        written.set(file, isSame ? before : { text, secret, atMs: performance.now() });
        hasChanged ||= !isSame;
      }
    }
    if (hasChanged || written.size !== entries.written.size) entries.written = written;
  }

  #entriesOf(namespace: string): WrittenEntries {
    const known = this.#entries.get(namespace);
    if (known) return known;
    const entries: WrittenEntries = {
      secrets: clustersSecretNames,
      written: new Map(),
      leftOut: new Set(),
      fault: undefined,
      verdicts: new Map(),
    };
    this.#entries.set(namespace, entries);
    return entries;
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
    const objects: KubeObject[] = inNamespace(this.#context.caches.values("clusters"), namespace);
    return objects.map(readCluster).filter((cluster) =>
      !cluster.isDeleted || (cluster.spec?.argocd.keepWhileInUse ?? true) &&
        this.#argocd.usersOf(cluster.key).length > 0
    );
  }
}

function isSameSet(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size === other.size && [...one].every((it) => other.has(it));
}
