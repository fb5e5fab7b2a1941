/** `access logout`. */
import { ServiceError } from "../../../access/service_error.ts";
import { type SignedIn, without } from "../../../access/token_cache.ts";
import {
  type AccessLogoutOptions,
  parseAccessLogoutOptions,
} from "../../../config/access_login_options.ts";
import { type Command, commandOf, type CommandOutput } from "../../../commands/command.ts";
import { revokeToken } from "./token_client.ts";
import { TokenStore } from "./token_store.ts";

/** The command, for `access.ts`. */
export const logoutCommand: Command = commandOf({
  word: "logout",
  parse: parseAccessLogoutOptions,
  make: logout,
});

async function logout(
  { directory, origin, serviceAt, warnings }: AccessLogoutOptions,
): Promise<CommandOutput> {
  const store = new TokenStore(directory);
  const meant = store.read().signedIn.filter((it) => origin === undefined || isAt(it, origin));
  const failures: string[] = [];
  for (const signedIn of meant) {
    try {
      const { signal } = new AbortController();
      await revokeToken(serviceAt(signedIn.origin), signedIn.refreshToken, signal);
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      failures.push(`${error.message}; its session continues until it expires`);
    }
    // Who signs out has no use for it, whether the relay knows that or not.
    await store.change((cache) => without(cache, signedIn));
  }
  return {
    text: textOf(meant),
    warnings: [...warnings, ...failures],
    exitCode: failures.length > 0 ? 1 : 0,
  };
}

function isAt({ origin, places }: SignedIn, asked: string): boolean {
  return origin === asked || places.includes(asked);
}

function textOf(signedOut: readonly SignedIn[]): string {
  if (signedOut.length === 0) return "Nobody was signed in\n";
  return signedOut.map(({ username, origin }) => `Signed out ${username} at ${origin}\n`).join("");
}
