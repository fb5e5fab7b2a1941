/** The agent's credential for its target: a ServiceAccount token that is rotated under its feet. */
import { foldedName } from "../http1/folded_name.ts";
import { tokenFault } from "../domain/token.ts";
import { messageOf } from "../message_of.ts";
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

/** Where a credential is, and how it goes into a request. */
export interface CredentialOptions {
  readonly file: TokenFile;
  /** The field's name. */
  readonly header: string;
  /** Stands before the token; empty for the token alone. */
  readonly scheme: string;
  /** The option that names the file, without dashes: `sa-token-path`. */
  readonly origin: string;
}

/** Reads the token for each request; only a changed file is read again. */
export class Credentials {
  readonly #options: CredentialOptions;
  /** The field's name as targets may fold it. */
  readonly foldedKey: string;
  readonly #loaded: (token: string) => void;
  #version: FileVersion | undefined;
  #value: string | undefined;

  /** @param loaded Called with each token that is read. */
  constructor(options: CredentialOptions, loaded: (token: string) => void = () => {}) {
    this.#options = options;
    this.foldedKey = foldedName(options.header.toLowerCase());
    this.#loaded = loaded;
  }

  /** The field's name. */
  get header(): string {
    return this.#options.header;
  }

  /**
   * The field's value for a request that is sent now.
   *
   * @throws {StreamError} `credentials` when the file can't be read or holds no token: a request
   *   without its credential would be a different request.
   */
  value(): string {
    const { file, origin } = this.#options;
    try {
      const version = file.version();
      const isKnown = version === this.#version ||
        (this.#version?.isSettled && isSame(version, this.#version));
      // What changed a moment ago may have changed once more without a trace.
      if (!isKnown || this.#value === undefined) this.#value = this.#load(file);
      this.#version = version;
      return this.#value;
    } catch (error) {
      this.#version = undefined;
      const reason = messageOf(error);
      const message = `The token can't be read: ${reason}; --${origin} must name its file`;
      throw new StreamError("credentials", message);
    }
  }

  #load(file: TokenFile): string {
    const { scheme } = this.#options;
    const token = checkToken(file.read());
    const value = scheme === "" ? token : `${scheme} ${token}`;
    if (value !== this.#value || !this.#version) this.#loaded(token);
    return value;
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
