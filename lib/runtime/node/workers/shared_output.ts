/** One output of several processes: their lines follow each other whole. */
import type { WriteSome } from "../../deno/standard_streams.ts";

/** A line that is longer is passed on in pieces. */
const maxLineBytes = 1024 * 1024;
const lineEnd = 0x0a;

/** Writes pieces one after the other, each of them whole. */
export class SharedOutput {
  readonly #write: WriteSome;
  #last: Promise<unknown> = Promise.resolve();

  constructor(write: WriteSome) {
    this.#write = write;
  }

  /** Writes all of it. @returns how much that is, as {@link WriteSome} does; rejects if it can't be written */
  readonly writeWhole: WriteSome = (bytes) => {
    const written = this.#last.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#write(bytes.subarray(at));
      return bytes.length;
    });
    this.#last = written.catch(() => {});
    return written;
  };

  /**
   * Passes on what a process writes, by whole lines. A process waits while this output takes nothing,
   * as it would if it wrote here itself.
   *
   * @param lost Told of what could not be written.
   */
  async passOn(source: AsyncIterable<Uint8Array>, lost: (lines: number) => void): Promise<void> {
    let rest: Uint8Array = new Uint8Array();
    const pass = (bytes: Uint8Array): Promise<unknown> =>
      this.writeWhole(bytes).catch(() =>
        lost(bytes.reduce((n, b) => n + Number(b === lineEnd), 0))
      );
    for await (const chunk of source) {
      const bytes = concatenated(rest, chunk);
      const end = bytes.length > maxLineBytes ? bytes.length : bytes.lastIndexOf(lineEnd) + 1;
      rest = bytes.slice(end);
      if (end > 0) await pass(bytes.subarray(0, end));
    }
    // A process that has crashed may have left half a line.
    if (rest.length > 0) await pass(concatenated(rest, Uint8Array.of(lineEnd)));
  }
}

function concatenated(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
