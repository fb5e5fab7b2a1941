/** What programs ask for tokens (RFC 6749 sections 4.1.3 and 6), and to end them (RFC 7009). */
import { json, readForm } from "../own_request.ts";
import type { SessionRecord } from "../sessions/sessions.ts";
import type { SignIn } from "../sign_in.ts";
import { ProgramSeals } from "./program_seals.ts";

/** An error code of RFC 6749 section 5.2, or of RFC 8628 section 3.5. */
export type TokenError =
  | "invalid_request"
  | "invalid_grant"
  | "unsupported_grant_type"
  | "authorization_pending"
  | "slow_down"
  | "access_denied"
  | "expired_token";

/** Answers a request for tokens. */
export async function answerToken(signIn: SignIn, request: Request): Promise<Response> {
  const form = await readForm(request);
  if (!form || hasTwice(form)) return refuse("invalid_request");
  const session = await sessionFor(signIn, form);
  return typeof session === "string" ? refuse(session) : await tokens(signIn, session);
}

async function sessionFor(
  signIn: SignIn,
  form: URLSearchParams,
): Promise<SessionRecord | TokenError> {
  switch (form.get("grant_type")) {
    case "authorization_code":
      return await byCode(signIn, form);
    case "refresh_token":
      return await byRefresh(signIn, form.get("refresh_token") ?? "");
    case "urn:ietf:params:oauth:grant-type:device_code":
      return await byDevice(signIn, form.get("device_code") ?? "");
    default:
      return "unsupported_grant_type";
  }
}

async function byCode(signIn: SignIn, form: URLSearchParams): Promise<SessionRecord | TokenError> {
  const grant = await new ProgramSeals(signIn).openCode(form.get("code") ?? "");
  if (!grant) return "invalid_grant";
  const { log, sessions } = signIn.context;
  if (!await sessions.useOnce(`grant ${grant.id}`, grant.expiresMs)) {
    log.warn("Refused an authorization code", { reason: "used before", session: grant.session });
    return "invalid_grant";
  }
  const verifier = form.get("code_verifier") ?? "";
  const isSame = form.get("redirect_uri") === grant.redirectUri &&
    /^[\w.~-]{43,128}$/.test(verifier) && await challengeOf(verifier) === grant.challenge;
  if (!isSame) {
    log.warn("Refused an authorization code", {
      reason: "another program's",
      session: grant.session,
    });
    return "invalid_grant";
  }
  return await aliveSession(signIn, grant.session) ?? "invalid_grant";
}

async function byDevice(signIn: SignIn, code: string): Promise<SessionRecord | TokenError> {
  const outcome = await signIn.devices?.outcome(code);
  switch (outcome?.kind) {
    case undefined:
      return "unsupported_grant_type";
    case "pending":
      return "authorization_pending";
    case "denied":
      return "access_denied";
    case "gone":
      return "expired_token";
    case "signed-in":
      return await aliveSession(signIn, outcome.session) ?? "invalid_grant";
  }
}

/** A token that comes twice was copied: nobody can tell who has the copy, so the session ends. */
async function byRefresh(signIn: SignIn, sealed: string): Promise<SessionRecord | TokenError> {
  const refresh = await new ProgramSeals(signIn).openRefresh(sealed);
  const session = refresh && await aliveSession(signIn, refresh.session);
  if (!session) return "invalid_grant";
  const { log, sessions } = signIn.context;
  if (await sessions.useOnce(`refresh ${refresh.id}`, session.expiresMs)) return session;
  log.warn("Ended a program's session: its refresh token was used twice", {
    user: session.username,
    session: session.id,
  });
  await sessions.end(session.id);
  return "invalid_grant";
}

async function aliveSession(signIn: SignIn, id: string): Promise<SessionRecord | undefined> {
  const session = await signIn.session(id);
  return session?.client ? session : undefined;
}

async function tokens(signIn: SignIn, session: SessionRecord): Promise<Response> {
  const seals = new ProgramSeals(signIn);
  const { token, untilMs } = await seals.access(session);
  return json(200, {
    access_token: token,
    token_type: "Bearer",
    expires_in: Math.floor((untilMs - signIn.context.clock.nowMs()) / 1_000),
    refresh_token: await seals.refresh(session),
    username: session.username,
    hosts: session.client!.hosts,
  });
}

/** Ends the session of a token; 200 whatever the token was (RFC 7009 section 2.2). */
export async function answerRevocation(signIn: SignIn, request: Request): Promise<Response> {
  const form = await readForm(request);
  if (!form || hasTwice(form)) return refuse("invalid_request");
  const refresh = await new ProgramSeals(signIn).openRefresh(form.get("token") ?? "");
  const session = refresh && await aliveSession(signIn, refresh.session);
  if (!session) return json(200, {});
  const { log, sessions } = signIn.context;
  await sessions.end(session.id);
  const { username: user, provider, id } = session;
  log.info("Signed out", { user, provider, session: id, program: session.client!.name });
  return json(200, {});
}

function refuse(error: TokenError): Response {
  return json(400, { error });
}

/** A parameter that is given twice could mean either (RFC 6749 section 3.2). */
function hasTwice(form: URLSearchParams): boolean {
  const names = [...form.keys()];
  return new Set(names).size < names.length;
}

/** The code challenge of a verifier (RFC 7636 section 4.2). */
async function challengeOf(verifier: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  return new Uint8Array(digest).toBase64({ alphabet: "base64url", omitPadding: true });
}
