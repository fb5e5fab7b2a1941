/** Announces when the agent's credential expires, if it is a JWT that says so. */
import { decodeJwt } from "jose";
import type { Log } from "../log.ts";

/** What is told, and where. */
export interface CredentialExpiryOptions {
  /** Sets the metric. @param seconds Since 1970; undefined for a token that does not tell. */
  readonly expires: (seconds: number | undefined) => void;
  readonly log: Pick<Log, "warn" | "error">;
  /** What each line names: the option, its file, the target. */
  readonly about: Readonly<Record<string, unknown>>;
  readonly nowMs?: () => number;
}

const dayMs = 86_400_000;
/** The longest time before its end at which a token is logged, as for certificates. */
const longestWarningMs = 14 * dayMs;
/**
 * The share of a token's life in which its end is announced. Kubelet replaces a token after 80 % of
 * its life, so a shorter remainder means that nobody does.
 */
const warningShare = 0.1;
/** The last moment that `Date` can hold (ECMA-262 section 21.4.1.1). */
const lastDateMs = 8.64e15;

interface Life {
  readonly endMs: number;
  readonly warnFromMs: number;
}

/** Writes at most one line a day about each token, and one more when it has expired. */
export class CredentialExpiry {
  readonly #options: CredentialExpiryOptions;
  #life: Life | undefined;
  #toldMs: number | undefined;

  constructor(options: CredentialExpiryOptions) {
    this.#options = options;
  }

  /** The agent sends this token from now on. */
  loaded(token: string): void {
    const life = lifeOf(token, this.#nowMs());
    if (life?.endMs !== this.#life?.endMs) this.#toldMs = undefined;
    this.#life = life;
    this.#options.expires(life && life.endMs / 1000);
    this.look();
  }

  /** Compares with the clock; to be called from time to time. */
  look(): void {
    const now = this.#nowMs();
    if (!this.#life || now < this.#life.warnFromMs || !this.#isDue(this.#life, now)) return;
    this.#toldMs = now;
    const { log, about } = this.#options;
    const { endMs } = this.#life;
    const facts = { ...about, expires: new Date(endMs).toISOString() };
    if (endMs <= now) {
      log.error("The token for the target has expired; replace it", facts);
      return;
    }
    const hours = Math.floor((endMs - now) / 3_600_000);
    log.warn("The token for the target expires soon; replace it", { ...facts, hours });
  }

  #nowMs(): number {
    return this.#options.nowMs?.() ?? Date.now();
  }

  #isDue({ endMs }: Life, now: number): boolean {
    if (this.#toldMs === undefined) return true;
    const hasExpiredSince = this.#toldMs < endMs && endMs <= now;
    return hasExpiredSince || now - this.#toldMs >= dayMs;
  }
}

/** Nothing for a token that is no JWT, or one without a usable `exp` (RFC 7519 section 4.1.4). */
function lifeOf(token: string, nowMs: number): Life | undefined {
  const { exp, iat } = claimsOf(token);
  const endMs = momentOf(exp);
  if (endMs === undefined) return undefined;
  const beganMs = momentOf(iat) ?? nowMs;
  const lifeMs = Math.max(0, endMs - beganMs);
  return { endMs, warnFromMs: endMs - Math.min(longestWarningMs, lifeMs * warningShare) };
}

/** When a token expires, in milliseconds since 1970; undefined if it does not tell. */
export function expiryOf(token: string): number | undefined {
  return momentOf(claimsOf(token).exp);
}

/** The agent reads the claims to tell of their end only; whether they are true is for the target. */
function claimsOf(token: string): { readonly exp?: unknown; readonly iat?: unknown } {
  try {
    return decodeJwt(token);
  } catch {
    return {}; // Opaque tokens are as good as JWTs.
  }
}

function momentOf(seconds: unknown): number | undefined {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return undefined;
  const ms = seconds * 1000;
  return ms >= 0 && ms <= lastDateMs ? ms : undefined;
}
