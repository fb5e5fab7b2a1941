/** `access login`. */
import {
  type AccessLoginOptions,
  parseAccessLoginOptions,
} from "../../../config/access_login_options.ts";
import { type Command, commandOf, type CommandOutput } from "../../../commands/command.ts";
import { refused } from "./output.ts";
import { personContext } from "./person_context.ts";
import { signedInFor } from "./person_service.ts";

/** The command, for `access.ts`. */
export const loginCommand: Command = commandOf({
  word: "login",
  parse: parseAccessLoginOptions,
  make: login,
});

async function login({ service, places, warnings, ...person }: AccessLoginOptions): Promise<
  CommandOutput
> {
  try {
    const context = personContext(person, new AbortController().signal);
    const { username } = await signedInFor(service, places, context);
    return { text: `Signed in as ${username}\n`, warnings };
  } catch (error) {
    return refused(error);
  }
}
