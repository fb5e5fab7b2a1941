/** Patterns of names: `prod` is that name, `prod-*` all that begin so, `*` all. */

/** A few patterns, of which one is enough. */
export class NamePatterns {
  readonly #exact = new Set<string>();
  readonly #prefixes: string[] = [];

  constructor(patterns: readonly string[]) {
    for (const pattern of patterns) {
      if (pattern.endsWith("*")) this.#prefixes.push(pattern.slice(0, -1));
      else this.#exact.add(pattern);
    }
  }

  /** Whether a name fits one of them. */
  matches(name: string): boolean {
    if (this.#exact.has(name)) return true;
    for (const prefix of this.#prefixes) if (name.startsWith(prefix)) return true;
    return false;
  }
}

/** Every name. */
export const anyName: NamePatterns = new NamePatterns(["*"]);
