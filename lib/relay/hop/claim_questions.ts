/** Asks other relays whether one of their agents claims a hostname. */
import { Counter } from "../../counter.ts";
import { field, type RequestHead } from "../../http1/head.ts";
import type { Peer } from "../../net/exchange.ts";
import { anyName } from "../../domain/name_patterns.ts";
import type { Caller } from "../callers/caller.ts";
import type { Holder } from "../directory/directory.ts";
import { noIdentity } from "../people/identities.ts";
import type { ServiceRoute } from "../route.ts";
import { HopAttempt } from "./hop_attempt.ts";
import { encodeHopRequest } from "./hop_fields.ts";
import type { RoutingParts } from "./routing_parts.ts";

/** Questions that are open at once; whoever asks for certificates asks again. */
const maxOpen = 64;

const asker: Caller = { kind: "network", name: "network", clusters: anyName };
const here: Peer = { address: "", isTls: false };

/** Asks for one relay. */
export class ClaimQuestions {
  readonly #routing: RoutingParts;
  readonly #open = new Counter();

  constructor(routing: RoutingParts) {
    this.#routing = routing;
  }

  /**
   * Whether a session of another relay's claims a hostname; "unknown" where the directory does not answer,
   * or too many ask.
   */
  async isClaimed(cluster: string, hostname: string): Promise<boolean | "unknown"> {
    if (this.#open.count >= maxOpen) return "unknown";
    using _slot = this.#open.acquire();
    let holders: readonly Holder[];
    try {
      holders = await this.#routing.lookups.findAnew(cluster);
    } catch {
      // It says itself that it is away.
      return "unknown";
    }
    const answers = await Promise.all(
      holders.map((holder) => this.#ask(holder, cluster, hostname)),
    );
    return answers.includes(true);
  }

  /** A request that ends at the relay that has the session (RFC 9110 section 7.6.2). */
  #ask(holder: Holder, cluster: string, hostname: string): Promise<boolean> {
    const { peers, limits, repeatableAcceptances, hopped } = this.#routing;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    new HopAttempt({
      pool: peers.pool(holder),
      head: this.#headFor(claimRoute(cluster, hostname)),
      isUpgrade: false,
      limits: limits.head,
      acceptances: repeatableAcceptances,
      ended: (end) => {
        hopped(end.kind);
        if (end.kind === "accepted") end.channel.close();
        resolve(end.kind === "accepted");
      },
    });
    return promise;
  }

  #headFor(route: ServiceRoute): Uint8Array {
    const { relay, via, tokens } = this.#routing;
    const head: RequestHead = {
      method: "OPTIONS",
      target: route.path,
      minor: 1,
      // The hop counts as one.
      fields: [field("Host", route.hostname), field("Max-Forwards", "1")],
    };
    const from = { relay, via, token: tokens.sent, requestId: crypto.randomUUID(), caller: asker };
    return encodeHopRequest({ head, framing: { kind: "none" }, peer: here }, route, {
      ...from,
      identity: noIdentity,
      isSelective: true,
    });
  }
}

function claimRoute(cluster: string, hostname: string): ServiceRoute {
  return {
    kind: "service",
    cluster,
    path: "/",
    name: cluster,
    hostname,
    target: undefined,
    transport: "http",
    rules: { host: "public", authorization: "app", impersonation: "refuse" },
    isOpenWildcard: true,
    service: undefined,
  };
}
