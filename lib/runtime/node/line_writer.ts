/** Writes log lines, in as few pieces as they allow. */

/** Writes some of the bytes from an offset on. @returns how many; @throws the system's error. */
export type WriteSome = (bytes: Uint8Array, from: number) => number;

/**
 * Gathers the lines of one turn of the event loop into one write. Lines that can't be written, as on
 * a full disk or to a reader that is gone, are lost: no request is to fail, and no program to end,
 * because of its log.
 */
export class LineWriter {
  readonly #write: WriteSome;
  readonly #lost: (lines: number) => void;
  #lines: string[] = [];
  #lostLines = 0;
  /** The last line that was written is cut off: the next one must not continue it. */
  #isTorn = false;

  /** @param lost Told, as soon as lines can be written again, how many were lost before. */
  constructor(write: WriteSome, lost: (lines: number) => void) {
    this.#write = write;
    this.#lost = lost;
  }

  /** Takes a line, without its end, for the next {@link flush}, which comes by itself. */
  write(line: string): void {
    if (this.#lines.push(line) === 1) setImmediate(() => this.flush());
  }

  /** Writes now what has come. */
  flush(): void {
    const lines = this.#lines;
    if (lines.length === 0) return;
    this.#lines = [];
    const text = (this.#isTorn ? "\n" : "") + lines.join("\n") + "\n";
    if (!this.#writeAll(new TextEncoder().encode(text))) {
      this.#lostLines += lines.length;
      return;
    }
    const lost = this.#lostLines;
    this.#lostLines = 0;
    if (lost > 0) this.#lost(lost);
  }

  #writeAll(bytes: Uint8Array): boolean {
    let at = 0;
    try {
      while (at < bytes.length) at += this.#write(bytes, at);
      this.#isTorn = false;
      return true;
    } catch {
      // There is nowhere to tell it until lines can be written again.
      if (at > 0) this.#isTorn = true;
      return false;
    }
  }
}
