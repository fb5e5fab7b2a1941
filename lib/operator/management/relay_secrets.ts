/** Secrets that the relay has mounted: made here, and never somebody else's. */
import type { KubeObject } from "../../kube/objects.ts";
import { pods, secrets } from "../../kube/resources.ts";
import { annotatePods } from "../agents/annotate_pods.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import { stamped } from "../applied.ts";
import { secretData, secretText } from "../secret_text.ts";
import { clustersSecretNames, type Files } from "./cluster_shards.ts";
import type { ManagementContext } from "./management_context.ts";

/** The tokens of the relay's admin API. */
export const adminTokensSecretName = "culvert-relay-admin-tokens";
/** The operator's own token of the relay's admin API. */
export const ownTokenSecretName = "culvert-relay-operator-token";
export const adminTokensKey = "tokens.json";

/** On the relay's pods: changes with the files, so that kubelet renews their mount at once. */
const filesAnnotation = "culvert.dev/relay-files";

/** A Secret of this name exists, and is not ours. */
export class ForeignSecret extends Error {
  override readonly name = "ForeignSecret";
}

/** A Secret as it was read. */
export interface MountedSecret {
  readonly object: KubeObject;
  readonly files: Files;
}

/** Reads and writes them. */
export class RelaySecrets {
  readonly #context: ManagementContext;
  /** The digest of each Secret's known content, by `NAMESPACE/NAME`. */
  readonly #written = new Map<string, string>();

  constructor(context: ManagementContext) {
    this.#context = context;
  }

  /** Reads a Secret of ours; undefined where there is none. @throws {ForeignSecret} */
  async read(namespace: string, name: string): Promise<MountedSecret | undefined> {
    const object = await this.#context.client.find(secrets, { namespace, name });
    if (!object) return undefined;
    if (object.metadata.labels?.[managedByLabel] !== manager) {
      throw new ForeignSecret(
        `Secret ${namespace}/${name} is there already and is not the operator's`,
      );
    }
    const keys = Object.keys((object["data"] ?? {}) as object);
    return { object, files: new Map(keys.map((key) => [key, secretText(object, key) ?? ""])) };
  }

  /**
   * Makes a Secret hold these files and no others.
   *
   * @param there the Secret as it was read; undefined if there is none
   */
  async write(
    namespace: string,
    name: string,
    files: Files,
    there: MountedSecret | undefined,
  ): Promise<void> {
    const { client, digest } = this.#context;
    const sorted = [...files].sort(([a], [b]) => a < b ? -1 : 1);
    const wanted = stamped({
      metadata: { name, namespace, labels: { [managedByLabel]: manager } },
      type: "Opaque",
      data: secretData(Object.fromEntries(sorted)),
    }, digest);
    if (!there || !isSame(there.object, wanted)) {
      await this.#removeOthers(await client.apply(secrets, wanted), files);
    }
    const print = digest(JSON.stringify(sorted)).slice(0, 16);
    const key = `${namespace}/${name}`;
    if (this.#written.get(key) === print) return;
    await this.#hurry(namespace);
    this.#written.set(key, print);
  }

  /** Deletes all Secrets of ours. */
  async removeAll(namespace: string): Promise<void> {
    const { client } = this.#context;
    for (const name of [...clustersSecretNames, adminTokensSecretName, ownTokenSecretName]) {
      const there = await client.find(secrets, { namespace, name });
      if (there?.metadata.labels?.[managedByLabel] !== manager) continue;
      await client.delete(secrets, { namespace, name }, there.metadata.uid!);
    }
  }

  /** The relay reads each key; an apply leaves those that a backup or somebody else has put there. */
  async #removeOthers({ metadata, ...rest }: KubeObject, files: Files): Promise<void> {
    const keys = Object.keys((rest["data"] ?? {}) as object).filter((key) => !files.has(key));
    if (keys.length === 0) return;
    const { namespace, name } = metadata;
    const data = Object.fromEntries(keys.map((key) => [key, null]));
    await this.#context.client.merge(secrets, { namespace, name }, { data });
  }

  /** Changes the metadata of the relay's pods, so that kubelet looks at their volumes now. */
  async #hurry(namespace: string): Promise<void> {
    const { client, settings, digest } = this.#context;
    const selection = { namespace, labelSelector: settings.relaySelector };
    const value = digest(JSON.stringify([...this.#written, Date.now()])).slice(0, 16);
    const { items } = await client.list(pods, selection);
    await annotatePods(client, items, filesAnnotation, value);
  }
}

/** Compares what was applied, and the data as they are: nothing else may have keys there. */
function isSame(there: KubeObject, wanted: KubeObject): boolean {
  return JSON.stringify(dataOf(there)) === JSON.stringify(dataOf(wanted)) &&
    Object.entries(wanted.metadata.annotations ?? {}).every(([key, value]) =>
      there.metadata.annotations?.[key] === value
    );
}

function dataOf(object: KubeObject): unknown {
  const data = (object["data"] ?? {}) as Readonly<Record<string, string>>;
  return Object.entries(data).sort(([a], [b]) => a < b ? -1 : 1);
}
