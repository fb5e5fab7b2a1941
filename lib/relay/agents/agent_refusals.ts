/** Answers to agents that are not let in: counted, logged without their token, and not hurried. */
import type { Context } from "hono";
import type { RelayEnv } from "../env.ts";
import { AuthThrottle, untilDue } from "../auth_throttle.ts";
import type { PeerCertificate } from "../../net/exchange.ts";
import { isPrintableName } from "../../domain/printable_name.ts";
import type { RateLimitedLog } from "../../rate_limited_log.ts";
import type { Refusal } from "./admissions.ts";

/** Where refused agents are counted. */
export interface AgentRefusalCounts {
  authFailed(endpoint: "connect"): void;
  authSlowed(endpoint: "connect"): void;
}

/**
 * Refuses agents. Every token is looked at, so that a right one gets through at once, whoever else
 * fails from behind the same address; only the answers to wrong ones wait.
 */
export class AgentRefusals {
  readonly #counts: AgentRefusalCounts;
  readonly #log: RateLimitedLog;
  readonly #throttle = new AuthThrottle(() => performance.now());

  constructor(counts: AgentRefusalCounts, log: RateLimitedLog) {
    this.#counts = counts;
    this.#log = log;
  }

  /** The answer, at once or after a while. */
  async refuse(c: Context<RelayEnv>, refusal: Refusal): Promise<Response> {
    if (refusal.kind === "full") {
      this.#report(c, refusal, false);
      return c.text("too many sessions of this cluster\n", 503, { "Retry-After": "5" });
    }
    const delay = this.#throttle.add(c.env.exchange.peer.address);
    this.#counts.authFailed("connect");
    this.#report(c, refusal, delay.kind !== "now");
    if (delay.kind !== "now") this.#counts.authSlowed("connect");
    if (delay.kind === "never") {
      return c.text("too many failed attempts\n", 429, { "Retry-After": "1" });
    }
    await untilDue(delay);
    if (refusal.kind === "certificate") return c.text("forbidden\n", 403);
    return c.text("unauthorized\n", 401, { "WWW-Authenticate": "Bearer" });
  }

  #report(c: Context<RelayEnv>, { kind, cluster, tokenName }: Refusal, isSlowed: boolean): void {
    const { peer } = c.env.exchange;
    const slowed = isSlowed || undefined;
    this.#log.warn("Refused an agent", { reason: kind, peer: peer.address, slowed }, {
      cluster: cluster?.id,
      token_name: tokenName,
      certificate: kind === "certificate" ? loggedNames(peer.certificate) : undefined,
    });
  }
}

/** More names than anybody reads are not written. */
const maxLoggedNames = 8;

/** What of a certificate's names a log can have. */
function loggedNames(certificate: PeerCertificate | undefined): readonly string[] | undefined {
  return certificate?.names.filter(isPrintableName).slice(0, maxLoggedNames);
}
