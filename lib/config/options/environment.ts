/** Environment variables as they really are: filled from files, by Docker and by shells. */
import { quotesAround } from "../../domain/token.ts";
import { ConfigError } from "../config_error.ts";

/** Environment variables by name. Reading one may throw: its bytes need not be text. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads a variable.
 *
 * @throws {ConfigError} for bytes that are not UTF-8; the runtime's own message would show them
 */
export function variableOf(env: Environment, name: string): string | undefined {
  try {
    return env[name];
  } catch {
    throw new ConfigError(
      `Environment variable ${name} is not UTF-8; if a file holds its value, save that as UTF-8`,
    );
  }
}

/** Whether the program runs in a pod: Kubernetes tells each container where its API server is. */
export function isInPod(env: Environment): boolean {
  return Boolean(variableOf(env, "KUBERNETES_SERVICE_HOST"));
}

/** A variable's text without what is around it, and what that was. */
export interface CleanText {
  readonly text: string;
  /** Completes "Environment variable …". */
  readonly warning?: string;
}

/**
 * Takes off what no value has at its ends: a byte order mark and one line break, as a file has them,
 * and blanks and carriage returns, which are worth a warning.
 */
export function cleanVariable(given: string): CleanText {
  const text = given.replace(/^\ufeff/, "").replace(/\r?\n$/, "");
  // JSON, or a file's text in its place, may have any white space around it.
  if (/^\s*[[{]|-----BEGIN/.test(text)) return { text };
  const inner = text.trim();
  if (inner === text) return { text };
  const ends = text.trimEnd() === text ? text : text.slice(text.trimEnd().length);
  const place = text.trimEnd() === text ? "begins" : "ends";
  const what = ends.includes("\r") && place === "ends"
    ? "a carriage return (CR), as a file with Windows line ends leaves it"
    : "a blank";
  return { text: inner, warning: `${place} with ${what}; it is left out` };
}

/**
 * Quotes around a value are for a shell, which takes them off. Docker's `--env-file` does not, nor does
 * a list of arguments in YAML.
 *
 * @throws {ConfigError} that names them
 */
export function refuseQuotes(origin: string, text: string): void {
  const around = quotesAround(text);
  if (around === undefined) return;
  throw new ConfigError(
    `${origin} is in ${around}; leave them out, because nothing takes them off here`,
  );
}
