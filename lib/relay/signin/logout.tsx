/** Signing out: here, and at the provider. */
import { messageOf } from "../../message_of.ts";
import { type CookieNames, setCookie } from "../relay_cookies.ts";
import { ProviderError } from "./provider_error.ts";
import { Notice, page } from "../pages/page.tsx";
import { redirect } from "./own_request.ts";
import type { SessionRecord } from "./sessions/sessions.ts";
import { auditedSession } from "./sign_in_audit.ts";
import type { SignIn } from "./sign_in.ts";

/**
 * Ends a session at all services, and has the browser end the provider's own. The cookies of other
 * hosts name a session that is no more.
 *
 * @param names of the cookies of the host that was asked
 */
export async function endSession(
  signIn: SignIn,
  session: SessionRecord | undefined,
  names: CookieNames,
  origin: string,
): Promise<Response> {
  const signedOut = `${signIn.loginOrigin}/.culvert/signed-out`;
  const isEnded = !session || await isEndedEverywhere(signIn, session);
  const url = session && isEnded && await endSessionUrl(signIn, session, signedOut);
  const answer = isEnded ? redirect(303, url || signedOut) : notEverywhere(origin);
  for (const name of [names.session, names.login]) {
    answer.headers.append("Set-Cookie", setCookie(names, name, "", 0));
  }
  answer.headers.set("Clear-Site-Data", '"cache"');
  return answer;
}

async function isEndedEverywhere(
  { context: { log, sessions, audit } }: SignIn,
  session: SessionRecord,
): Promise<boolean> {
  const { id, username: user, provider } = session;
  audit?.("sign_out", auditedSession(session));
  try {
    await sessions.end(id);
    log.info("Signed out", { user, provider, session: id });
    return true;
  } catch (error) {
    log.error("Signed out on this relay only: the store of sessions is unavailable", {
      user,
      provider,
      session: id,
      error: messageOf(error),
    });
    return false;
  }
}

function notEverywhere(origin: string): Response {
  const text =
    "You are signed out on this relay. Others may still let you in for a moment, as the " +
    "store that they share does not answer; they will follow.";
  const link = { href: `${origin}/`, label: "Back" };
  return page("Not signed out everywhere yet", <Notice text={text} link={link} />, {
    status: 503,
    headers: [["Retry-After", "10"]],
  });
}

/** Undefined while the provider is away: whoever signs out is signed out here all the same. */
async function endSessionUrl(
  signIn: SignIn,
  session: SessionRecord,
  signedOut: string,
): Promise<string | undefined> {
  try {
    return await signIn.provider(session.provider)?.endSessionUrl(session.username, signedOut);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    signIn.context.log.warn("Could not sign out at the provider", {
      provider: session.provider,
      error: error.message,
    });
    return undefined;
  }
}
