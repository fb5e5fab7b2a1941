/** CAs of Services' certificates, from ConfigMaps that bindings name. */
import { KubeError } from "../kube/errors.ts";
import { configMaps } from "../kube/resources.ts";
import type { Context } from "./context.ts";

/** A CA, or why there is none. */
export type CaText = { readonly pem: string } | { readonly fault: string };

const maxEntries = 1_024;

/**
 * Reads ConfigMaps by name, and again from time to time: there is no right to list all of them. A look
 * never waits; after it, {@link isComplete} tells whether everything that was asked for is known.
 */
export class CaTexts {
  readonly #context: Pick<Context, "client" | "settings">;
  readonly #changed: () => void;
  readonly #texts = new Map<string, CaText>();
  readonly #reading = new Set<string>();
  /** What has been asked for since the last {@link keepUsed}. */
  readonly #used = new Set<string>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param changed Called when a text is another one than before. */
  constructor(context: Pick<Context, "client" | "settings">, changed: () => void) {
    this.#context = context;
    this.#changed = changed;
  }

  /** The text as it was last read. */
  get(namespace: string, name: string, key: string): CaText {
    this.#timer ??= setInterval(() => this.#readAll(), this.#context.settings.checkMs);
    const id = JSON.stringify([namespace, name, key]);
    if (!this.#used.has(id) && this.#used.size >= maxEntries) {
      return { fault: `Bindings name more than ${maxEntries} ConfigMaps` };
    }
    this.#used.add(id);
    const text = this.#texts.get(id);
    if (!text) void this.#read(id);
    return text ?? { fault: `ConfigMap ${namespace}/${name} has not been read yet` };
  }

  /** Whether all texts that were asked for have been read. */
  get isComplete(): boolean {
    return [...this.#used].every((id) => this.#texts.has(id));
  }

  /** Forgets what has not been asked for since the last call. */
  keepUsed(): void {
    for (const id of this.#texts.keys()) if (!this.#used.has(id)) this.#texts.delete(id);
    this.#used.clear();
  }

  /** Reads nothing any more until the next look. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #readAll(): void {
    for (const id of new Set([...this.#texts.keys(), ...this.#used])) void this.#read(id);
  }

  async #read(id: string): Promise<void> {
    if (this.#reading.has(id)) return;
    this.#reading.add(id);
    try {
      const text = await this.#textOf(id);
      const before = this.#texts.get(id);
      this.#texts.set(id, text);
      if (JSON.stringify(before) !== JSON.stringify(text)) this.#changed();
    } catch {
      // The API server is away: the last text stays, and the timer tries again.
    } finally {
      this.#reading.delete(id);
    }
  }

  async #textOf(id: string): Promise<CaText> {
    const [namespace, name, key] = JSON.parse(id) as [string, string, string];
    try {
      const object = await this.#context.client.find(configMaps, { namespace, name });
      const pem = (object?.["data"] as Record<string, string> | undefined)?.[key];
      return pem === undefined
        ? { fault: `There is no ConfigMap ${namespace}/${name} with the key ${key}` }
        : { pem };
    } catch (error) {
      if (!(error instanceof KubeError) || error.status !== 403) throw error;
      return { fault: `ConfigMap ${namespace}/${name} may not be read: ${error.message}` };
    }
  }
}
