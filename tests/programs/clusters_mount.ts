/** Clusters as a relay finds them on disk, and ways to change them. */

/** Clusters in a folder of their own, which goes with the test. */
export class ClustersMount implements AsyncDisposable {
  readonly folder: string;
  #versions = 0;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<ClustersMount> {
    return new ClustersMount(await Deno.makeTempDir({ prefix: "culvert-clusters-" }));
  }

  /** The path of the one file that {@link write} and {@link replace} are about. */
  get file(): string {
    return `${this.folder}/clusters.json`;
  }

  /** Writes the file in place: a reader may see a part of it. */
  async write(text: string): Promise<void> {
    await Deno.writeTextFile(this.file, text);
  }

  /** Puts a whole new file in the old one's place. */
  async replace(...entries: readonly object[]): Promise<void> {
    await Deno.writeTextFile(`${this.folder}/.new`, JSON.stringify(entries));
    await Deno.rename(`${this.folder}/.new`, this.file);
  }

  /**
   * Changes all files at once, as a kubelet does: they are links through `..data`, which is a link to
   * the version that counts, and the version before is removed.
   */
  async mount(files: Readonly<Record<string, unknown>>): Promise<void> {
    const before = this.#versions++;
    const version = `..version_${this.#versions}`;
    await Deno.mkdir(`${this.folder}/${version}`);
    for (const [name, content] of Object.entries(files)) {
      await Deno.writeTextFile(`${this.folder}/${version}/${name}`, JSON.stringify(content));
    }
    await Deno.symlink(version, `${this.folder}/..data_tmp`);
    await Deno.rename(`${this.folder}/..data_tmp`, `${this.folder}/..data`);
    await this.#link(new Set(Object.keys(files)));
    if (before > 0) await Deno.remove(`${this.folder}/..version_${before}`, { recursive: true });
  }

  async #link(names: ReadonlySet<string>): Promise<void> {
    const linked = new Set<string>();
    for await (const { name } of Deno.readDir(this.folder)) {
      if (name.startsWith(".")) continue;
      if (names.has(name)) linked.add(name);
      else await Deno.remove(`${this.folder}/${name}`);
    }
    for (const name of names) {
      if (!linked.has(name)) await Deno.symlink(`..data/${name}`, `${this.folder}/${name}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}
