/** What the tests of this room share. */
import assert from "node:assert/strict";
import { ConfigError } from "../../lib/config/config_error.ts";
import type { Parsed } from "../../lib/config/options/options.ts";

export const CERTIFICATE_PEM =
  "-----BEGIN CERTIFICATE-----\nY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";
export const PRIVATE_KEY_PEM =
  "-----BEGIN PRIVATE KEY-----\ncHJpdmF0ZSBrZXk=\n-----END PRIVATE KEY-----\n";

/** A directory that is removed when it goes out of scope. */
export class ScratchDirectory implements Disposable {
  readonly path = Deno.makeTempDirSync();

  /** Writes a file and returns its path. */
  write(name: string, text: string): string {
    const path = `${this.path}/${name}`;
    Deno.writeTextFileSync(path, text);
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Asserts that `run` throws a ConfigError with exactly this message, which is one line. */
export function assertRefused(run: () => unknown, message: string): void {
  assert.equal(refusalOf(run), message);
}

/** Returns the message of the ConfigError that `run` throws, after a look at its form. */
export function refusalOf(run: () => unknown): string {
  let thrown: unknown;
  try {
    run();
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown instanceof ConfigError, `Expected a ConfigError, got: ${thrown}`);
  assert.match(thrown.message, /^[A-Z].*[^.]$/, "one line, capital first letter, no final stop");
  return thrown.message;
}

/** Returns the options of a result that must be a run. */
export function runOptions<Options>(parsed: Parsed<Options>): Options {
  assert.equal(parsed.kind, "run");
  assert.ok(parsed.kind === "run");
  return parsed.options;
}
