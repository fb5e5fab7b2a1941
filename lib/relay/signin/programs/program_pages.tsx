/** The login host's pages for people who sign in for a program, such as `access`. */
import type { Hono } from "hono";
import { type Field, getField } from "../../../http1/head.ts";
import { cookieNames } from "../../relay_cookies.ts";
import { redirectUri, secretsOf } from "../attempts.ts";
import { readCredential, sealedIn } from "../../callers/credential.ts";
import {
  foreignForm,
  json,
  jsonError,
  type OwnRequest,
  readForm,
  redirect,
  type SiteRequest,
} from "../own_request.ts";
import { Notice, page } from "../../pages/page.tsx";
import { providerFailed } from "../provider_failed.tsx";
import type { SessionRecord } from "../sessions/sessions.ts";
import { auditedSession } from "../sign_in_audit.ts";
import { type SignIn, SignInRefusal } from "../sign_in.ts";
import { beginTransaction, digestOf, forget, randomText, secretOf } from "../transactions.ts";
import {
  isTunnelPath,
  ProgramFault,
  type ProgramRequest,
  readAuthorization,
} from "./program_request.ts";
import { answerDeviceAuthorization, askCode, TypedCodes } from "./device_pages.tsx";
import {
  authorizePath,
  deviceAuthorizationPath,
  devicePath,
  revokePath,
  tokenPath,
} from "./program_paths.ts";
import { answerUrl, consentPage } from "./consent_page.tsx";
import { ProgramSeals } from "./program_seals.ts";
import { answerRevocation, answerToken } from "./token_endpoint.ts";

/** Adds the pages, and what programs themselves ask. */
export function programPages(app: Hono<{ Bindings: OwnRequest }>, signIn: SignIn): void {
  app.get(authorizePath, (c) => askConsent(signIn, c.env, new URL(c.req.url).searchParams));
  app.post(authorizePath, (c) => consented(signIn, c.env, c.req.raw));
  app.post(tokenPath, (c) => answerToken(signIn, c.req.raw));
  app.post(revokePath, (c) => answerRevocation(signIn, c.req.raw));
  const typed = new TypedCodes(signIn);
  app.post(deviceAuthorizationPath, (c) => beginDevice(signIn, c.req.raw));
  app.get(devicePath, () => askCode(signIn));
  app.post(devicePath, (c) => codeTyped(signIn, c.env, c.req.raw, typed));
  app.get("/.culvert/whoami", (c) => answerWhoami(signIn, c.env.fields));
}

/** Tells a program whether its token still counts. */
async function answerWhoami(signIn: SignIn, fields: readonly Field[]): Promise<Response> {
  const credential = readCredential(fields);
  if (credential.kind === "none") return json(200, { signedIn: false });
  const sealed = credential.kind === "bearer" ? sealedIn(credential.token) : undefined;
  const claims = sealed === undefined ? undefined : await signIn.openAccess(sealed);
  const session = claims && await signIn.session(claims["sid"] as string);
  if (!session?.client) return jsonError(401, "unauthorized", "the token is no longer valid");
  return json(200, { signedIn: true, name: session.username });
}

/**
 * The same at a service's host, so that a program need not know another: it asks nobody but the host
 * that its user named.
 */
export function programPathsAt(app: Hono<{ Bindings: SiteRequest }>, signIn: SignIn): void {
  app.get(authorizePath, (c) => {
    const { search } = new URL(c.req.url);
    return redirect(302, signIn.loginOrigin + authorizePath + search);
  });
  app.post(tokenPath, (c) => answerToken(signIn, c.req.raw));
  app.post(revokePath, (c) => answerRevocation(signIn, c.req.raw));
  app.post(deviceAuthorizationPath, (c) => beginDevice(signIn, c.req.raw));
}

function beginDevice(signIn: SignIn, sent: Request): Promise<Response> {
  return answerDeviceAuthorization(signIn, sent, (request) => {
    const provider = providerOf(signIn, request);
    return provider instanceof ProgramFault ? provider : undefined;
  });
}

/** A person has typed the code of a program on another machine. */
async function codeTyped(
  signIn: SignIn,
  own: OwnRequest,
  sent: Request,
  typed: TypedCodes,
): Promise<Response> {
  if (!isOwnPage(own.fields, signIn.loginOrigin)) return foreignForm();
  const device = await typed.find(own, sent);
  if (device instanceof Response) return device;
  const request = { ...device.request, device: device.id };
  return await consentPage(signIn, own.fields, request);
}

/** Asks the person whether the program is theirs. */
async function askConsent(
  signIn: SignIn,
  { fields }: OwnRequest,
  query: URLSearchParams,
): Promise<Response> {
  const request = readAuthorization(query);
  const fault = request instanceof ProgramFault ? request : providerOf(signIn, request);
  if (request instanceof ProgramFault || fault instanceof ProgramFault) {
    return faulty(fault as ProgramFault);
  }
  return await consentPage(signIn, fields, request);
}

/** The provider at which people sign in to all of a request's hosts. */
export function providerOf(signIn: SignIn, { hosts }: ProgramRequest): string | ProgramFault {
  const names = new Set<string | undefined>();
  for (const host of hosts) {
    if (isTunnelPath(host)) {
      names.add(signIn.usualProvider);
      continue;
    }
    const site = signIn.context.siteOf(host);
    if (!site) return new ProgramFault(`names ${host}, which is not a service of this relay`);
    if (site.kind === "tls" || site.provider === undefined) {
      return new ProgramFault(`names ${host}, to which nobody signs in here`);
    }
    names.add(site.provider);
  }
  const [name, other] = names;
  if (other !== undefined || name === undefined) {
    return new ProgramFault("names hosts of several identity providers; ask for them one by one");
  }
  return name;
}

function faulty({ message }: ProgramFault): Response {
  const text =
    `The program's request ${message}. Start the program again; if that does not help, ` +
    "its version or its options do not fit this relay.";
  return page("The program can't sign in", <Notice text={text} />, { status: 400 });
}

/** The person has said yes: they go on to the provider. */
async function consented(
  signIn: SignIn,
  { fields }: OwnRequest,
  sent: Request,
): Promise<Response> {
  if (!isOwnPage(fields, signIn.loginOrigin)) return foreignForm();
  const form = await readForm(sent);
  const request = await new ProgramSeals(signIn).openConsent(form?.get("request") ?? "");
  if (!request) return faulty(new ProgramFault("is too old"));
  if (form?.get("refuse") === "yes" && request.device !== undefined) {
    await signIn.devices?.end(request.device, undefined);
    return page("Refused", <Notice text="The program gets no access." />, { status: 200 });
  }
  return await toProvider(signIn, fields, request);
}

/** Only the page that names the program may send the form: any other would be a click on nothing. */
function isOwnPage(fields: readonly Field[], origin: string): boolean {
  const site = getField(fields, "sec-fetch-site");
  const from = getField(fields, "origin");
  if (site !== undefined && site !== "same-origin") return false;
  return from === origin || (from === undefined && site === "same-origin");
}

/** Sends a browser to the provider for a program. */
export async function toProvider(
  signIn: SignIn,
  fields: readonly Field[],
  request: ProgramRequest,
): Promise<Response> {
  const name = providerOf(signIn, request);
  const provider = name instanceof ProgramFault ? undefined : signIn.provider(name);
  if (!provider) return faulty(name as ProgramFault);
  const names = cookieNames(signIn.loginOrigin);
  const { id: transaction, secret, cookies } = beginTransaction(
    names,
    fields,
    signIn.context.clock.nowMs(),
  );
  const id = randomText(12);
  const binding = await digestOf(secret);
  const state = await new ProgramSeals(signIn).state(
    { request, id, provider: provider.config.name, transaction, binding },
  );
  try {
    const attempt = { state, ...await secretsOf(secret, id) };
    const url = await provider.authorizationUrl(attempt, redirectUri(signIn), undefined);
    return onwards("Going on to the identity provider", url, cookies);
  } catch (error) {
    return providerFailed(signIn, provider, error);
  }
}

function onwards(title: string, url: string, cookies: readonly string[]): Response {
  const link = { href: url, label: "Continue" };
  return page(title, <Notice text="If nothing happens, continue yourself." link={link} />, {
    status: 200,
    next: url,
    headers: cookies.map((cookie) => ["Set-Cookie", cookie] as const),
  });
}

/**
 * The provider sends a browser back that signs in for a program.
 *
 * @returns undefined if the state is no program's
 */
export async function programCallback(
  signIn: SignIn,
  { fields, address }: OwnRequest,
  requestUrl: string,
  sealed: string,
): Promise<Response | undefined> {
  const state = await new ProgramSeals(signIn).openState(sealed);
  const provider = state && signIn.provider(state.provider);
  if (!state || !provider) return undefined;
  const { request, transaction, binding, id } = state;
  const names = cookieNames(signIn.loginOrigin);
  const secret = secretOf(names, fields, transaction);
  if (secret === undefined || await digestOf(secret) !== binding) return startedElsewhere();
  const url = new URL(redirectUri(signIn));
  url.search = new URL(requestUrl).search;
  try {
    const attempt = { state: sealed, ...await secretsOf(secret, id) };
    const grant = await provider.finish(url, attempt);
    const { program, machine, hosts } = request;
    // A session of its own: the browser's goes on, and each can be ended without the other.
    const client = { name: `${program} on ${machine}`, hosts };
    const session = await signIn.begin(provider, grant, undefined, client);
    if (session instanceof SignInRefusal) return refused(signIn, state.provider, session, address);
    signIn.context.audit?.("sign_in", { ...auditedSession(session), address, decision: "allowed" });
    return await signedIn(signIn, request, session, forget(names, transaction));
  } catch (error) {
    return providerFailed(signIn, provider, error);
  }
}

async function signedIn(
  signIn: SignIn,
  request: ProgramRequest,
  session: SessionRecord,
  cookie: string,
): Promise<Response> {
  if (request.device !== undefined) {
    return await deviceSignedIn(signIn, request.device, session, cookie);
  }
  const code = await new ProgramSeals(signIn).code(session, request);
  const url = answerUrl(request, { code })!;
  return onwards(`Signed in as ${session.username}`, url, [cookie]);
}

async function deviceSignedIn(
  signIn: SignIn,
  device: string,
  session: SessionRecord,
  cookie: string,
): Promise<Response> {
  const isWaiting = await signIn.devices?.end(device, session.id) === true;
  if (!isWaiting) {
    await signIn.context.sessions.end(session.id);
    return startedElsewhere();
  }
  const text = "The program on the other machine continues in a few seconds. Close this page.";
  return page(`Signed in as ${session.username}`, <Notice text={text} />, {
    status: 200,
    headers: [["Set-Cookie", cookie]],
  });
}

function startedElsewhere(): Response {
  const text =
    "This sign-in was begun in another browser, or too long ago, or is complete already. " +
    "Start the program again.";
  return page("Sign-in did not succeed", <Notice text={text} />, { status: 400 });
}

function refused(
  signIn: SignIn,
  provider: string,
  { message }: SignInRefusal,
  peer: string,
): Response {
  signIn.context.log.warn("Refused a sign-in", { provider, reason: message, peer });
  const text = `The account can't be used here: ${message}.`;
  return page("Sign-in did not succeed", <Notice text={text} />, { status: 403 });
}
