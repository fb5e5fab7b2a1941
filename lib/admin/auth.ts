/** Who uses the admin API. */
import { type Field } from "../http1/head.ts";
import type { Peer } from "../net/exchange.ts";
import { maxTokenChars } from "../relay/agents/agent_credentials.ts";
import { AuthThrottle, untilDue } from "../relay/auth_throttle.ts";
import { digestToken } from "../relay/digests.ts";
import type { RateLimitedLog } from "../rate_limited_log.ts";
import type { AdminTokens } from "./admin_tokens.ts";
import { ApiError } from "./api_error.ts";
import type { Scope } from "./scope.ts";

/** Where refused tokens are counted. */
export interface AdminAuthCounts {
  authFailed(endpoint: "admin"): void;
  authSlowed(endpoint: "admin"): void;
}

const challenge = { "WWW-Authenticate": "Bearer" };

/** Whose a request is. */
export interface Identified {
  readonly scope: Scope;
  /** The token's digest, by which a later check finds whether the token is still valid. */
  readonly digest: Uint8Array;
}

/** Looks at tokens. Whoever tries many has to wait for each answer; a right one is never slowed down. */
export class AdminAuth {
  readonly #tokens: AdminTokens;
  readonly #counts: AdminAuthCounts;
  readonly #log: RateLimitedLog;
  readonly #throttle = new AuthThrottle(() => performance.now());

  constructor(tokens: AdminTokens, counts: AdminAuthCounts, log: RateLimitedLog) {
    this.#tokens = tokens;
    this.#counts = counts;
    this.#log = log;
  }

  /** Whose a request is. @throws {ApiError} 401, perhaps after a while, or 429 */
  async identify(fields: readonly Field[], peer: Peer): Promise<Identified> {
    const given = fields.filter(({ key }) => key === "authorization");
    const token = /^Bearer +([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)$/i
      .exec(given[0]?.value ?? "")?.[1];
    if (given.length !== 1 || token === undefined) return await this.#refuse("missing", peer);
    return { scope: await this.verify(token, peer), digest: await digestToken(token) };
  }

  /** Whose a token is. @throws {ApiError} as {@link identify} does */
  async verify(token: string, peer: Peer): Promise<Scope> {
    const found = token.length > maxTokenChars ? "unknown" : await this.#find(token);
    return typeof found === "string" ? await this.#refuse(found, peer) : found;
  }

  /** Whose a token with this digest is, as the list is now; undefined for nobody's. */
  scopeOf(digest: Uint8Array): Scope | undefined {
    const found = this.#tokens.find(digest, Date.now());
    return typeof found === "string" ? undefined : found;
  }

  async #find(token: string): Promise<Scope | "unknown" | "expired"> {
    return this.#tokens.find(await digestToken(token), Date.now());
  }

  async #refuse(reason: "missing" | "unknown" | "expired", { address }: Peer): Promise<never> {
    const unauthorized = new ApiError(401, "unauthorized", messages[reason], {}, challenge);
    // Nothing was guessed.
    if (reason === "missing") throw unauthorized;
    const delay = this.#throttle.add(address);
    this.#counts.authFailed("admin");
    const slowed = delay.kind !== "now" || undefined;
    if (slowed) this.#counts.authSlowed("admin");
    this.#log.warn("Refused a token of the admin API", { reason, peer: address, slowed });
    if (delay.kind === "never") {
      const message = "too many refused tokens have come from this address";
      throw new ApiError(429, "too_many_failures", message, {}, { "Retry-After": "1" });
    }
    await untilDue(delay);
    throw unauthorized;
  }
}

const messages = {
  missing: "the admin API needs a token: Authorization: Bearer TOKEN",
  unknown: "the token is none of the admin API's",
  expired: "the token is none of the admin API's",
};
