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

/** The maximum number of texts: more than a cluster needs. */
export const maxEntries = 1_024;
/** The maximum number of texts of one namespace, so that it leaves room for others. */
const maxPerNamespace = 512;
/** The maximum length of all texts of one namespace: about 20 lists of all public CAs. */
const maxCharactersPerNamespace = 4 * 1_024 * 1_024;

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
  /** Characters of texts, by namespace. */
  readonly #charactersIn = new Map<string, number>();
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
    for (const id of this.#unreadable.keys()) if (!this.#used.has(id)) this.#unreadable.delete(id);
    for (const id of this.#texts.keys()) if (!this.#used.has(id)) this.#keep(id, undefined);
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
      this.#keep(id, text);
      this.#unreadable.delete(id);
      if (JSON.stringify(before) !== JSON.stringify(this.#texts.get(id))) this.#options.changed();
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

  /** Keeps a text while its namespace has room for it; undefined forgets it. */
  #keep(id: string, text: NamedText | undefined): void {
    const path: TextPath = JSON.parse(id);
    const { namespace } = path;
    const inNamespace = (this.#charactersIn.get(namespace) ?? 0) - lengthOf(this.#texts.get(id));
    const characters = inNamespace + lengthOf(text);
    const isTooMuch = characters > maxCharactersPerNamespace;
    this.#charactersIn.set(namespace, isTooMuch ? inNamespace : characters);
    if (this.#charactersIn.get(namespace) === 0) this.#charactersIn.delete(namespace);
    if (text === undefined) this.#texts.delete(id);
    else this.#texts.set(id, isTooMuch ? this.#tooMuch(path) : text);
  }

  #tooMuch(path: TextPath): NamedText {
    const { user } = this.#options;
    const message = `What ${user} of namespace ${path.namespace} name like this has more ` +
      `than ${maxCharactersPerNamespace} characters together`;
    return { fault: { ...this.#options.unread(path), message } };
  }
}

function lengthOf(text: NamedText | undefined): number {
  return text && "text" in text ? text.text.length : 0;
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
