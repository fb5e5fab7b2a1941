/**
 * Where text stops being JSON. `JSON.parse` says so only for some faults, and for the others it
 * quotes the text around them, which in a clusters file may be a token.
 */

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[ !#-[\]-\uffff]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"/y;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])/y;

/** A place in a text; both count from 1. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** Returns where the first token begins that cannot stand there; undefined when all is JSON. */
export function findJsonFault(text: string): TextPosition | undefined {
  const offset = new JsonScanner(text).faultOffset();
  if (offset === undefined) return undefined;
  return positionAt(text, offset);
}

/** Lines end in LF, CR LF, or CR, as editors count them. */
function positionAt(text: string, offset: number): TextPosition {
  const lines = text.slice(0, offset).split(/\r\n|\r|\n/);
  return { line: lines.length, column: (lines.at(-1) ?? "").length + 1 };
}

/** A key that stands twice in one object. */
export interface DuplicateKey extends TextPosition {
  readonly key: string;
  /** The keys and indices on the way to the object. */
  readonly path: readonly (string | number)[];
}

/** An array or object that is open. */
interface OpenValue {
  /** The keys so far, of an object. */
  readonly keys: Set<string> | undefined;
  /** Where in it the walk is. */
  at: string | number;
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/g;

/**
 * Finds a key that an object has twice, of which `JSON.parse` silently takes the last. The text must be
 * JSON.
 */
export function findDuplicateKey(text: string): DuplicateKey | undefined {
  const open: OpenValue[] = [];
  let before = "";
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const inner = open.at(-1);
    if (inner?.keys && token.startsWith('"') && (before === "{" || before === ",")) {
      const key: string = JSON.parse(token);
      if (inner.keys.has(key)) {
        const path = open.slice(0, -1).map(({ at }) => at);
        return { key, path, ...positionAt(text, index) };
      }
      inner.keys.add(key);
      inner.at = key;
    } else if (token === "{" || token === "[") {
      open.push({ keys: token === "{" ? new Set() : undefined, at: 0 });
    } else if (token === "}" || token === "]") {
      open.pop();
    } else if (token === "," && typeof inner?.at === "number") {
      inner.at++;
    }
    before = token;
  }
  return undefined;
}

/** Walks over the tokens of JSON without building values or recursing. */
class JsonScanner {
  readonly #text: string;
  #offset = 0;
  /** The brackets that are open, as the ones that will close them. */
  readonly #closers: ("]" | "}")[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  faultOffset(): number | undefined {
    do {
      this.#take(SPACE);
      if (!this.#takeValueOrOpen()) return this.#offset;
      if (!this.#takeClosers()) return this.#offset;
    } while (this.#closers.length > 0);
    return this.#offset === this.#text.length ? undefined : this.#offset;
  }

  /** Takes a scalar or everything up to the first scalar of an array or object, if it has one. */
  #takeValueOrOpen(): boolean {
    for (;;) {
      const opener = this.#text[this.#offset];
      if (opener !== "[" && opener !== "{") return this.#take(STRING) || this.#take(SCALAR);
      this.#offset++;
      this.#closers.push(opener === "[" ? "]" : "}");
      this.#take(SPACE);
      if (this.#text[this.#offset] === this.#closers.at(-1)) return true;
      if (opener === "{" && !this.#takeKey()) return false;
    }
  }

  /** Takes what may follow a value: closing brackets, then a comma when something is still open. */
  #takeClosers(): boolean {
    for (;;) {
      this.#take(SPACE);
      const closer = this.#closers.at(-1);
      if (closer === undefined) return true;
      const next = this.#text[this.#offset];
      if (next !== closer && next !== ",") return false;
      this.#offset++;
      if (next === closer) {
        this.#closers.pop();
        continue;
      }
      this.#take(SPACE);
      return closer === "]" || this.#takeKey();
    }
  }

  #takeKey(): boolean {
    if (!this.#take(STRING)) return false;
    this.#take(SPACE);
    if (this.#text[this.#offset] !== ":") return false;
    this.#offset++;
    this.#take(SPACE);
    return true;
  }

  #take(token: RegExp): boolean {
    token.lastIndex = this.#offset;
    const match = token.exec(this.#text);
    if (match === null) return false;
    this.#offset += match[0].length;
    return true;
  }
}
