/** Files named by options, read whole at start so that a wrong one is found then and not later. */
import { closeSync, constants, openSync, readdirSync, statSync } from "node:fs";
import { ConfigError } from "./config_error.ts";
import { certificateBlocks, PemError, privateKeyBlock } from "./pem.ts";
import { decodeText, readAll, readText, TextFileError, type TextRules } from "./text_file.ts";

/** Which option named a file, for messages. */
export interface NamedFile {
  /** "Option --tls-cert", "Environment variable TLS_CERT" or "Default of option --ca-cert". */
  readonly origin: string;
  readonly path: string;
  /** What else the user may do; ends the message. */
  readonly remedy?: string;
}

/** One file's content. */
export interface FileText {
  readonly path: string;
  readonly text: string;
}

/**
 * Reads a file as UTF-8 text, without its byte order mark.
 *
 * @throws {ConfigError} when it cannot be read, or is no text
 */
export function readTextFile(file: NamedFile, rules?: TextRules): string {
  try {
    return readText(file.path, rules);
  } catch (error) {
    if (error instanceof TextFileError) throw fault(file, `which ${error.message}`);
    throw fault(file, `which cannot be read: ${systemReason(error)}`);
  }
}

const STANDARD_INPUT = 0;

/** A token has some dozen bytes; this is to end at what never ends. */
const MAX_STANDARD_INPUT_BYTES = 64 * 1024;

/**
 * Reads standard input to its end, as UTF-8 text.
 *
 * @param origin Which option asked for it.
 * @throws {ConfigError} when it can't be read, or is over 64 KiB
 */
export function readStandardInput(origin: string): string {
  try {
    return decodeText(readAll(STANDARD_INPUT, MAX_STANDARD_INPUT_BYTES));
  } catch (error) {
    if (error instanceof TextFileError) {
      throw new ConfigError(`${origin}: standard input ${error.message}`);
    }
    throw new ConfigError(`${origin}: standard input cannot be read: ${systemReason(error)}`);
  }
}

/**
 * Reads a file, or those files of a directory that `accepts` takes by their names, in the names' order.
 *
 * @throws {ConfigError} when the directory or one of the files cannot be read
 */
export function readTextFiles(
  file: NamedFile,
  accepts: (name: string) => boolean,
): readonly FileText[] {
  if (!isDirectory(file.path)) return [{ path: file.path, text: readTextFile(file) }];
  const paths = namesIn(file).filter(accepts).sort().map((name) => joinPath(file.path, name));
  return paths.map((path) => ({ path, text: readTextFile({ ...file, path }) }));
}

/** A file's path in a directory. */
export function joinPath(directory: string, name: string): string {
  return `${directory.replace(/\/+$/, "")}/${name}`;
}

/** Whether something is at a path. */
export function isThere(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

/** What cannot be looked at is taken for a file: reading it says why. */
function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false;
  }
}

function namesIn(file: NamedFile): string[] {
  try {
    return readdirSync(file.path);
  } catch (error) {
    throw fault(file, `which cannot be read: ${systemReason(error)}`);
  }
}

/**
 * Reads a file of certificates in PEM.
 *
 * @returns the file's text as it is
 * @throws {ConfigError} when the file can't be read, or holds no certificate or one that is damaged
 */
export function readCertificateFile(file: NamedFile): string {
  return checked(file, certificateBlocks);
}

/**
 * Reads a file with a private key in PEM.
 *
 * @returns the file's text as it is
 * @throws {ConfigError} when the file can't be read, holds no private key or an encrypted one
 */
export function readPrivateKeyFile(file: NamedFile): string {
  return checked(file, privateKeyBlock);
}

/**
 * Says what keeps a file from being used now; undefined when nothing does. The words complete "the file
 * …". It is opened for that: `accessSync` asks Deno for the user's id, which no program of ours may see.
 * A pipe is not read, and one that nobody writes to does not hold this up.
 */
export function whyUnusable(path: string): string | undefined {
  try {
    closeSync(openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)));
    if (statSync(path).isFile()) readText(path);
    return undefined;
  } catch (error) {
    if (error instanceof TextFileError) return error.message;
    return `cannot be read yet: ${systemReason(error)}; requests fail until it can`;
  }
}

function checked(file: NamedFile, check: (text: string) => unknown): string {
  // PEM that is no text is for the check to name: DER, for example.
  const text = readTextFile(file, { invalid: "replace" });
  try {
    check(text);
    return text;
  } catch (error) {
    if (!(error instanceof PemError)) throw error;
    throw fault(file, error.message);
  }
}

function fault({ origin, path, remedy }: NamedFile, what: string): ConfigError {
  const name = isPlainlyPath(path) ? JSON.stringify(path) : "a file";
  return new ConfigError(
    `${origin} names ${name}, ${what}${remedy === undefined ? "" : `; ${remedy}`}`,
  );
}

/**
 * Tells a path from a secret that was given in its place, perhaps in base64: a message shows the
 * first only. Base64 of PEM or JSON begins with a letter and has no dot.
 */
function isPlainlyPath(text: string): boolean {
  return /^(?:\.{0,2}\/|~|[A-Za-z]:[\\/])|\.[A-Za-z0-9]{1,8}$/.test(text) && !/["{\n]/.test(text);
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "there is no such file",
  EISDIR: "it is a directory",
  EACCES: "permission denied",
  EPERM: "permission denied",
  ELOOP: "it is a symbolic link that leads back to itself",
  ENAMETOOLONG: "the name is too long",
};

/** What the system said when a file could not be read, in words. */
export function systemReason(error: unknown): string {
  // Deno asks for its own permission before the system is asked for its.
  if (error instanceof Error && error.name === "NotCapable") {
    return "Deno does not allow it, run with --allow-read";
  }
  const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
  return REASONS[code] ?? code;
}
