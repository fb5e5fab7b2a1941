/** The agent's credential for its target: a ServiceAccount token that is rotated under its feet. */
import { tokenFault } from "../domain/token.ts";
import { StreamError } from "../protocol/errors.ts";

/** What tells one version of a file from another. */
export interface FileVersion {
  readonly modifiedMs: number;
  /** When anything about the file changed last: `modifiedMs` can be set back. */
  readonly changedMs: number;
  readonly size: number;
  readonly inode: number | null;
  /** Whether a change from now on would show in the version. */
  readonly isSettled: boolean;
}

/** The file system as credentials need it; the runtime lends it. */
export interface TokenFile {
  /** @throws when the file is not there. */
  version(): FileVersion;
  /** @throws when the file can't be read. */
  read(): string;
}

/** Reads the token for each request; only a changed file is read again. */
export class Credentials {
  readonly #file: TokenFile | undefined;
  readonly #loaded: (token: string) => void;
  #version: FileVersion | undefined;
  #header: string | undefined;

  /**
   * @param file Where the token is; nothing for a target that needs no credential.
   * @param loaded Called with each token that is read.
   */
  constructor(file: TokenFile | undefined, loaded: (token: string) => void = () => {}) {
    this.#file = file;
    this.#loaded = loaded;
  }

  /**
   * The value of `Authorization` for a request that is sent now, or nothing.
   *
   * @throws {StreamError} `credentials` when the file can't be read or holds no token: a request
   *   without its credential would be a different request.
   */
  authorization(): string | undefined {
    if (!this.#file) return undefined;
    try {
      const version = this.#file.version();
      if (version === this.#version) return this.#header;
      // What changed a moment ago may have changed once more without a trace.
      if (!this.#version?.isSettled || !isSame(version, this.#version)) this.#load(this.#file);
      this.#version = version;
      return this.#header;
    } catch (error) {
      this.#version = undefined;
      const reason = error instanceof Error ? error.message : String(error);
      const message = `The token can't be read: ${reason}; --sa-token-path must name its file`;
      throw new StreamError("credentials", message);
    }
  }

  #load(file: TokenFile): void {
    const token = checkToken(file.read());
    const header = `Bearer ${token}`;
    if (header === this.#header && this.#version) return;
    this.#header = header;
    this.#loaded(token);
  }
}

function isSame(a: FileVersion, b: FileVersion | undefined): boolean {
  return b !== undefined && a.modifiedMs === b.modifiedMs && a.size === b.size &&
    a.inode === b.inode && a.changedMs === b.changedMs;
}

/** A token goes into a header line: anything else in it would break out of the line. */
function checkToken(text: string): string {
  const token = text.trim();
  if (token === "") throw new Error("the file is empty");
  const fault = tokenFault(token);
  if (fault !== undefined) throw new Error(`the file's token ${fault}`);
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error("the file holds no token");
  return token;
}
