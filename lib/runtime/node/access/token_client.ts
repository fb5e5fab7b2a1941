/** What `access` asks the relay for tokens: it asks nobody but the host that its user named. */
import { z } from "zod";
import type { AccessService } from "../../../config/access_options.ts";
import { refusalOf, ServiceError } from "../../../access/service_error.ts";
import type { Answer } from "../../../access/service_error.ts";
import type { SignedIn } from "../../../access/token_cache.ts";
import { type AuthorizationRequest, named } from "../../../access/authorization.ts";
import { postForm } from "./service_connection.ts";

const tokensSchema = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]{16,8192}$/),
  expires_in: z.number().positive(),
  refresh_token: z.string().regex(/^[\x21-\x7e]{16,8192}$/),
  username: z.string().max(512),
});

/** The relay grants nothing for what it was shown: one has to sign in again. */
export class GrantError extends ServiceError {
  /** The error code of RFC 6749 or RFC 8628, such as `invalid_grant` or `authorization_pending`. */
  readonly code: string;

  constructor(message: string, code: string) {
    super(message, { status: 401 });
    this.code = code;
  }
}

/** Asks for tokens. @throws {ServiceError}; a {@link GrantError} if there are none for this grant */
export async function requestTokens(
  service: AccessService,
  form: Readonly<Record<string, string>>,
  places: readonly string[],
  signal: AbortSignal,
): Promise<SignedIn> {
  const answer = await postForm(service, "/.culvert/token", new URLSearchParams(form), signal);
  if (answer.status !== 200) throw errorOf(answer, service.name);
  const result = tokensSchema.safeParse(jsonOf(answer));
  if (!result.success) throw new ServiceError(`${service.name}: the server is not a culvert relay`);
  const { access_token, expires_in, refresh_token, username } = result.data;
  return {
    origin: service.origin,
    places,
    username,
    accessToken: access_token,
    expiresMs: Date.now() + expires_in * 1_000,
    refreshToken: refresh_token,
  };
}

const deviceSchema = z.object({
  device_code: z.string().regex(/^[\x21-\x7e]{16,8192}$/),
  user_code: z.string().regex(/^[A-Z-]{6,20}$/),
  verification_uri: z.string().regex(/^https?:\/\/[\x21-\x7e]+$/),
  interval: z.number().min(1).max(60).default(5),
});

/** A sign-in that waits for somebody at another machine. */
export interface DeviceSignIn {
  readonly deviceCode: string;
  readonly userCode: string;
  readonly verificationUri: string;
  readonly intervalMs: number;
}

/** Asks for a code that somebody types elsewhere. @throws {ServiceError} */
export async function beginDevice(
  service: AccessService,
  request: AuthorizationRequest,
  signal: AbortSignal,
): Promise<DeviceSignIn> {
  const path = "/.culvert/device_authorization";
  const answer = await postForm(service, path, named(request), signal);
  const value = jsonOf(answer) as { error?: unknown } | undefined;
  if (value?.error === "unauthorized_client") {
    throw new ServiceError(
      `${service.name}: the relay's operator has not allowed sign-in by code (deviceFlow); sign in ` +
        "without --device",
      { status: 403 },
    );
  }
  if (answer.status !== 200) throw refusalOf(answer, service.name);
  const result = deviceSchema.safeParse(value);
  if (!result.success) throw new ServiceError(`${service.name}: the server is not a culvert relay`);
  const { device_code, user_code, verification_uri, interval } = result.data;
  return {
    deviceCode: device_code,
    userCode: user_code,
    verificationUri: verification_uri,
    intervalMs: interval * 1_000,
  };
}

/** Ends a sign-in at the relay. @throws {ServiceError} */
export async function revokeToken(
  service: AccessService,
  token: string,
  signal: AbortSignal,
): Promise<void> {
  const form = new URLSearchParams({ token, token_type_hint: "refresh_token" });
  const answer = await postForm(service, "/.culvert/revoke", form, signal);
  if (answer.status !== 200) throw refusalOf(answer, service.name);
}

function errorOf(answer: Answer, name: string): ServiceError {
  const error = (jsonOf(answer) as { error?: unknown } | undefined)?.error;
  if (answer.status !== 400 || typeof error !== "string") return refusalOf(answer, name);
  return new GrantError(
    `${name}: the relay grants no token: ${sentences[error] ?? "sign in again"}`,
    error,
  );
}

const sentences: Readonly<Record<string, string>> = {
  access_denied: "the sign-in was refused",
  expired_token: "nobody signed in before the code expired",
};

function jsonOf({ body }: Answer): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined; // It is no JSON, and so no relay's answer.
  }
}
