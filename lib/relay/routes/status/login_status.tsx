/** The status page on the login host, for those whom `login.statusPolicy` lets in. */
import { answerWith } from "../../../net/app_response.ts";
import type { Exchange } from "../../../net/exchange.ts";
import { cookieNames, readCookie } from "../../relay_cookies.ts";
import { assetResponse } from "../../pages/assets.ts";
import { Notice, page } from "../../pages/page.tsx";
import { Account } from "../../pages/portal.tsx";
import { scriptPath } from "../../pages/status/script.ts";
import { jsonError, redirect } from "../../signin/own_request.ts";
import type { RelaySignIn } from "../../signin/relay_sign_in.ts";
import { requestKind } from "../../signin/request_kind.ts";
import { signOutOrigins } from "../../signin/service_app.tsx";
import type { SessionRecord } from "../../signin/sessions/sessions.ts";
import { StatusPages } from "./status_pages.tsx";
import type { StatusViewer } from "./viewer.ts";

/** Whether a request to the login host is about the status. */
export function isLoginStatus({ head: { target } }: Exchange): boolean {
  return target === scriptPath || StatusPages.answers(target);
}

/** Answers it. */
export async function answerLoginStatus(
  web: RelaySignIn,
  pages: StatusPages,
  exchange: Exchange,
  requestId: string,
): Promise<void> {
  if (exchange.head.target === scriptPath) {
    return await answerWith(exchange, assetResponse(scriptPath));
  }
  const { signIn } = web;
  const { head: { fields }, peer: { address } } = exchange;
  const session = await signIn.atLogin(fields);
  if (!session) return await answerWith(exchange, demandSignIn(web, exchange));
  if (!web.maySeeStatus(session, address)) {
    return await answerWith(exchange, refuse(web, exchange, session, requestId));
  }
  await pages.answer(exchange, viewerOf(web, exchange, session), signIn.loginOrigin);
}

function demandSignIn({ signIn: { loginOrigin } }: RelaySignIn, { head }: Exchange): Response {
  if (requestKind(head) !== "page") {
    return jsonError(401, "sign_in_required", "sign in to see the status");
  }
  const query = new URLSearchParams({ to: head.target });
  return redirect(302, `${loginOrigin}/.culvert/login?${query}`);
}

function refuse(
  { signIn }: RelaySignIn,
  { head }: Exchange,
  { username, provider, id }: SessionRecord,
  requestId: string,
): Response {
  signIn.context.log.warn("Refused a person: login.statusPolicy does not let them see the status", {
    user: username,
    provider,
    session: id,
  });
  if (requestKind(head) === "other") {
    return jsonError(403, "policy", "login.statusPolicy does not let this account see the status");
  }
  const text = `You are signed in as ${username}, but you may not see the relay's status.`;
  const link = { href: "/", label: "Back to the services" };
  return page("You may not see the status", <Notice {...{ text, link, requestId }} />, {
    status: 403,
  });
}

function viewerOf(web: RelaySignIn, exchange: Exchange, session: SessionRecord): StatusViewer {
  const { signIn } = web;
  const { head: { fields }, peer: { address } } = exchange;
  const { username, id } = session;
  return {
    name: username,
    scope: undefined,
    seesPeople: true,
    browserSecret: readCookie(fields, cookieNames(signIn.loginOrigin).login)!,
    isLetIn() {
      const now = signIn.current(id);
      return now !== undefined && web.maySeeStatus(now, address);
    },
    bar: <Account username={username} path="/status" status />,
    formOrigins: signOutOrigins(signIn),
  };
}
