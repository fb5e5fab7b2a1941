/** Secrets that the relay has mounted: made here, and never somebody else's. */
import type { KubeObject } from "../../kube/objects.ts";
import { pods, secrets } from "../../kube/resources.ts";
import { stamped } from "../agent_objects.ts";
import { annotatePods } from "../annotate_pods.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import type { ManagementContext } from "./management_context.ts";
import { secretData } from "./secret_data.ts";

/** The relay's entries: a file for each cluster. */
export const clustersSecretName = "culvert-relay-clusters";
/** The tokens of the relay's admin API. */
export const adminTokensSecretName = "culvert-relay-admin-tokens";
export const adminTokensKey = "tokens.json";

/** On the relay's pods: changes with the files, so that kubelet renews their mount at once. */
const filesAnnotation = "culvert.dev/relay-files";

/** A Secret of this name is there, and is somebody else's. */
export class ForeignSecret extends Error {
  override readonly name = "ForeignSecret";
}

/** Writes them. */
export class RelaySecrets {
  readonly #context: ManagementContext;
  /** By `NAMESPACE/NAME`: the digest of what the Secret is known to hold. */
  readonly #written = new Map<string, string>();

  constructor(context: ManagementContext) {
    this.#context = context;
  }

  /** Makes a Secret hold these files and no others. @throws {ForeignSecret} */
  async write(
    namespace: string,
    name: string,
    files: ReadonlyMap<string, string>,
  ): Promise<void> {
    const { client, digest } = this.#context;
    const sorted = [...files].sort(([a], [b]) => a < b ? -1 : 1);
    const wanted = stamped({
      metadata: { name, namespace, labels: { [managedByLabel]: manager } },
      type: "Opaque",
      data: secretData(Object.fromEntries(sorted)),
    }, digest);
    const there = await client.find(secrets, { namespace, name });
    if (there && there.metadata.labels?.[managedByLabel] !== manager) {
      throw new ForeignSecret(
        `Secret ${namespace}/${name} is there already and is not the operator's`,
      );
    }
    if (!there || !isSame(there, wanted)) await client.apply(secrets, wanted);
    const print = digest(JSON.stringify(sorted)).slice(0, 16);
    const key = `${namespace}/${name}`;
    if (this.#written.get(key) === print) return;
    await this.#hurry(namespace);
    this.#written.set(key, print);
  }

  /** Whether there is a Secret of ours by this name. */
  async isThere(namespace: string, name: string): Promise<boolean> {
    const there = await this.#context.client.find(secrets, { namespace, name });
    return there?.metadata.labels?.[managedByLabel] === manager;
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
