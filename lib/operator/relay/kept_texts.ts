/**
 * Copies of users' Secrets and ConfigMaps that clean-up needs. A deleted namespace loses them before its
 * Tunnels and bindings, so the operator keeps the last texts in its own namespace: one Secret for each
 * namespace, which is deleted after the namespace's last Tunnel, or after the namespace.
 */
import type { KubeClient } from "../../kube/client.ts";
import { isPermanent } from "../../kube/errors.ts";
import type { KubeObject } from "../../kube/objects.ts";
import { namespaces, secrets } from "../../kube/resources.ts";
import type { Log } from "../../log.ts";
import { messageOf } from "../../message_of.ts";
import { managedByLabel, manager } from "../api/schema.ts";
import type { CaRef } from "../api/relay.ts";
import type { Digest } from "../digest.ts";
import { secretData, secretText } from "../secret_text.ts";

/** What texts are kept with. */
export interface KeptTextsOptions {
  readonly client: KubeClient;
  /** The operator's own: what is in it is not kept, as it does not go before the operator. */
  readonly namespace: string;
  readonly digest: Digest;
  readonly log: Log;
}

const keptPrefix = `${manager}-kept-`;

/** The Secret for a namespace's texts. */
export function keptSecretName(namespace: string): string {
  return `${keptPrefix}${namespace}`;
}

/** Whether a Secret's name is one of {@link keptSecretName}. */
export function isKeptSecret(name: string): boolean {
  return name.startsWith(keptPrefix);
}

/** What one namespace has. */
interface Kept {
  readonly uid: string;
  readonly texts: Map<string, string>;
  /** The Secret's uid; undefined where there is none. */
  secretUid: string | undefined;
  /** Whether the log has been told that there is no room for more. */
  isFull: boolean;
}

/** The most characters that one namespace's texts have: a Secret has at most 1 MiB, with base64. */
const maxKeptCharacters = 640 * 1024;

/** Keeps texts. */
export class KeptTexts {
  readonly #options: KeptTextsOptions;
  readonly #kept = new Map<string, Promise<Kept>>();
  /** The last write in each namespace, which the next one waits for. */
  readonly #writes = new Map<string, Promise<void>>();

  constructor(options: KeptTextsOptions) {
    this.#options = options;
  }

  /**
   * Keeps texts of one object, before anything is created whose deletion needs them; undefined keeps
   * none.
   */
  async keep(
    namespace: string,
    from: Pick<CaRef, "kind" | "name">,
    texts: ReadonlyMap<string, string | undefined>,
  ): Promise<void> {
    const kept = await this.#of(namespace);
    const after = new Map(
      [...texts].map(([key, text]) => [this.#fieldOf({ ...from, key }), text]),
    );
    const before = new Map([...after.keys()].map((field) => [field, kept.texts.get(field)]));
    if ([...after].every(([field, text]) => before.get(field) === text)) return;
    if (charactersOf([...kept.texts, ...after]) > maxKeptCharacters) {
      return this.#warnFull(namespace, kept);
    }
    setAll(kept.texts, after);
    if (namespace === this.#options.namespace) return;
    try {
      await this.#inTurn(namespace, () => this.#write(namespace, kept));
    } catch (error) {
      if (isPermanent(error)) return this.#warn(namespace, error);
      setAll(kept.texts, before);
      throw error;
    }
  }

  /** The last text of a key that was kept. */
  async last(namespace: string, ref: CaRef): Promise<string | undefined> {
    return (await this.#of(namespace)).texts.get(this.#fieldOf(ref));
  }

  /** Nothing of a namespace needs clean-up any more. */
  async forget(namespace: string): Promise<void> {
    const { secretUid } = await this.#of(namespace);
    await this.#inTurn(namespace, async () => {
      if (secretUid === undefined) return;
      await this.#options.client.delete(secrets, this.#pathOf(namespace), secretUid);
    });
    this.#kept.delete(namespace);
    this.#writes.delete(namespace);
  }

  /** Another replica may have written since: everything is read anew. */
  reset(): void {
    this.#kept.clear();
  }

  #fieldOf({ kind, name, key }: CaRef): string {
    return this.#options.digest(JSON.stringify([kind, name, key]));
  }

  #pathOf(namespace: string) {
    return { namespace: this.#options.namespace, name: keptSecretName(namespace) };
  }

  async #of(namespace: string): Promise<Kept> {
    const known = this.#kept.get(namespace);
    if (known) return await known;
    const reading = this.#read(namespace);
    this.#kept.set(namespace, reading);
    reading.catch(() => this.#kept.delete(namespace));
    return await reading;
  }

  async #read(namespace: string): Promise<Kept> {
    const { client } = this.#options;
    if (namespace === this.#options.namespace) {
      return { uid: "", texts: new Map(), secretUid: undefined, isFull: false };
    }
    const { uid = "" } = (await client.find(namespaces, { name: namespace }))?.metadata ?? {};
    const secret = await this.#find(namespace);
    // A new namespace of the same name must not get the texts of the old one.
    const isSame = secret?.metadata.ownerReferences?.some((owner) => owner.uid === uid) ?? false;
    const fields = isSame ? Object.keys((secret?.["data"] ?? {}) as object) : [];
    const texts = new Map(fields.map((field) => [field, secretText(secret, field)!]));
    return { uid, texts, secretUid: secret?.metadata.uid, isFull: false };
  }

  async #find(namespace: string): Promise<KubeObject | undefined> {
    try {
      return await this.#options.client.find(secrets, this.#pathOf(namespace));
    } catch (error) {
      if (!isPermanent(error)) throw error;
      this.#warn(namespace, error);
      return undefined;
    }
  }

  #warnFull(namespace: string, kept: Kept): void {
    if (kept.isFull) return;
    kept.isFull = true;
    this.#warn(
      namespace,
      new Error(`they have more than ${maxKeptCharacters} characters together`),
    );
  }

  #warn(namespace: string, error: unknown): void {
    this.#options.log.warn(
      "Credentials can't be kept: if the namespace is deleted while the operator is down, its entries at " +
        "relays and its DNS records will stay",
      { namespace, error: messageOf(error) },
    );
  }

  async #inTurn(namespace: string, work: () => Promise<void>): Promise<void> {
    const before = this.#writes.get(namespace) ?? Promise.resolve();
    const next = before.catch(() => {}).then(work);
    this.#writes.set(namespace, next);
    await next;
  }

  async #write(namespace: string, kept: Kept): Promise<void> {
    const owner = { apiVersion: "v1", kind: "Namespace", name: namespace, uid: kept.uid };
    const written = await this.#options.client.apply(secrets, {
      metadata: {
        ...this.#pathOf(namespace),
        labels: { [managedByLabel]: manager },
        ownerReferences: [owner],
      },
      type: "Opaque",
      data: secretData(Object.fromEntries(kept.texts)),
    });
    kept.secretUid = written.metadata.uid;
  }
}

/** Counts the characters of the texts; the last entry of a field counts. */
function charactersOf(entries: Iterable<readonly [string, string | undefined]>): number {
  return [...new Map(entries).values()].reduce((sum, text) => sum + (text?.length ?? 0), 0);
}

function setAll(
  texts: Map<string, string>,
  changes: ReadonlyMap<string, string | undefined>,
): void {
  for (const [field, text] of changes) {
    if (text === undefined) texts.delete(field);
    else texts.set(field, text);
  }
}
