/** The scopes of one kind: those of all clusters, say. */
import type { LimitValues } from "../../domain/limits.ts";
import type { LimitErrors } from "./limit_errors.ts";
import { isBounded, Scope } from "./scope.ts";

/** Scopes by name. */
export class ScopeGroup {
  readonly #defaults: LimitValues;
  readonly #errors: LimitErrors;
  readonly #nowMs: () => number;
  #own: ReadonlyMap<string, Partial<LimitValues> | undefined> = new Map();
  readonly #scopes = new Map<string, Scope>();
  /** Nobody has set any limit. */
  isOff = true;

  constructor(defaults: LimitValues, errors: LimitErrors, nowMs: () => number) {
    this.#defaults = defaults;
    this.#errors = errors;
    this.#nowMs = nowMs;
  }

  use(entries: readonly (readonly [name: string, limits: Partial<LimitValues> | undefined])[]) {
    const own = new Map(entries);
    for (const name of this.#scopes.keys()) if (!own.has(name)) this.#scopes.delete(name);
    this.#own = own;
    this.isOff = !isBounded(this.#defaults) && entries.every(([, limits]) => limits === undefined);
  }

  knows(name: string): boolean {
    return this.#own.has(name);
  }

  /** The scope of a name that is known, if it is bounded. */
  of(name: string): Scope | undefined {
    if (this.isOff || !this.knows(name)) return undefined;
    const own = this.#own.get(name);
    const values = own ? { ...this.#defaults, ...own } : this.#defaults;
    if (!isBounded(values)) return undefined;
    const known = this.#scopes.get(name);
    if (known && isSame(known.values, values)) return known;
    const scope = new Scope(values, this.#errors, this.#nowMs, known?.open);
    this.#scopes.set(name, scope);
    return scope;
  }
}

function isSame(a: LimitValues, b: LimitValues): boolean {
  return a.requestsPerSecond === b.requestsPerSecond && a.openRequests === b.openRequests &&
    a.bytesPerSecond === b.bytesPerSecond;
}
