/** Texts that routes refer to: keys of ConfigMaps and Secrets, read by name. */
import type { Verdict } from "../conditions.ts";
import { KubeError, KubeUnreachable } from "../../kube/errors.ts";
import type { Context } from "../context.ts";

/** A text, or why there is none. */
export type NamedText = { readonly text: string } | { readonly fault: Verdict };

/** Where a text is. */
export interface TextPath {
  readonly namespace: string;
  readonly name: string;
  readonly key: string;
}

/** What texts of one sort are read with. */
export interface NamedTextsOptions {
  readonly settings: Pick<Context["settings"], "checkMs">;
  /** Reads one. @throws while the API server can't be asked */
  readonly read: (path: TextPath) => Promise<NamedText>;
  /** The verdict until a text has been read for the first time. */
  readonly unread: (path: TextPath) => Verdict;
  /** Called when a text has changed. */
  readonly changed: () => void;
}

/** More than a cluster needs; the memory for them is bounded. */
const maxEntries = 1_024;

/**
 * Reads texts by name, and again at intervals, because the operator may not list them. Looking up a text
 * never waits; {@link isComplete} says whether all requested texts are known.
 */
export class NamedTexts {
  readonly #options: NamedTextsOptions;
  readonly #texts = new Map<string, NamedText>();
  readonly #reading = new Set<string>();
  /** What has been asked for since the last {@link keepUsed}. */
  readonly #used = new Set<string>();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: NamedTextsOptions) {
    this.#options = options;
  }

  /** The text as it was last read. */
  get(path: TextPath): NamedText {
    const { settings, unread } = this.#options;
    this.#timer ??= setInterval(() => this.#readAll(), settings.checkMs);
    const id = JSON.stringify(path);
    if (!this.#used.has(id) && this.#used.size >= maxEntries) {
      const { reason, status } = unread(path);
      const message = `TunnelBindings name more than ${maxEntries} objects like this one`;
      return { fault: { reason, status, message } };
    }
    this.#used.add(id);
    const text = this.#texts.get(id);
    if (!text) void this.#read(id);
    return text ?? { fault: unread(path) };
  }

  /** Whether all texts that were asked for have been read. */
  get isComplete(): boolean {
    return [...this.#used].every((id) => this.#texts.has(id));
  }

  /** Forgets texts that nobody has requested since the last call. */
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
    const before = this.#texts.get(id);
    try {
      const text = await this.#options.read(JSON.parse(id));
      this.#texts.set(id, text);
      if (JSON.stringify(before) !== JSON.stringify(text)) this.#options.changed();
    } catch (error) {
      // While the API server can't be reached, the last text stays. A bug must not block all routes.
      if (before || error instanceof KubeError || error instanceof KubeUnreachable) return;
      this.#texts.set(id, { fault: this.#options.unread(JSON.parse(id)) });
      this.#options.changed();
    } finally {
      this.#reading.delete(id);
    }
  }
}
