/** What a relay says about a service and the one who asks: `GET /.culvert/whoami`. */
import { type Answer, refusalOf, ServiceError } from "./service_error.ts";

/** The relay's answer. */
export interface Whoami {
  readonly service: string;
  /** `http`, `tcp` or `tls`. */
  readonly kind: string;
  readonly signedIn: boolean;
  /** Whether whoever asked may open the service; relays of other releases may not say. */
  readonly allowed: boolean | undefined;
  /** Where a person signs in; null where nobody needs to, or nobody can. */
  readonly signInUrl: string | null;
}

/** Where it is asked. */
export const whoamiPath = "/.culvert/whoami";

/** Whether an answer says that a person has to sign in before the service opens. */
export function asksForSignIn({ status, body }: Answer): boolean {
  const whoami = status === 200 ? parseWhoami(body) : undefined;
  return whoami !== undefined && needsSignIn(whoami);
}

function needsSignIn({ allowed, signedIn, signInUrl }: Whoami): boolean {
  return allowed !== true && !signedIn && signInUrl !== null;
}

/**
 * Reads the answer, and sees whether the service is the kind that is wanted and may be opened.
 *
 * @throws {ServiceError} with one sentence
 */
export function checkWhoami(answer: Answer, name: string, kind: "tcp" | "http"): Whoami {
  if (answer.status !== 200) throw refusalOf(answer, name);
  const whoami = parseWhoami(answer.body);
  if (!whoami) {
    throw new ServiceError(`${name}: the server is not a culvert relay`, { status: answer.status });
  }
  if (whoami.kind !== kind) throw otherKind(name, whoami.kind, kind);
  if (needsSignIn(whoami)) {
    throw new ServiceError(
      `${name} needs a sign-in: give a token with --token-file or CULVERT_TOKEN, run access login ` +
        `${name}, or sign in at ${whoami.signInUrl}`,
      { status: 401 },
    );
  }
  if (whoami.allowed === false) {
    const why = whoami.signedIn
      ? "the service's policy does not let this token, or this account, in"
      : "its policy asks for a token (--token-file or CULVERT_TOKEN), or for another address";
    throw new ServiceError(`${name}: ${why}`, { status: 403 });
  }
  return whoami;
}

function otherKind(name: string, is: string, wanted: "tcp" | "http"): ServiceError {
  const remedy = is === "http"
    ? "use access http, or a browser"
    : is === "tcp"
    ? "use access tcp"
    : "connect to its hostname with TLS; it needs no access";
  return new ServiceError(`${name} is a service of kind ${is}, not ${wanted}: ${remedy}`, {
    status: 400,
  });
}

function parseWhoami(body: string): Whoami | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { service, kind, signedIn, allowed, signInUrl } = value as Record<string, unknown>;
  if (typeof service !== "string" || typeof kind !== "string") return undefined;
  if (typeof signedIn !== "boolean") return undefined;
  const isUrl = typeof signInUrl === "string" && /^https?:\/\/[\x21-\x7e]+$/.test(signInUrl);
  return {
    service,
    kind,
    signedIn,
    allowed: typeof allowed === "boolean" ? allowed : undefined,
    signInUrl: isUrl ? signInUrl : null,
  };
}
