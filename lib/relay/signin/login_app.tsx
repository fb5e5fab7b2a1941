/** The login host: where browsers go on their way to a provider, and come back to. */
import { type Context, Hono } from "hono";
import { getField } from "../../http1/head.ts";
import { deniedPage } from "./answers.tsx";
import { cookieNames } from "../relay_cookies.ts";
import type { Start, State } from "./handoff.ts";
import { endSession } from "./logout.tsx";
import { BackChannel } from "./back_channel.ts";
import { redirectUri, secretsOf } from "./attempts.ts";
import { providerFailed } from "./provider_failed.tsx";
import { programCallback, programPages } from "./programs/program_pages.tsx";
import { foreignForm, jsonError, type OwnRequest, readForm, redirect } from "./own_request.ts";
import { isReturnPath } from "./return_path.ts";
import { assetPaths, assetResponse } from "../pages/assets.ts";
import { Notice, page } from "../pages/page.tsx";
import { type ListRequest, listRequest, type PageOfList } from "../pages/pager.tsx";
import { Account, Portal, type PortalService } from "../pages/portal.tsx";
import { ProviderError } from "./provider_error.ts";
import { failed, logoutPage, signOutOrigins } from "./service_app.tsx";
import type { SessionRecord } from "./sessions/sessions.ts";
import { auditedSession } from "./sign_in_audit.ts";
import { type SignIn, SignInRefusal } from "./sign_in.ts";
import { beginTransaction, digestOf, forget, randomText, secretOf } from "./transactions.ts";

/** Hono's type parameter. */
export interface LoginEnv {
  Bindings: OwnRequest;
}

/** What the login host's pages show of the relay. */
export interface LoginPages {
  /** The services that somebody may open. */
  services(
    session: SessionRecord,
    address: string,
    list: ListRequest,
  ): Promise<PageOfList<PortalService>>;
  /** Whether somebody may see the relay's status. */
  maySeeStatus(session: SessionRecord, address: string): boolean;
}

/** The pages of the login host. */
export function loginApp(signIn: SignIn, pages: LoginPages): Hono<LoginEnv> {
  const app = new Hono<LoginEnv>();
  const backChannel = new BackChannel(signIn);
  for (const path of assetPaths) app.get(path, () => assetResponse(path));
  app.get("/.culvert/login", (c) => login(signIn, c));
  app.get("/.culvert/start", (c) => start(signIn, c));
  app.get("/.culvert/callback", (c) => callback(signIn, c));
  app.get("/.culvert/logout", () => logoutPage(signIn));
  app.post("/.culvert/logout", async ({ env: { fields } }) => {
    if (!signIn.isOwnForm(fields, signIn.loginOrigin)) return foreignForm();
    const { loginOrigin } = signIn;
    const session = await signIn.atLogin(fields);
    return await endSession(signIn, session, cookieNames(loginOrigin), loginOrigin);
  });
  app.get("/.culvert/signed-out", () => signedOut());
  app.post("/.culvert/sessions", (c) => endOwnSession(signIn, c));
  app.post("/.culvert/backchannel-logout", (c) => backChannel.answer(c.req.raw, c.env.address));
  programPages(app, signIn);
  app.get("/", (c) => home(signIn, pages, c));
  app.notFound(() => jsonError(404, "no_such_path", "the relay has nothing at this path"));
  app.onError((error) => failed(signIn, error));
  return app;
}

function signedOut(): Response {
  const text = "You are signed out of all services behind this relay.";
  const link = { href: "/", label: "Sign in again" };
  return page("Signed out", <Notice text={text} link={link} />, { status: 200 });
}

async function home(
  signIn: SignIn,
  pages: LoginPages,
  { env: { fields, address }, req }: Context<LoginEnv>,
): Promise<Response> {
  const session = await signIn.atLogin(fields);
  if (!session) return signInPage(signIn);
  const { username } = session;
  const list = listRequest(new URL(req.url).searchParams);
  const services = await pages.services(session, address, list);
  const { issuer, subject } = session;
  const own = await signIn.people.list({ person: { issuer, subject } });
  const sessions = own.sessions.map((other) => ({ ...other, isThis: other.id === session.id }))
    .sort((one, other) => other.sinceMs - one.sinceMs);
  const status = pages.maySeeStatus(session, address);
  const nowMs = signIn.context.clock.nowMs();
  return page("Services", <Portal {...{ services, sessions, nowMs }} />, {
    status: 200,
    shape: "wide",
    bar: <Account {...{ username, status }} path="/" />,
    formOrigins: signOutOrigins(signIn),
  });
}

function signInPage({ providers }: SignIn): Response {
  const text = providers.length === 0
    ? "This relay has no provider at which people sign in."
    : "Sign in to see the services that you may open.";
  const links = providers.map(({ config: { name } }) => ({
    href: `/.culvert/login?${new URLSearchParams({ provider: name })}`,
    label: providers.length === 1 ? "Sign in" : `Sign in with ${name}`,
  }));
  return page("Not signed in", <Notice text={text} links={links} />, { status: 200 });
}

/** Signs somebody in who has come here without a service. */
async function login(signIn: SignIn, { env: { fields }, req }: Context<LoginEnv>) {
  const site = signIn.loginSite(req.query("provider") ?? signIn.providers[0]?.config.name);
  if (!site) return staleLink();
  const to = req.query("to");
  const path = isReturnPath(to) ? to : "/";
  // Any page can lead here; what is open must not end by that.
  const session = await signIn.atLogin(fields);
  if (session?.provider === site.provider) return redirect(302, signIn.loginOrigin + path);
  const start = { site, path, transaction: "", binding: "", selects: false };
  return await toProvider(signIn, fields, start);
}

/** Ends one of somebody's own sessions: the one that asks, or another browser's. */
async function endOwnSession(
  signIn: SignIn,
  { env: { fields }, req }: Context<LoginEnv>,
): Promise<Response> {
  if (!signIn.isOwnForm(fields, signIn.loginOrigin)) return foreignForm();
  const session = await signIn.atLogin(fields);
  const id = (await readForm(req.raw))?.get("session");
  if (session && id === session.id) {
    const { loginOrigin } = signIn;
    return await endSession(signIn, session, cookieNames(loginOrigin), loginOrigin);
  }
  if (session && id) {
    const { issuer, subject, username } = session;
    const { sessions } = await signIn.people.list({ person: { issuer, subject } });
    const isOwn = sessions.some((other) => other.id === id);
    if (isOwn) await signIn.people.revoke(id, username);
  }
  return redirect(303, `${signIn.loginOrigin}/`);
}

/** A service's host sends a browser. */
async function start(signIn: SignIn, c: Context<LoginEnv>): Promise<Response> {
  const { fields } = c.env;
  const sealed = c.req.query("r") ?? "";
  const start = await signIn.handoff.openStart(sealed);
  if (!start) return staleLink();
  const session = start.selects ? undefined : await signIn.atLogin(fields);
  if (!session || session.provider !== start.site.provider) {
    return await toProvider(signIn, fields, start);
  }
  // A link on any page may have led here: nobody is handed over to a service without a sign of theirs.
  if (getField(fields, "sec-fetch-site") === "cross-site") {
    return askToContinue(start, session, sealed);
  }
  return await handOver(signIn, c.env, start, session);
}

/**
 * Its link leads to {@link start} again, from a page of this host. A form would not do: browsers hold
 * all redirects that follow to the page's form-action, and the service may redirect to any origin.
 */
function askToContinue({ site }: Start, { username }: SessionRecord, sealed: string): Response {
  const label = `Continue to ${site.service}`;
  const link = { href: `/.culvert/start?r=${sealed}`, label };
  const text = `You are signed in as ${username}.`;
  return page(`${label}?`, <Notice text={text} link={link} />, { status: 200 });
}

function staleLink(): Response {
  const text = "The link is too old, or names a service that is not there. Open the service again.";
  return page("Sign-in did not succeed", <Notice text={text} />, { status: 400 });
}

/** Sends a browser to the provider. */
async function toProvider(
  signIn: SignIn,
  fields: OwnRequest["fields"],
  start: Start,
  prompt = start.selects ? "select_account" : undefined,
): Promise<Response> {
  const provider = signIn.provider(start.site.provider);
  if (!provider) return staleLink();
  const { clock } = signIn.context;
  const names = cookieNames(signIn.loginOrigin);
  const login = beginTransaction(names, fields, clock.nowMs());
  const id = randomText(12);
  const state = await signIn.handoff.state(start, provider.config.name, id, login);
  try {
    const attempt = { state, ...await secretsOf(login.secret, id) };
    const url = await provider.authorizationUrl(attempt, redirectUri(signIn), prompt);
    return redirect(302, url, login.cookies);
  } catch (error) {
    return providerFailed(signIn, provider, error, linkTo(start));
  }
}

/** The provider sends a browser back. */
async function callback(signIn: SignIn, c: Context<LoginEnv>): Promise<Response> {
  const { fields } = c.env;
  const sealed = c.req.query("state") ?? "";
  const state = await signIn.handoff.openState(sealed);
  if (!state) return await programCallback(signIn, c.env, c.req.url, sealed) ?? staleLink();
  const provider = signIn.provider(state.provider);
  if (!provider) return staleLink();
  const names = cookieNames(signIn.loginOrigin);
  const secret = secretOf(names, fields, state.loginTransaction);
  const before = await signIn.atLogin(fields);
  if (secret === undefined || await digestOf(secret) !== state.loginBinding) {
    // Another tab of this browser has signed in meanwhile; its session is as good.
    return before && before.provider === state.provider
      ? await handOver(signIn, c.env, state, before)
      : tryAgain(state);
  }
  const url = new URL(redirectUri(signIn));
  url.search = new URL(c.req.url).search;
  try {
    const attempt = { state: sealed, ...await secretsOf(secret, state.id) };
    const verified = await provider.finish(url, attempt);
    const session = await signIn.begin(provider, verified, before);
    if (session instanceof SignInRefusal) return refused(signIn, state, session, c.env);
    const { address } = c.env;
    signIn.context.audit?.("sign_in", { ...auditedSession(session), address, decision: "allowed" });
    const answer = await handOver(signIn, c.env, state, session);
    answer.headers.append("Set-Cookie", await signIn.cookieFor(session));
    answer.headers.append("Set-Cookie", forget(names, state.loginTransaction));
    return answer;
  } catch (error) {
    if (state.selects && error instanceof ProviderError && error.code === "invalid_request") {
      // Providers need not know select_account (OpenID Connect Core, 3.1.2.1); all know login.
      signIn.context.log.info("Asking a provider for a login: it can't select accounts", {
        provider: state.provider,
        reason: error.message,
      });
      return await toProvider(signIn, fields, { ...state, selects: false }, "login");
    }
    return providerFailed(signIn, provider, error, linkTo(state));
  }
}

/** Back to the service, if its policy lets them in. */
async function handOver(
  signIn: SignIn,
  { address, requestId }: OwnRequest,
  start: Start,
  session: SessionRecord,
): Promise<Response> {
  if (start.site.hostname === signIn.loginHostname) {
    return redirect(303, start.site.origin + start.path);
  }
  const decision = signIn.decide(start.site.hostname, session, address);
  if (decision?.isAllowed) return redirect(303, await signIn.handoff.codeUrl(start, session));
  const missing = decision ? decision.missing : [];
  const tellsGroups = decision ? decision.tellsGroups : true;
  signIn.context.log.warn("Refused a person: the service's policy does not let them in", {
    user: session.username,
    provider: session.provider,
    session: session.id,
    service: start.site.service,
    missing,
    ...!tellsGroups && { groups: "groups not told" },
  });
  signIn.context.audit?.("handover", {
    ...auditedSession(session),
    ...{ address, service: start.site.service, hostname: start.site.hostname },
    ...{ decision: "denied", reason: "policy", missing: missing.join(", ") },
  });
  const denied = { isAllowed: false, missing, tellsGroups } as const;
  const switchUrl = `${signIn.loginOrigin}/.culvert/start?r=${await signIn.handoff.again(start)}`;
  return deniedPage(start.site, session, denied, switchUrl, { requestId });
}

function refused(
  signIn: SignIn,
  { site, provider }: State,
  { message }: SignInRefusal,
  { address }: OwnRequest,
): Response {
  signIn.context.log.warn("Refused a sign-in", { provider, reason: message, peer: address });
  const decision = "denied";
  signIn.context.audit?.("sign_in", { provider, address, decision, reason: message });
  const text = `The account can't be used here: ${message}.`;
  const link = { href: `${site.origin}/`, label: "Try again" };
  return page("Sign-in did not succeed", <Notice text={text} link={link} />, { status: 403 });
}

function linkTo({ site, path }: Start) {
  return { href: site.origin + path, label: "Try again" };
}

function tryAgain(start: Start): Response {
  const text =
    "This sign-in was begun in another browser, or too long ago, or is complete already.";
  const link = linkTo(start);
  return page("Sign-in did not succeed", <Notice text={text} link={link} />, { status: 400 });
}
