/** Texts that many hold, such as CAs: equal ones of a group are kept once, and bounded together. */

/** The texts of groups' holders. */
export class SharedTexts {
  readonly #maxCharacters: number;
  /** What each holder has, by group. */
  readonly #held = new Map<string, Map<string, readonly string[]>>();

  /** @param maxCharacters The most characters that one group may hold; equal texts count once. */
  constructor(maxCharacters: number) {
    this.#maxCharacters = maxCharacters;
  }

  /**
   * Replaces what a holder has.
   *
   * @returns the texts, as others of the group have them if they do; undefined without room, where the
   *   holder keeps what it had
   */
  hold(group: string, holder: string, texts: readonly string[]): readonly string[] | undefined {
    const holders = this.#held.get(group) ?? new Map<string, readonly string[]>();
    const known = new Map<string, string>();
    for (const [other, its] of holders) {
      if (other !== holder) { for (const text of its) known.set(text, text); }
    }
    const shared = texts.map((text) => known.get(text) ?? text);
    for (const text of shared) known.set(text, text);
    let characters = 0;
    for (const text of known.keys()) characters += text.length;
    if (characters > this.#maxCharacters) return undefined;
    this.#held.set(group, holders.set(holder, shared));
    return shared;
  }

  release(group: string, holder: string): void {
    const holders = this.#held.get(group);
    holders?.delete(holder);
    if (holders?.size === 0) this.#held.delete(group);
  }
}
