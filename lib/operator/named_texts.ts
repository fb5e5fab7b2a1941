/** Keys of ConfigMaps and Secrets that specs refer to, read by name. */
import type { Verdict } from "./conditions.ts";
import { messageOf } from "../message_of.ts";

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
  readonly settings: {
    /** How often texts are read again. */
    readonly checkMs: number;
  };
  /** Whose texts they are, in the plural. */
  readonly user: string;
  /** Reads one. @throws while the API server can't be asked */
  readonly read: (path: TextPath) => Promise<NamedText>;
  /** The verdict until a text has been read for the first time. */
  readonly unread: (path: TextPath) => Verdict;
  /** The verdict on one that never could be read: its status is Unknown. */
  readonly unreadable: (path: TextPath, reason: string) => Verdict;
  /** Called when a text has changed. */
  readonly changed: () => void;
}

/** Bounds the memory for texts; more than a cluster needs. */
const maxEntries = 1_024;
/** Of one namespace, so that it leaves room for others. */
const maxPerNamespace = 512;

/**
 * Reads texts by name, and again at intervals, because the operator may not list them. Looking up a text
 * never waits; {@link isComplete} says whether all requested texts are known.
 */
export class NamedTexts {
  readonly #options: NamedTextsOptions;
  readonly #texts = new Map<string, NamedText>();
  /** Why texts could not be read that were never read before. */
  readonly #unreadable = new Map<string, string>();
  readonly #reading = new Set<string>();
  /** What has been asked for since the last {@link forgetUnused}. */
  readonly #used = new Set<string>();
  /** How many of them are in which namespace. */
  readonly #usedIn = new Map<string, number>();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: NamedTextsOptions) {
    this.#options = options;
  }

  /** The text as it was last read. */
  get(path: TextPath): NamedText {
    const { settings, unread, unreadable, user } = this.#options;
    this.#timer ??= setInterval(() => this.#readAll(), settings.checkMs);
    const id = JSON.stringify(path);
    if (!this.#used.has(id)) {
      const inNamespace = this.#usedIn.get(path.namespace) ?? 0;
      const fault = fullText(user, this.#used.size, inNamespace, path.namespace);
      if (fault !== undefined) return { fault: { ...unread(path), message: fault } };
      this.#used.add(id);
      this.#usedIn.set(path.namespace, inNamespace + 1);
    }
    const text = this.#texts.get(id);
    if (text) return text;
    const reason = this.#unreadable.get(id);
    if (reason !== undefined) return { fault: unreadable(path, reason) };
    void this.#read(id);
    return { fault: unread(path) };
  }

  /** Whether all texts that were asked for have been read, or could not be read. */
  get isComplete(): boolean {
    return [...this.#used].every((id) => this.#texts.has(id) || this.#unreadable.has(id));
  }

  /** Forgets texts that nobody has requested since the last call. */
  forgetUnused(): void {
    for (const known of [this.#texts, this.#unreadable]) {
      for (const id of known.keys()) if (!this.#used.has(id)) known.delete(id);
    }
    this.#used.clear();
    this.#usedIn.clear();
  }

  /** Stops reading until the next {@link get}. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #readAll(): void {
    const ids = [...this.#texts.keys(), ...this.#unreadable.keys(), ...this.#used];
    for (const id of new Set(ids)) void this.#read(id);
  }

  async #read(id: string): Promise<void> {
    if (this.#reading.has(id)) return;
    this.#reading.add(id);
    const before = this.#texts.get(id);
    try {
      const text = await this.#options.read(JSON.parse(id));
      this.#texts.set(id, text);
      this.#unreadable.delete(id);
      if (JSON.stringify(before) !== JSON.stringify(text)) this.#options.changed();
    } catch (error) {
      // A text that was read once stays until it can be read again.
      if (before) return;
      const reason = messageOf(error);
      if (this.#unreadable.get(id) === reason) return;
      this.#unreadable.set(id, reason);
      this.#options.changed();
    } finally {
      this.#reading.delete(id);
    }
  }
}

/** Why there is no room for one more; undefined if there is. */
function fullText(
  user: string,
  used: number,
  inNamespace: number,
  namespace: string,
): string | undefined {
  if (inNamespace >= maxPerNamespace) {
    return `${user} of namespace ${namespace} name more than ${maxPerNamespace} objects like this one`;
  }
  return used >= maxEntries
    ? `${user} name more than ${maxEntries} objects like this one`
    : undefined;
}
