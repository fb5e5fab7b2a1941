/** How a person of this machine signs in with `access`. */
import { ConfigError } from "./config_error.ts";
import { joinPath } from "./files.ts";
import { type Environment, variableOf } from "./options/environment.ts";

/** How a person signs in. */
export interface PersonOptions {
  readonly env: Environment;
  /** Where tokens are kept. */
  readonly directory: string;
  readonly timeoutMs: number;
  readonly opensBrowser: boolean;
  /** Whether the browser is on another machine. */
  readonly isDevice: boolean;
}

/** How people sign in for commands that have no options about it; not at all where tokens have no place. */
export function personOptions(env: Environment): PersonOptions | undefined {
  const directory = directoryIn(env);
  if (directory === undefined) return undefined;
  return { env, directory, timeoutMs: 180_000, opensBrowser: true, isDevice: false };
}

/** Where tokens are kept. @throws {ConfigError} where they have no place */
export function tokenDirectory(env: Environment): string {
  const directory = directoryIn(env);
  if (directory !== undefined) return directory;
  throw new ConfigError("There is no folder for tokens: set HOME or XDG_CONFIG_HOME");
}

/** `$XDG_CONFIG_HOME/culvert`, and its like on Windows. */
function directoryIn(env: Environment): string | undefined {
  const config = variableOf(env, "XDG_CONFIG_HOME");
  // The specification has relative paths ignored.
  if (config?.startsWith("/")) return joinPath(config, "culvert");
  const roaming = variableOf(env, "APPDATA");
  if (roaming) return joinPath(roaming, "culvert");
  const home = variableOf(env, "HOME") || variableOf(env, "USERPROFILE");
  return home ? joinPath(joinPath(home, ".config"), "culvert") : undefined;
}
