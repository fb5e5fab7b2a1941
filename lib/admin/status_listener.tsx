/** The status page on the admin listener: for programs with a token, and for browsers that were given one. */
import { getField } from "../http1/head.ts";
import { answerWith, NoRequest, toRequest } from "../net/app_response.ts";
import type { Exchange } from "../net/exchange.ts";
import { digestToken } from "../relay/digests.ts";
import { type CookieNames, readCookie, setCookie } from "../relay/relay_cookies.ts";
import { assetResponse, statusAssetPaths } from "../relay/pages/assets.ts";
import { Name, Notice, ownHeaders, page } from "../relay/pages/page.tsx";
import { statusPath } from "../relay/pages/status/links.ts";
import { TokenForm } from "../relay/pages/status/token_form.tsx";
import type { Relay } from "../relay/relay.ts";
import { StatusPages } from "../relay/routes/status/status_pages.tsx";
import type { StatusViewer } from "../relay/routes/status/viewer.ts";
import { readForm } from "../relay/signin/own_request.ts";
import { requestKind } from "../relay/signin/request_kind.ts";
import { answerError } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { AdminAuth } from "./auth.ts";
import { browserSessionMs, BrowserSessions } from "./browser_sessions.ts";
import type { Scope } from "./scope.ts";

/** `URL` wants one; paths and queries are all that is read. */
const anyOrigin = "http://localhost";
const signInPath = `${statusPath}/sign-in`;
const signOutPath = `${statusPath}/sign-out`;

/** Answers what is about the status, for somebody with a token. */
export class StatusListener {
  readonly #pages: StatusPages;
  readonly #sessions: BrowserSessions;
  readonly #relay: Relay;

  constructor(relay: Relay, sessions = new BrowserSessions()) {
    this.#relay = relay;
    this.#pages = new StatusPages(relay);
    this.#sessions = sessions;
  }

  /** @returns whether a request is about the status, and so was answered */
  async answer(exchange: Exchange, auth: AdminAuth): Promise<boolean> {
    const path = exchange.head.target.replace(/\?.*$/, "");
    if (statusAssetPaths.includes(path)) {
      await answerWith(exchange, assetResponse(path));
    } else if (path === "/") {
      await answerWith(exchange, seeOther(statusPath));
    } else if (path === signInPath) {
      await this.#signIn(exchange, auth);
    } else if (path === signOutPath) {
      await this.#signOut(exchange);
    } else if (StatusPages.answers(path)) {
      await this.#show(exchange, auth);
    } else return false;
    return true;
  }

  async #show(exchange: Exchange, auth: AdminAuth): Promise<void> {
    try {
      const viewer = await this.#viewerOf(exchange, auth);
      if (viewer) return await this.#pages.answer(exchange, viewer, anyOrigin);
      if (requestKind(exchange.head) === "page") return await answerWith(exchange, askForToken());
      // It says what is missing, and counts as nobody's guess.
      await auth.identify(exchange.head.fields, exchange.peer);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      answerError(exchange, error);
    }
  }

  /** @throws {ApiError} for a bearer token that is none */
  async #viewerOf(exchange: Exchange, auth: AdminAuth): Promise<StatusViewer | undefined> {
    const { head: { fields }, peer } = exchange;
    if (getField(fields, "authorization") !== undefined) {
      const { scope, digest } = await auth.identify(fields, peer);
      return viewer(scope, auth, digest, undefined);
    }
    const id = readCookie(fields, cookieOf(exchange).session);
    const digest = id === undefined ? undefined : this.#sessions.find(id);
    const scope = digest && auth.scopeOf(digest);
    if (!scope || !digest) return undefined;
    const isThere = () => this.#sessions.find(id!) !== undefined;
    return viewer(scope, auth, digest, { secret: id!, isThere });
  }

  async #signIn(exchange: Exchange, auth: AdminAuth): Promise<void> {
    const form = await formOf(exchange);
    if (!(form instanceof URLSearchParams)) return await answerWith(exchange, form);
    try {
      const token = (form.get("token") ?? "").trim();
      const scope = await auth.verify(token, exchange.peer);
      const cookies = cookieOf(exchange);
      const id = this.#sessions.begin(await digestToken(token));
      this.#relay.log.info("Signed in to the status page", {
        by: scope.token.name,
        peer: exchange.peer.address,
      });
      const cookie = setCookie(cookies, cookies.session, id, browserSessionMs);
      await answerWith(exchange, seeOther(statusPath, cookie));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      await answerWith(exchange, askForToken(error));
    }
  }

  async #signOut(exchange: Exchange): Promise<void> {
    const form = await formOf(exchange);
    if (!(form instanceof URLSearchParams)) return await answerWith(exchange, form);
    const cookies = cookieOf(exchange);
    const id = readCookie(exchange.head.fields, cookies.session);
    if (id !== undefined) this.#sessions.end(id);
    const cookie = setCookie(cookies, cookies.session, "", 0);
    await answerWith(exchange, seeOther(statusPath, cookie));
  }
}

/** @param browser what the browser keeps; undefined for a program */
function viewer(
  scope: Scope,
  auth: AdminAuth,
  digest: Uint8Array,
  browser: { readonly secret: string; readonly isThere: () => boolean } | undefined,
): StatusViewer {
  return {
    name: scope.token.name,
    scope: scope.isUnbounded ? undefined : scope,
    seesPeople: scope.token.people,
    browserSecret: browser?.secret,
    isLetIn: () => (!browser || browser.isThere()) && auth.scopeOf(digest) !== undefined,
    bar: (
      <div class="account">
        <Name>{scope.token.name}</Name>
        {browser && (
          <form method="post" action={signOutPath}>
            <button class="quiet small" type="submit">Sign out</button>
          </form>
        )}
      </div>
    ),
  };
}

/** Browsers take a `__Host-` name only over TLS. */
function cookieOf({ peer: { isTls } }: Exchange): CookieNames {
  const session = isTls ? "__Host-Http-culvert-admin" : "culvert-dev-admin";
  const attributes = `Path=/; ${isTls ? "Secure; " : ""}HttpOnly; SameSite=Strict`;
  return { session, login: session, transaction: session, attributes };
}

/** The fields of a form that comes from a page of this listener, or the answer to another one. */
async function formOf(exchange: Exchange): Promise<URLSearchParams | Response> {
  const { head: { method, fields } } = exchange;
  if (method !== "POST") return seeOther(statusPath);
  const request = await toRequest(exchange, anyOrigin);
  const form = request instanceof NoRequest ? undefined : await readForm(request);
  if (form && isOwn(fields)) return form;
  const text = "The form comes from another page. Nothing was done.";
  return page("Not done", <Notice {...{ text }} />, { status: 403 });
}

function isOwn(fields: Exchange["head"]["fields"]): boolean {
  const site = getField(fields, "sec-fetch-site");
  if (site !== undefined) return site === "same-origin" || site === "none";
  const origin = getField(fields, "origin");
  // Programs send none; browsers without Fetch Metadata do.
  return origin === undefined || URL.parse(origin)?.host === getField(fields, "host");
}

function askForToken(error?: ApiError): Response {
  return page("Status", <TokenForm action={signInPath} fault={error?.message} />, {
    status: error?.status ?? 401,
    headers: Object.entries({ "WWW-Authenticate": "Bearer", ...error?.headers }),
    formOrigins: [],
  });
}

function seeOther(path: string, cookie?: string): Response {
  const headers = new Headers([...ownHeaders, ["Location", path]]);
  if (cookie !== undefined) headers.append("Set-Cookie", cookie);
  return new Response(null, { status: 303, headers });
}
