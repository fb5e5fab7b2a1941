/**
 * Namespaces of bindings. The watch of namespaces may be behind that of bindings: a namespace that the
 * caches lack is read by name, as nothing may be permitted, or taken away, before it is known.
 */
import type { KubeObject } from "../../kube/objects.ts";
import { namespaces } from "../../kube/resources.ts";
import { messageOf } from "../../message_of.ts";
import type { Context } from "../context.ts";

/** What routes depend on. */
export type NamespaceFacts = Pick<KubeObject["metadata"], "labels" | "annotations">;

/** What namespaces are looked up with. */
export interface BindingNamespacesOptions {
  readonly context: Pick<Context, "client" | "caches" | "settings" | "log">;
  /** Called when a namespace has been read, or should be looked up again. */
  readonly changed: () => void;
}

/** Looks namespaces up, without waiting. */
export class BindingNamespaces {
  readonly #options: BindingNamespacesOptions;
  readonly #reading = new Set<string>();
  /** The API server does not have them. */
  #absent = new Set<string>();
  /** The last time that they were asked for, the API server did not tell. */
  readonly #unreadable = new Set<string>();
  /** What this round of looks has asked for and the caches lack. */
  #asked = new Set<string>();
  #isLooking = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: BindingNamespacesOptions) {
    this.#options = options;
  }

  /** Begins a round of lookups. */
  begin(): void {
    this.#isLooking = true;
    this.#asked = new Set();
  }

  /**
   * A namespace; `absent` where the cluster does not have it, `unreadable` while the API server does not
   * tell. Undefined where namespaces are not followed, and until it has been asked for.
   */
  get(name: string): NamespaceFacts | "absent" | "unreadable" | undefined {
    const { caches } = this.#options.context;
    const known = caches.get("namespaces", name)?.metadata;
    if (known || !caches.isWide) return known;
    this.#asked.add(name);
    if (this.#absent.has(name)) return "absent";
    void this.#read(name);
    return this.#unreadable.has(name) ? "unreadable" : undefined;
  }

  /** Whether all that this round has asked for is known, or known to be unreadable. */
  get isComplete(): boolean {
    return this.#asked.isSubsetOf(this.#absent.union(this.#unreadable));
  }

  /** Forgets what this round has not asked for. */
  forgetUnused(): void {
    this.#absent = this.#asked.intersection(this.#absent);
    for (const name of this.#unreadable) if (!this.#asked.has(name)) this.#unreadable.delete(name);
  }

  /** Stops reading until the next round. */
  stop(): void {
    this.#isLooking = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #read(name: string): Promise<void> {
    if (this.#reading.has(name)) return;
    this.#reading.add(name);
    const { context: { client, caches }, changed } = this.#options;
    try {
      const found = await client.find(namespaces, { name });
      if (found) caches.learn("namespaces", found);
      else this.#absent.add(name);
      this.#unreadable.delete(name);
      changed();
    } catch (error) {
      this.#readLater(name, error);
    } finally {
      this.#reading.delete(name);
    }
  }

  #readLater(name: string, error: unknown): void {
    const { context: { settings, log }, changed } = this.#options;
    if (!this.#isLooking) return;
    if (!this.#unreadable.has(name)) {
      log.warn("Can't read a binding's namespace; its routes stay as they are", {
        namespace: name,
        error: messageOf(error),
      });
      this.#unreadable.add(name);
      changed();
    }
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      changed();
    }, settings.checkMs);
  }
}
