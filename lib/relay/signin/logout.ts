/** Signing out: here, and at the provider. */
import { type CookieNames, setCookie } from "../own_cookies.ts";
import { ProviderError } from "./provider_error.ts";
import { redirect } from "./own_request.ts";
import type { SessionRecord } from "./sessions.ts";
import type { SignIn } from "./sign_in.ts";

/**
 * Ends a session at all services, and has the browser end the provider's own. The cookies of other
 * hosts name a session that is no more.
 */
export async function endSession(
  signIn: SignIn,
  session: SessionRecord | undefined,
  names: CookieNames,
): Promise<Response> {
  const signedOut = `${signIn.loginOrigin}/.culvert/signed-out`;
  if (session) {
    const { log, sessions } = signIn.context;
    await sessions.end(session.id);
    const { username, provider, id } = session;
    log.info("Signed out", { user: username, provider, session: id });
  }
  const url = session && await endSessionUrl(signIn, session, signedOut);
  const answer = redirect(303, url ?? signedOut, [
    setCookie(names, names.session, "", 0),
    setCookie(names, names.login, "", 0),
  ]);
  answer.headers.set("Clear-Site-Data", '"cache"');
  return answer;
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
      reason: error.message,
    });
    return undefined;
  }
}
