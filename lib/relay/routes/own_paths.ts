/** culvert's own paths at a service's host, as far as they are about who uses it. */
import type { Context } from "hono";
import type { RelayEnv } from "../env.ts";
import type { Relay } from "../relay.ts";
import { assetPaths } from "../pages/assets.ts";
import { programPaths } from "../signin/programs/program_paths.ts";
import { answerNoOwnPath } from "./service.ts";

/** Handles a request of the relay's web app. */
type Handler = (c: Context<RelayEnv>) => Response | Promise<Response>;

/** Paths of sign-in, and of what its pages load. */
export const signInPaths: readonly string[] = [
  ...assetPaths,
  ...["/.culvert/login", "/.culvert/callback", "/.culvert/logout"],
  ...programPaths,
];

/** What sign-in answers; nothing is there where nobody signs in. */
export function signInHandler(relay: Relay): Handler {
  return function signIn({ env: { exchange, service, alreadyAnswered } }) {
    if (relay.signIn && service) {
      return relay.signIn.answerOwnPath(exchange, service).then(() => alreadyAnswered);
    }
    answerNoOwnPath(exchange);
    return alreadyAnswered;
  };
}
