/** Requests for clusters whose sessions other relays hold. */
import { Counter } from "../../counter.ts";
import type { Exchange } from "../../net/exchange.ts";
import type { Caller } from "../callers/caller.ts";
import { Deadlines } from "../limits/deadlines.ts";
import type { Claim, Directory, Holder } from "../directory/directory.ts";
import { type LookupResult, Lookups } from "../directory/lookups.ts";
import { Moves } from "../directory/moves.ts";
import {
  answerError,
  clusterNotAvailable,
  directoryAway,
  graceOver,
  type RelayError,
  relayLost,
} from "../errors.ts";
import { forward, type ForwardHost, type ForwardLimits } from "../forward/forward.ts";
import { isRepeatable } from "../../http1/repeatable.ts";
import { StreamError } from "../../protocol/errors.ts";
import { Attempt, type AttemptEnd } from "./attempt.ts";
import type { HopChannel } from "./hop_channel.ts";
import { encodeHopRequest, withHopSlack } from "./hop_fields.ts";
import { huntMs, Hunts } from "./hunt.ts";
import { type DialPeer, Peers } from "./peers.ts";
import type { RelayTokens } from "./relay_tokens.ts";

/** What became of a try to forward a request, for the metrics. */
export type HopResult = AttemptEnd["kind"];

/** What going elsewhere needs. */
export interface ElsewhereOptions {
  directory: Directory;
  /** Names this relay to the others. */
  relay: string;
  /** Names it in `Via`. */
  via: string;
  tokens: RelayTokens;
  dial: DialPeer;
  limits: ForwardLimits;
  /** Whether this relay has a session of a cluster that takes requests. */
  isHere: (cluster: string) => boolean;
  lookedUp: (result: LookupResult) => void;
  hopped: (result: HopResult) => void;
  /** Another relay can't be reached, broke off or takes no requests of ours. */
  failed: (holder: Holder, reason: string) => void;
}

/** A request that no session of this relay can take, or only one whose agent does not answer. */
export interface StrayRequest {
  readonly exchange: Exchange;
  readonly cluster: string;
  /** What the target is asked for, byte for byte. */
  readonly path: string;
  /** A session has come to this relay after all, or nobody else takes the request. */
  readonly here: () => void;
  /** Another relay has taken the request. */
  readonly taken: (relay: string) => void;
  /** Who asks. */
  readonly caller: Caller;
  readonly host: ForwardHost;
}

/** For another relay's word on a request that may be sent again, in milliseconds. */
const repeatableWordMs = 2_000;
/** For its word on one that may not. */
const wordMs = 10_000;
/** Requests that wait for sessions that have moved. */
const maxWaiting = 4_096;

/** Finds the relay that holds a session, and has it answer. */
export class Elsewhere {
  readonly relay: string;
  readonly via: string;
  readonly tokens: RelayTokens;
  readonly directory: Directory;
  /** Clusters whose sessions are worth waiting for. */
  readonly moves = new Moves(huntMs);
  readonly lookups: Lookups;
  readonly peers: Peers;
  readonly hunts: Hunts;
  readonly limits: ForwardLimits;
  readonly isHere: (cluster: string) => boolean;
  readonly hopped: (result: HopResult) => void;
  readonly failed: (holder: Holder, reason: string) => void;
  readonly repeatableWords = new Deadlines(repeatableWordMs);
  readonly words = new Deadlines(wordMs);
  /** Requests that wait for a session that has moved. */
  readonly waiting = new Counter();
  /** Set once what other relays answer is broken off, as this relay stops. */
  isBrokenOff = false;
  readonly #open = new Set<Journey>();
  #onIdle: () => void = () => {};

  constructor(options: ElsewhereOptions) {
    const { directory, relay, tokens, dial, limits, isHere, lookedUp, hopped } = options;
    this.relay = relay;
    this.via = options.via;
    this.tokens = tokens;
    this.directory = directory;
    this.isHere = isHere;
    this.hopped = hopped;
    this.failed = options.failed;
    this.lookups = new Lookups(directory, this.moves, lookedUp);
    this.peers = new Peers(dial);
    const find = async (cluster: string): Promise<readonly Holder[]> => {
      const holders = await this.lookups.find(cluster);
      return this.peers.firstUsable(holders) ? holders : [];
    };
    this.hunts = new Hunts({ isHere, find });
    this.limits = { ...limits, head: withHopSlack(limits.head) };
  }

  /** Makes this relay known. @param url Origin of its internal listener, for the others. */
  open(url: string): void {
    this.directory.open(url);
  }

  /** A session has come to this relay. */
  arrived(claim: Claim): void {
    this.directory.claim(claim);
    this.moves.end(claim.cluster);
    this.hunts.arrived(claim.cluster);
  }

  /** A session has left this relay, or takes no more requests. */
  left(claim: Claim): void {
    this.directory.release(claim);
    this.moves.begin(claim.cluster);
  }

  /**
   * A session was lost with a request in it, here or with the relay that had been asked: it is no
   * longer where it was, and worth waiting for.
   */
  lost(cluster: string, relay: string | undefined): void {
    this.moves.begin(cluster);
    if (relay === undefined) return;
    this.lookups.forget(cluster, relay);
    this.peers.suspect(relay);
  }

  /** Whether a cluster is known to be held by another relay. */
  knows(cluster: string): boolean {
    return (this.lookups.kept(cluster)?.length ?? 0) > 0 || this.moves.has(cluster);
  }

  /** Whether one more request may wait for a session that has moved. */
  get mayWait(): boolean {
    return this.waiting.count < maxWaiting;
  }

  /**
   * Looks who else holds a cluster whose agents do not answer here. That may end their sessions: see
   * `Registry.heldElsewhere`.
   */
  async lookBehind(cluster: string): Promise<void> {
    try {
      await this.lookups.findAnew(cluster);
    } catch {
      // The directory is away, and says so itself: what is here has to do.
    }
  }

  /** Has another relay answer a request. The answer goes straight to the exchange. */
  serve(request: StrayRequest): void {
    const journey = new Journey(this, request, () => {
      this.#open.delete(journey);
      if (this.#open.size === 0) this.#onIdle();
    });
    this.#open.add(journey);
    journey.start();
  }

  /** Requests that other relays answer, or that look for one that does. */
  get openRequests(): number {
    return this.#open.size;
  }

  /** Waits until there are no {@link openRequests} any more, `ms` at most. */
  async drained(ms: number): Promise<void> {
    if (this.#open.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#onIdle = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** Ends {@link openRequests} with an error, so that no answer that is cut looks whole. */
  breakOff(): void {
    this.isBrokenOff = true;
    for (const journey of [...this.#open]) journey.breakOff();
  }

  /** Has the others look for this relay's agents where they go; requests still go to the others. */
  withdraw(): Promise<void> {
    return this.directory.withdraw();
  }

  /** Ends what is idle; requests that are under way go on. */
  close(): void {
    this.peers.close();
    this.directory.close();
  }
}

/** One request, until a relay has taken it or none is left. */
class Journey {
  readonly #elsewhere: Elsewhere;
  readonly #request: StrayRequest;
  /**
   * It may be sent again though another relay may have had its head: it asks for no change (RFC 9110
   * section 9.2.1), or its body, of which nothing is sent before the other relay's word, is still
   * here; so no target can have had the whole of it, and an incomplete request is none (RFC 9112
   * section 8).
   */
  readonly #isRepeatable: boolean;
  readonly #isUpgrade: boolean;
  readonly #endMs = performance.now() + huntMs;
  #attempt: Attempt | undefined;
  /** Once another relay has taken the request. */
  #channel: HopChannel | undefined;
  #isOver = false;
  /** Neither this nor its channel has anything to do any more. */
  readonly #ended: () => void;

  constructor(elsewhere: Elsewhere, request: StrayRequest, ended: () => void) {
    this.#elsewhere = elsewhere;
    this.#ended = ended;
    this.#request = request;
    const { exchange, host } = request;
    this.#isUpgrade = host.upgrade !== undefined;
    const { head, framing } = exchange;
    const isUnfinished = framing.kind !== "none" && !this.#isUpgrade;
    this.#isRepeatable = isUnfinished || isRepeatable(head, framing);
  }

  start(): void {
    const { cluster, exchange } = this.#request;
    const { lookups, moves } = this.#elsewhere;
    exchange.onAborted = () => this.#abandon();
    if (this.#isHere) return this.#await(lookups.findAnew(cluster));
    const holders = lookups.kept(cluster);
    if (holders) this.#found(holders);
    else if (moves.has(cluster)) this.#search();
    else this.#await(lookups.find(cluster));
  }

  /** Whether this relay has a session: one of the last resort when the journey begins. */
  get #isHere(): boolean {
    return this.#elsewhere.isHere(this.#request.cluster);
  }

  #await(lookup: Promise<readonly Holder[]>): void {
    lookup.then(
      (holders) => this.#found(holders),
      (error) => this.#isHere ? this.#here() : this.#fail(directoryAway, String(error)),
    );
  }

  #found(holders: readonly Holder[]): void {
    if (this.#isOver) return;
    if (holders.length > 0) this.#try(holders);
    else if (this.#isHere || this.#elsewhere.moves.has(this.#request.cluster)) this.#search();
    else this.#fail(clusterNotAvailable);
  }

  #try(holders: readonly Holder[]): void {
    const { peers, relay, via, tokens, limits, words, repeatableWords } = this.#elsewhere;
    const holder = peers.firstUsable(holders);
    if (!holder) return this.#search();
    const { exchange, cluster, path, caller, host: { requestId, span } } = this.#request;
    const from = { relay, via, token: tokens.sent, requestId, caller, span };
    this.#attempt = new Attempt({
      pool: peers.pool(holder),
      head: encodeHopRequest(exchange, `/tunnel/${cluster}${path}`, from),
      isUpgrade: this.#isUpgrade,
      limits: limits.head,
      words: this.#isRepeatable ? repeatableWords : words,
      ended: (end) => this.#attempted(end, holder, holders),
    });
  }

  #attempted(end: AttemptEnd, holder: Holder, holders: readonly Holder[]): void {
    const { hopped, failed, lookups, peers, limits } = this.#elsewhere;
    const { cluster, exchange, host, taken } = this.#request;
    hopped(end.kind);
    if (end.kind === "accepted") {
      this.#isOver = true;
      this.#channel = end.channel;
      end.channel.onOver = this.#ended;
      taken(holder.relay);
      return forward(end.channel, exchange, limits, host);
    }
    lookups.forget(cluster, holder.relay);
    this.#elsewhere.moves.begin(cluster);
    if ("detail" in end && peers.suspect(holder.relay)) failed(holder, end.detail);
    if (end.kind === "broken" && !this.#isRepeatable) return this.#fail(relayLost, end.detail);
    const others = holders.filter((other) => other !== holder);
    if (others.length > 0) this.#try(others);
    else this.#search();
  }

  /** No other relay takes the request: a session here does, or it waits for one that moves. */
  #search(): void {
    if (this.#isHere) return this.#here();
    const elsewhere = this.#elsewhere;
    const { cluster } = this.#request;
    if (performance.now() >= this.#endMs || !elsewhere.mayWait) {
      return this.#fail(clusterNotAvailable, "The session did not come back in time");
    }
    const place = elsewhere.waiting.take();
    elsewhere.hunts.search(cluster).finally(() => place.release()).then((found) => {
      if (this.#isOver) return;
      if (found === "here") this.#here();
      else if (found) this.#try(found);
      else this.#fail(clusterNotAvailable, "The session did not come back in time");
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
