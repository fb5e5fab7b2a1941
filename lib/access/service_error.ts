/** Why a service can't be reached: one sentence for the user. */

/** An answer of the relay, or that there is none. */
export class ServiceError extends Error {
  override readonly name = "ServiceError";
  /** The relay's HTTP status; 0 where it was not reached. */
  readonly status: number;
  /** How long the relay asks to wait, in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    { status = 0, retryAfterMs, cause }: {
      status?: number;
      retryAfterMs?: number | undefined;
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause });
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same attempt may succeed in a moment: the relay was away, or says so. */
  get isPassing(): boolean {
    return this.status === 0 || this.retryAfterMs !== undefined;
  }
}

/** What is read of a relay's answer. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

const maxShownCharacters = 300;

/** Turns a refusal into a sentence: the relay's own words, and what to do. */
export function refusalOf(answer: Answer, service: string): ServiceError {
  const { status, headers } = answer;
  const words = wordsOf(answer);
  const said = words === undefined ? `answered with status ${status}` : `says: ${words}`;
  const { location, "retry-after": retryAfter } = headers;
  const moved = status >= 300 && status < 400 && typeof location === "string";
  const text = moved
    ? `answered with a redirect (${status}), which access does not follow: something in front of ` +
      "the relay asks for a sign-in of its own, or the hostname is not the service's"
    : said + adviceFor(status);
  const hasWait = typeof retryAfter === "string" && /^\d{1,6}$/.test(retryAfter);
  return new ServiceError(`${service}: the relay ${text}`, {
    status,
    retryAfterMs: hasWait ? Number(retryAfter) * 1_000 : undefined,
  });
}

function adviceFor(status: number): string {
  if (status === 401) return "; give a valid token with --token-file or CULVERT_TOKEN";
  if (status === 404) return "; the relay may be too old, or the server is not a culvert relay";
  return "";
}

/** The message of the relay's JSON body; a page for browsers says nothing in a line. */
function wordsOf({ headers, body }: Answer): string | undefined {
  if (!/^application\/json\b/i.test(String(headers["content-type"] ?? ""))) return undefined;
  try {
    const message = JSON.parse(body)?.error?.message;
    if (typeof message !== "string" || message === "") return undefined;
    return message.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, maxShownCharacters);
  } catch {
    return undefined; // It only claims to be JSON.
  }
}
