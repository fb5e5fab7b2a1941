/** The relay's own pages at a service's host: all of them below `/.culvert/`. */
import { type Context, Hono } from "hono";
import { cookieNames } from "../relay_cookies.ts";
import { foreignForm, jsonError, redirect, type SiteRequest } from "./own_request.ts";
import { assetPaths, assetResponse } from "../pages/assets.ts";
import { Action, Notice, page } from "../pages/page.tsx";
import { isReturnPath } from "./return_path.ts";
import type { SessionRecord } from "./sessions/sessions.ts";
import type { SignIn } from "./sign_in.ts";
import { digestOf, forget, secretOf } from "./transactions.ts";
import { endSession } from "./logout.tsx";
import { programPathsAt } from "./programs/program_pages.tsx";

/** Hono's type parameter. */
export interface SiteEnv {
  Bindings: SiteRequest;
}

/** The pages of all services' hosts. */
export function serviceApp(signIn: SignIn): Hono<SiteEnv> {
  const app = new Hono<SiteEnv>();
  for (const path of assetPaths) app.get(path, () => assetResponse(path));
  app.get("/.culvert/login", async ({ env: { site, fields } }) => {
    if (site.provider === undefined) return redirect(302, `${site.origin}/`);
    const { url, cookies } = await signIn.handoff.start(site, fields, "/");
    return redirect(302, url, cookies);
  });
  app.get("/.culvert/callback", (c) => callback(signIn, c));
  app.get("/.culvert/logout", () => logoutPage(signIn));
  app.post("/.culvert/logout", async ({ env: { site, fields } }) => {
    if (!signIn.isOwnForm(fields, site.origin)) return foreignForm();
    const session = await signIn.identify(fields, site);
    return await endSession(signIn, session, cookieNames(site.origin), site.origin);
  });
  programPathsAt(app, signIn);
  app.notFound(() => jsonError(404, "no_such_path", "the relay has nothing at this path"));
  app.onError((error) => failed(signIn, error));
  return app;
}

/** A bug: the person is told that it is none of theirs, and the log what it is. */
export function failed(signIn: SignIn, error: Error): Response {
  // The message may cite what was asked for; the stack's first place says where it was.
  signIn.context.log.error("Could not serve one of the relay's own pages", {
    error: error.name,
    at: error.stack?.split("\n").find((line) => line.trimStart().startsWith("at "))?.trim(),
  });
  const text = "Something went wrong at the relay. Its log says what.";
  return page("Sign-in has failed", <Notice text={text} />, { status: 503 });
}

/** The page with a button that signs out; a GET ends nothing, as any page can cause one. */
export function logoutPage(signIn: SignIn): Response {
  const action = <Action action="/.culvert/logout" label="Sign out" />;
  return page("Sign out?", action, { status: 200, formOrigins: signOutOrigins(signIn) });
}

/**
 * Browsers hold the redirects that follow a form to the page's form-action (CSP level 3, 6.4.1). A
 * provider may send them on to any other, at which it has signed the person in itself.
 */
export function signOutOrigins({ loginOrigin, providers }: SignIn): string[] {
  const issuers = providers.map(({ config }) => new URL(config.issuer).origin);
  // Plain HTTP is for loopback.
  return [loginOrigin, "https:", ...issuers.filter((origin) => origin.startsWith("http:"))];
}

async function callback(signIn: SignIn, c: Context<SiteEnv>): Promise<Response> {
  const { site, fields } = c.env;
  const names = cookieNames(site.origin);
  const code = await signIn.handoff.openCode(site, c.req.query("code") ?? "");
  const session = code && await sessionOf(signIn, c.env, code);
  const before = await signIn.identify(fields, site);
  if (code && session) {
    // The cookie that is there is replaced; the session that it names must end.
    if (before && before.id !== session.id) await signIn.context.sessions.end(before.id);
    const cookies = [await signIn.cookieFor(session, site), forget(names, code.transaction)];
    return redirect(303, site.origin + code.path, cookies);
  }
  // Another tab has signed in meanwhile, and with that this one as well.
  if (before && code) return redirect(303, site.origin + code.path);
  return tryAgain(code?.path);
}

/** The session that a code brings, once, and only to the browser that asked for it. */
async function sessionOf(
  signIn: SignIn,
  { site, fields, address }: SiteRequest,
  code: { id: string; session: string; transaction: string; binding: string; expiresMs: number },
): Promise<SessionRecord | undefined> {
  const { log, sessions } = signIn.context;
  const refused = (reason: string): undefined => {
    log.warn("Refused a sign-in's code", { reason, peer: address, service: site.service });
  };
  if (!await sessions.useOnce(`code ${code.id}`, code.expiresMs)) return refused("used before");
  const secret = secretOf(cookieNames(site.origin), fields, code.transaction);
  if (secret === undefined) return refused("the browser has no cookie of this sign-in");
  if (await digestOf(secret) !== code.binding) return refused("another browser's");
  const session = await sessions.find(code.session) ?? await sessions.successorOf(code.session);
  return session ?? refused("the session has ended");
}

function tryAgain(path: string | undefined): Response {
  const href = isReturnPath(path) ? path : "/";
  const text =
    "This sign-in was begun in another browser, or too long ago, or is complete already.";
  const link = { href, label: "Try again" };
  return page("Sign-in did not succeed", <Notice text={text} link={link} />, {
    status: 400,
  });
}
