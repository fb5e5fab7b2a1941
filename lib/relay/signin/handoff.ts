/**
 * What is sealed into URLs on the way from a service's host to the login host, to the provider and
 * back. No URL is taken from a request: all that can be asked for is a path of the service that asks.
 */
import type { JWTPayload } from "jose";
import type { Field } from "../../http1/head.ts";
import { cookieNames } from "../relay_cookies.ts";
import type { LoginHost } from "./login_host.ts";
import { isReturnPath } from "./return_path.ts";
import type { SessionRecord } from "./sessions/sessions.ts";
import type { Site } from "./site.ts";
import { beginTransaction, digestOf, randomText, transactionMs } from "./transactions.ts";

/** How long a code counts, in milliseconds. */
export const codeMs = 60_000;

/** A sign-in that a service's host has asked for. */
export interface Start {
  readonly site: Site;
  /** Where the browser goes then. */
  readonly path: string;
  /** Names the cookie of the browser on the service's host, whose secret has this digest. */
  readonly transaction: string;
  readonly binding: string;
  /** Whether another account is wanted than the one that is signed in. */
  readonly selects: boolean;
}

/** What comes back from a provider belongs to this. */
export interface State extends Start {
  readonly id: string;
  readonly provider: string;
  /** The same on the login host. */
  readonly loginTransaction: string;
  readonly loginBinding: string;
}

/** What a service's host learns of somebody who has signed in. */
export interface Code {
  readonly id: string;
  readonly session: string;
  readonly path: string;
  readonly transaction: string;
  readonly binding: string;
  readonly expiresMs: number;
}

/** Seals and opens them. */
export class Handoff {
  readonly #login: LoginHost;

  constructor(login: LoginHost) {
    this.#login = login;
  }

  /** Where a browser is sent that has to sign in, and the cookies that go with that. */
  async start(
    site: Site,
    fields: readonly Field[],
    path: string,
    selects = false,
  ): Promise<{ readonly url: string; readonly cookies: readonly string[] }> {
    const { clock, keys } = this.#login.context;
    const { id, secret, cookies } = beginTransaction(
      cookieNames(site.origin),
      fields,
      clock.nowMs(),
    );
    const claims = {
      host: site.hostname,
      path,
      txn: id,
      bind: await digestOf(secret),
      ...selects && { sel: true },
    };
    const { loginOrigin, loginHostname } = this.#login;
    const sealed = await keys.seal("start", loginHostname, claims, transactionMs);
    return { url: `${loginOrigin}/.culvert/start?r=${sealed}`, cookies };
  }

  /** @returns nothing for a text that is not sealed, is too old, or names no service in force now */
  async openStart(sealed: string): Promise<Start | undefined> {
    const { keys } = this.#login.context;
    const claims = await keys.open("start", this.#login.loginHostname, sealed);
    return claims && this.#startOf(claims);
  }

  /** Seals a start once more, for another account; its cookie is in the browser. */
  async again(start: Start): Promise<string> {
    const { keys } = this.#login.context;
    return await keys.seal("start", this.#login.loginHostname, {
      host: start.site.hostname,
      path: start.path,
      txn: start.transaction,
      bind: start.binding,
      sel: true,
    }, transactionMs);
  }

  /** Seals what comes back from the provider as `state`. */
  async state(start: Start, provider: string, id: string, login: LoginTransaction) {
    const { keys } = this.#login.context;
    return await keys.seal("state", this.#login.loginHostname, {
      host: start.site.hostname,
      path: start.path,
      txn: start.transaction,
      bind: start.binding,
      prv: provider,
      id,
      ltxn: login.id,
      lbind: await digestOf(login.secret),
      ...start.selects && { sel: true },
    }, transactionMs);
  }

  /** @returns nothing as {@link openStart} does */
  async openState(sealed: string): Promise<State | undefined> {
    const { keys } = this.#login.context;
    const claims = await keys.open("state", this.#login.loginHostname, sealed);
    const start = claims && this.#startOf(claims);
    if (!start) return undefined;
    const [id, provider, loginTransaction, loginBinding] = texts(
      claims,
      "id",
      "prv",
      "ltxn",
      "lbind",
    );
    return { ...start, id, provider, loginTransaction, loginBinding };
  }

  /** The URL that brings somebody back to the service. */
  async codeUrl(start: Start, session: SessionRecord): Promise<string> {
    const { keys } = this.#login.context;
    const code = await keys.seal("code", start.site.hostname, {
      id: randomText(12),
      sid: session.id,
      path: start.path,
      txn: start.transaction,
      bind: start.binding,
    }, codeMs);
    return `${start.site.origin}/.culvert/callback?code=${code}`;
  }

  /** @returns nothing for a code of another host, one that is too old, or none */
  async openCode(site: Site, sealed: string): Promise<Code | undefined> {
    const claims = await this.#login.context.keys.open("code", site.hostname, sealed);
    if (!claims) return undefined;
    const [id, session, path, transaction, binding] = texts(
      claims,
      "id",
      "sid",
      "path",
      "txn",
      "bind",
    );
    const expiresMs = claims.exp! * 1_000;
    return { id, session, path: isReturnPath(path) ? path : "/", transaction, binding, expiresMs };
  }

  #startOf(claims: JWTPayload): Start | undefined {
    const [host, path, transaction, binding] = texts(claims, "host", "path", "txn", "bind");
    const { loginHostname, context } = this.#login;
    const [provider] = texts(claims, "prv");
    const site = host === loginHostname ? this.#login.loginSite(provider) : context.siteOf(host);
    if (!site || site.kind === "tls" || site.provider === undefined) return undefined;
    return {
      site,
      path: isReturnPath(path) ? path : "/",
      transaction,
      binding,
      selects: claims["sel"] === true,
    };
  }
}

/** A sign-in under way on the login host. */
interface LoginTransaction {
  readonly id: string;
  readonly secret: string;
}

function texts<Names extends string[]>(
  claims: JWTPayload,
  ...names: Names
): { [Index in keyof Names]: string } {
  return names.map((name) => String(claims[name] ?? "")) as { [Index in keyof Names]: string };
}
