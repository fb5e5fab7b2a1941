/** `access kubectl-token`. */
import { askedVersion, execCredential } from "../../../access/exec_credential.ts";
import {
  type AccessKubectlTokenOptions,
  parseAccessKubectlTokenOptions,
} from "../../../config/access_login_options.ts";
import { type Command, commandOf, type CommandOutput } from "../../../commands/command.ts";
import { ConfigError } from "../../../config/config_error.ts";
import { refused } from "./output.ts";
import { personContext } from "./person_context.ts";
import { signedInFor } from "./person_service.ts";

/** The command, for `access.ts`. */
export const kubectlTokenCommand: Command = commandOf({
  word: "kubectl-token",
  parse: parseAccessKubectlTokenOptions,
  make: print,
});

async function print(
  { service, places, execInfo, warnings, ...person }: AccessKubectlTokenOptions,
): Promise<CommandOutput> {
  const version = versionIn(execInfo);
  try {
    const context = personContext(person, new AbortController().signal);
    const { accessToken, expiresMs } = await signedInFor(service, places, context);
    return { text: execCredential(version, accessToken, expiresMs), warnings };
  } catch (error) {
    return refused(error);
  }
}

function versionIn(execInfo: string | undefined): string {
  try {
    return askedVersion(execInfo);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new ConfigError(`Environment variable KUBERNETES_EXEC_INFO ${error.message}`);
  }
}
