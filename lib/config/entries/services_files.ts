/** Files of services: one, or a directory of them. */
import { ConfigError } from "../config_error.ts";
import type { FileText } from "../files.ts";
import type { ServicesContext } from "./service_checks.ts";
import { readServices, type Services } from "./services.ts";

/** Which files of a directory hold services, by name. Kubernetes hides its own behind a dot. */
export function isServicesFile(name: string): boolean {
  return /^[^.].*\.(?:json|ya?ml)$/.test(name);
}

/**
 * Reads what the files hold, at start and whenever they have changed.
 *
 * @param path of the file, or of the directory
 * @throws {ConfigError} when it is not valid, or a directory has no file of services: that is a mistake
 * more likely than the wish to publish nothing, which `services: []` in a file expresses
 */
export function readServicesFiles(
  path: string,
  files: readonly FileText[],
  context: ServicesContext,
): Services {
  if (files.length === 0) {
    throw new ConfigError(
      `Services directory ${JSON.stringify(path)} has no *.yaml, *.yml or *.json file`,
    );
  }
  const texts = files.map(({ path, text }) => ({
    text,
    source: `Services file ${JSON.stringify(path)}`,
  }));
  return readServices(texts, context);
}
