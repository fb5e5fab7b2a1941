/** One request that another relay answers, until one has taken it or none is left. */
import type { Exchange } from "../../net/exchange.ts";
import { StreamError } from "../../protocol/errors.ts";
import type { Caller } from "../callers/caller.ts";
import type { CallerIdentity } from "../people/identities.ts";
import type { Holder } from "../directory/directory.ts";
import {
  directoryAway,
  graceOver,
  relayCannotImpersonate,
  relayLost,
} from "../availability_errors.ts";
import { answerError } from "../error_response.ts";
import type { RelayError } from "../relay_error.ts";
import { forward, type ForwardHost } from "../forward/forward.ts";
import { mayTryAnotherRelay } from "../forward/retry_rules.ts";
import type { Route } from "../route.ts";
import { HopAttempt, type HopAttemptEnd } from "./hop_attempt.ts";
import type { HopChannel } from "./hop_channel.ts";
import { encodeHopRequest } from "./hop_fields.ts";
import type { RoutingParts } from "./routing_parts.ts";
import { sessionWaitMs } from "./session_wait.ts";

/** A request that no session of this relay can take, or only one whose agent does not answer. */
export interface HandOffRequest {
  readonly exchange: Exchange;
  readonly route: Route;
  /** Whether this relay has a session that could take the request. */
  readonly isHere: () => boolean;
  /** A session has come to this relay after all, or nobody else takes the request. */
  readonly here: () => void;
  /** Another relay has taken the request. */
  readonly accepted: (relay: string) => void;
  /** What the caller is told if no relay has a session for it. */
  readonly notAvailable: RelayError;
  /** Who asks. */
  readonly caller: Caller;
  /** What agent and target are told about it. */
  readonly identity: CallerIdentity;
  readonly host: ForwardHost;
}

/** One request, until a relay has taken it or none is left. */
export class HandOff {
  readonly #routing: RoutingParts;
  readonly #request: HandOffRequest;
  /** It may be sent again though another relay may have had its head. */
  readonly #isRepeatable: boolean;
  readonly #isUpgrade: boolean;
  readonly #endMs = performance.now() + sessionWaitMs;
  /** Only agents that serve the route are asked for, until no relay has one. */
  #isSelective: boolean;
  /** Relays that were said to hold sessions of the cluster. */
  #holders: readonly Holder[] = [];
  #attempt: HopAttempt | undefined;
  /** Once another relay has taken the request. */
  #channel: HopChannel | undefined;
  #isOver = false;
  /** Neither this nor its channel has anything to do any more. */
  readonly #ended: () => void;

  constructor(routing: RoutingParts, request: HandOffRequest, ended: () => void) {
    this.#routing = routing;
    this.#ended = ended;
    this.#request = request;
    const { exchange, host } = request;
    this.#isUpgrade = host.upgrade !== undefined;
    this.#isRepeatable = mayTryAnotherRelay(exchange);
    this.#isSelective = request.route.kind === "service";
  }

  start(): void {
    const { exchange, route: { cluster } } = this.#request;
    const { lookups, moves } = this.#routing;
    exchange.onAborted = () => this.#abandon();
    if (this.#isHere) return this.#await(lookups.findAnew(cluster));
    const holders = lookups.kept(cluster);
    if (holders) this.#found(holders);
    else if (moves.has(cluster)) this.#search();
    else this.#await(lookups.find(cluster));
  }

  /** Whether this relay has a session: one of the last resort when the hand-off begins. */
  get #isHere(): boolean {
    return this.#request.isHere();
  }

  #await(lookup: Promise<readonly Holder[]>): void {
    lookup.then(
      (holders) => this.#found(holders),
      (error) => this.#isHere ? this.#here() : this.#fail(directoryAway, String(error)),
    );
  }

  #found(holders: readonly Holder[]): void {
    if (this.#isOver) return;
    if (holders.length > 0) this.#tryAll(holders);
    else if (this.#isHere || this.#routing.moves.has(this.#request.route.cluster)) this.#search();
    else this.#fail(this.#request.notAvailable);
  }

  /** Asks relays that hold sessions of the cluster. */
  #tryAll(holders: readonly Holder[]): void {
    this.#isSelective = this.#request.route.kind === "service";
    this.#holders = holders;
    this.#try(holders);
  }

  #try(holders: readonly Holder[]): void {
    const { peers, relay, via, tokens, limits, acceptances, repeatableAcceptances } = this.#routing;
    const holder = peers.firstUsable(holders);
    if (!holder) return this.#search();
    const { exchange, route, caller, identity, host: { requestId, span } } = this.#request;
    const isSelective = this.#isSelective;
    const from = { relay, via, token: tokens.sent, requestId, caller, identity, span, isSelective };
    this.#attempt = new HopAttempt({
      pool: peers.pool(holder),
      head: encodeHopRequest(exchange, route, from),
      isUpgrade: this.#isUpgrade,
      limits: limits.head,
      acceptances: this.#isRepeatable ? repeatableAcceptances : acceptances,
      ended: (end) => this.#attempted(end, holder, holders),
    });
  }

  #attempted(end: HopAttemptEnd, holder: Holder, holders: readonly Holder[]): void {
    const { hopped, failed, lookups, peers, limits } = this.#routing;
    const { exchange, host, accepted, route: { cluster } } = this.#request;
    hopped(end.kind);
    if (end.kind === "accepted") {
      this.#isOver = true;
      this.#channel = end.channel;
      end.channel.onOver = this.#ended;
      accepted(holder.relay);
      return forward(end.channel, exchange, limits, host);
    }
    const others = holders.filter((other) => other !== holder);
    // It may hold sessions of the cluster, and none that serves the route.
    if (end.kind === "not-here" && this.#isSelective) return this.#tryNext(others);
    if (end.kind === "refused" && end.status === 404 && this.#impersonates) {
      return this.#tryNewer(others);
    }
    lookups.forget(cluster, holder.relay);
    this.#routing.moves.begin(cluster);
    if ("detail" in end && peers.suspect(holder.relay)) failed(holder, end.detail);
    if (end.kind === "broken" && !this.#isRepeatable) return this.#fail(relayLost, end.detail);
    if (others.length > 0) this.#try(others);
    else this.#search();
  }

  /** Whether only sessions that claimed the hostname may take the request. */
  get #isClaim(): boolean {
    const { route } = this.#request;
    return route.kind === "service" && route.target === undefined;
  }

  /** Once no relay has an agent that serves the route, one that does not serve it says so. */
  #tryNext(others: readonly Holder[]): void {
    if (others.length > 0) return this.#try(others);
    if (this.#isHere) return this.#here();
    // Nobody has claimed the hostname, so nobody else can answer for it, and nothing has moved.
    if (this.#isClaim) return this.#fail(this.#request.notAvailable);
    this.#isSelective = false;
    this.#try(this.#holders);
  }

  /** Whether the agent is to impersonate the caller. */
  get #impersonates(): boolean {
    return this.#request.identity.impersonation !== undefined;
  }

  /** A relay of an older release knows no identities; it serves everything else as before. */
  #tryNewer(others: readonly Holder[]): void {
    if (others.length > 0) return this.#try(others);
    if (this.#isHere) return this.#here();
    this.#fail(relayCannotImpersonate, "All relays with its agents are of an older release");
  }

  /** No other relay takes the request: a session here does, or it waits for one that moves. */
  #search(): void {
    if (this.#isHere) return this.#here();
    const routing = this.#routing;
    const { cluster } = this.#request.route;
    if (performance.now() >= this.#endMs || !routing.mayWait) {
      return this.#fail(this.#request.notAvailable, "The session did not come back in time");
    }
    const slot = routing.waiting.acquire();
    routing.sessionWaits.search(cluster).finally(() => slot.release()).then((found) => {
      if (this.#isOver) return;
      if (found === "here") this.#here();
      else if (found) this.#tryAll(found);
      else this.#fail(this.#request.notAvailable, "The session did not come back in time");
    });
  }

  #here(): void {
    if (this.#isOver) return;
    this.#over();
    this.#request.exchange.onAborted = () => {};
    this.#request.here();
  }

  #fail(error: RelayError, detail?: string): void {
    if (this.#isOver) return;
    this.#over();
    if (detail !== undefined) this.#request.host.failed(error, detail);
    answerError(this.#request.exchange, error);
  }

  #abandon(): void {
    if (this.#isOver) return;
    this.#over();
    this.#attempt?.abandon();
  }

  #over(): void {
    this.#isOver = true;
    this.#ended();
  }

  /** The relay stops and does not wait for this one any longer. */
  breakOff(): void {
    const detail = "The relay is shutting down, and its --grace is over";
    if (this.#channel) return this.#channel.breakOff(new StreamError("reset", detail));
    this.#attempt?.abandon();
    this.#fail(graceOver, detail);
  }
}
