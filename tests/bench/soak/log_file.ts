/** What relay and agents log during a run, in one file. */

const encoder = new TextEncoder();

/** A file for log lines. One that nobody asked for is removed unless the run fails. */
export class LogFile implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #path: string;
  readonly #isTemporary: boolean;
  #hasSucceeded = false;

  private constructor(path: string, isTemporary: boolean) {
    this.#file = Deno.openSync(path, { write: true, create: true, truncate: true });
    this.#path = path;
    this.#isTemporary = isTemporary;
  }

  /** @param path Undefined for a temporary file. */
  static async open(name: string, path: string | undefined): Promise<LogFile> {
    if (path !== undefined) return new LogFile(path, false);
    const prefix = `culvert-${name}-`;
    return new LogFile(await Deno.makeTempFile({ prefix, suffix: ".log" }), true);
  }

  /** Adds a line. */
  write(line: string): void {
    const bytes = encoder.encode(`${line}\n`);
    for (let at = 0; at < bytes.length;) at += this.#file.writeSync(bytes.subarray(at));
  }

  /** Nobody will need the lines. */
  succeeded(): void {
    this.#hasSucceeded = true;
  }

  [Symbol.dispose](): void {
    this.#file.close();
    if (!this.#isTemporary) return;
    if (this.#hasSucceeded) Deno.removeSync(this.#path);
    else console.error(`The log of relay and agents: ${this.#path}`);
  }
}
