/** How a person of this machine signs in, for the commands of `access`. */
import process from "node:process";
import type { PersonOptions } from "../../../config/access_person.ts";
import type { PersonContext } from "./person_service.ts";
import { TokenStore } from "./token_store.ts";

/** @param signal ends it */
export function personContext(options: PersonOptions, signal: AbortSignal): PersonContext {
  const { directory, ...rest } = options;
  return {
    ...rest,
    store: new TokenStore(directory),
    // Standard output may be a program's: a connection, or a credential for kubectl.
    say: (line) => void process.stderr.write(`access: ${line}\n`),
    signal,
  };
}
