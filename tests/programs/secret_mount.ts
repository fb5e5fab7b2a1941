/** A folder as Kubernetes mounts a Secret: each update is a new folder, and one link that moves. */

/** Files that are replaced all at once. */
export class SecretMount {
  readonly #folder: string;
  #updates = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Makes the mount with its first content, by name. */
  static async create(
    folder: string,
    files: Readonly<Record<string, string>>,
  ): Promise<SecretMount> {
    await Deno.mkdir(folder);
    const mount = new SecretMount(folder);
    await mount.update(files);
    for (const name of Object.keys(files)) {
      await Deno.symlink(`..data/${name}`, `${folder}/${name}`);
    }
    return mount;
  }

  /** The path that programs are given. */
  path(name: string): string {
    return `${this.#folder}/${name}`;
  }

  /** Replaces all files. */
  async update(files: Readonly<Record<string, string>>): Promise<void> {
    const name = `..update-${this.#updates++}`;
    await Deno.mkdir(`${this.#folder}/${name}`);
    for (const [file, text] of Object.entries(files)) {
      await Deno.writeTextFile(`${this.#folder}/${name}/${file}`, text);
    }
    await Deno.symlink(name, `${this.#folder}/..data-new`);
    await Deno.rename(`${this.#folder}/..data-new`, `${this.#folder}/..data`);
  }
}
