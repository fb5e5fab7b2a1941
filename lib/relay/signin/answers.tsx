/** Answers at a service's host to those who are not let in. */
import type { AccessDecision, SignInRequest, Site } from "./site.ts";
import { Denied, Notice, page } from "../pages/page.tsx";
import { jsonError, redirect } from "./own_request.ts";
import { requestKind } from "./request_kind.ts";
import { returnPathOf } from "./return_path.ts";
import type { SessionRecord } from "./sessions/sessions.ts";
import type { SignIn } from "./sign_in.ts";

/** Where somebody signs in by hand: `access` and scripts are told this URL. */
export function signInUrl({ origin }: Site): string {
  return `${origin}/.culvert/login`;
}

/**
 * Answers a request without an identity: a page that is opened goes on to the login host, all else
 * learns that it has to.
 */
export async function demandSignIn(
  signIn: SignIn,
  site: Site,
  { head }: Pick<SignInRequest, "head">,
): Promise<Response> {
  const kind = requestKind({ ...head, minor: 1 });
  if (kind === "page") {
    const { url, cookies } = await signIn.handoff.start(
      site,
      head.fields,
      returnPathOf(head.target),
    );
    return redirect(302, url, cookies);
  }
  const loginUrl = signInUrl(site);
  const challenge = [
    "WWW-Authenticate",
    `Bearer realm="culvert", login_url="${loginUrl}"`,
  ] as const;
  if (kind === "frame") {
    const link = { href: loginUrl, label: "Sign in", target: "_top" };
    return page(
      "Sign in to continue",
      <Notice
        text="This part of the page needs you to sign in, in a window of its own."
        link={link}
      />,
      { status: 401, headers: [challenge], frameAncestors: "'self'" },
    );
  }
  if (kind === "form") {
    const link = { href: returnPathOf(head.target), label: "Sign in" };
    const text = "Your session has ended before the form arrived. What you sent was not kept: " +
      "sign in, and send it again.";
    return page("Sign in to continue", <Notice text={text} link={link} />, {
      status: 401,
      headers: [challenge],
    });
  }
  const message = "sign in to open this service";
  return jsonError(401, "sign_in_required", message, { signInUrl: loginUrl }, [challenge]);
}

/** Answers somebody who has signed in, and whom the service's policy does not let in. */
export async function denyAccess(
  signIn: SignIn,
  site: Site,
  { head }: Pick<SignInRequest, "head">,
  session: SessionRecord,
  decision: AccessDecision & { readonly isAllowed: false },
  requestId: string | undefined,
): Promise<Response> {
  const kind = requestKind({ ...head, minor: 1 });
  if (kind === "other") {
    const message = decision.otherRequests !== undefined
      ? `the policy of this service lets this account in only ${decision.otherRequests}`
      : decision.tellsGroups
      ? "the policy of this service does not let this account in"
      : "the policy of this service does not let this account in; its provider has not told its groups";
    return jsonError(403, "policy", message, { missing: decision.missing });
  }
  const path = returnPathOf(head.target);
  const { url, cookies } = await signIn.handoff.start(site, head.fields, path, true);
  return deniedPage(site, session, decision, url, { cookies, requestId });
}

/** The page of {@link denyAccess}. */
export function deniedPage(
  site: Site,
  session: SessionRecord,
  { missing, tellsGroups, otherRequests }: AccessDecision & { readonly isAllowed: false },
  switchUrl: string,
  more: { readonly cookies?: readonly string[]; readonly requestId?: string | undefined } = {},
): Response {
  const { username, provider } = session;
  return page(
    otherRequests === undefined ? "You may not open this service" : "You may not do this",
    <Denied
      {...{ username, provider, missing, tellsGroups, otherRequests, switchUrl }}
      service={site.service}
      requestId={more.requestId}
    />,
    {
      status: 403,
      headers: (more.cookies ?? []).map((cookie) => ["Set-Cookie", cookie] as const),
    },
  );
}
