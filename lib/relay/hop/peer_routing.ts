/** Requests for clusters whose sessions other relays hold. */
import { Counter } from "../../counter.ts";
import { Deadlines } from "../limits/deadlines.ts";
import type { Claim, Directory, Holder } from "../directory/directory.ts";
import { type LookupResult, Lookups } from "../directory/lookups.ts";
import { Moves } from "../directory/moves.ts";
import type { ForwardLimits } from "../forward/forward.ts";
import { ClaimQuestions } from "./claim_questions.ts";
import { HandOff, type HandOffRequest } from "./hand_off.ts";
import type { HopAttemptEnd } from "./hop_attempt.ts";
import { withHopSlack } from "./hop_fields.ts";
import { sessionWaitMs, SessionWaits } from "./session_wait.ts";
import { type DialPeer, Peers } from "./peers.ts";
import type { RelayTokens } from "./relay_tokens.ts";

/** What became of a try to forward a request, for the metrics. */
export type HopResult = HopAttemptEnd["kind"];

/** What routing to other relays needs. */
export interface PeerRoutingOptions {
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

/** Timeout for another relay to accept a request that may be sent again, in milliseconds. */
const repeatableAcceptMs = 2_000;
/** The same for a request that may not. */
const acceptMs = 10_000;
/** Requests that wait for sessions that have moved. */
const maxWaiting = 4_096;

/** Finds the relay that holds a session, and has it answer. */
export class PeerRouting {
  readonly relay: string;
  readonly via: string;
  readonly tokens: RelayTokens;
  readonly directory: Directory;
  /** Clusters whose sessions are worth waiting for. */
  readonly moves = new Moves(sessionWaitMs);
  readonly lookups: Lookups;
  readonly peers: Peers;
  readonly sessionWaits: SessionWaits;
  readonly limits: ForwardLimits;
  readonly isHere: (cluster: string) => boolean;
  readonly hopped: (result: HopResult) => void;
  readonly failed: (holder: Holder, reason: string) => void;
  readonly repeatableAcceptances = new Deadlines(repeatableAcceptMs);
  readonly acceptances = new Deadlines(acceptMs);
  /** Requests that wait for a session that has moved. */
  readonly waiting = new Counter();
  readonly claimQuestions = new ClaimQuestions(this);
  /** Set once what other relays answer is broken off, as this relay stops. */
  isBrokenOff = false;
  readonly #open = new Set<HandOff>();
  #onIdle: () => void = () => {};

  constructor(options: PeerRoutingOptions) {
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
    this.sessionWaits = new SessionWaits({ isHere, find });
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
    this.sessionWaits.arrived(claim.cluster);
  }

  /** A session has left this relay, or takes no more requests. */
  left(claim: Claim): void {
    this.directory.withdraw(claim);
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
  async refreshHolders(cluster: string): Promise<void> {
    try {
      await this.lookups.findAnew(cluster);
    } catch {
      // The directory is away, and says so itself: what is here has to do.
    }
  }

  /** Has another relay answer a request. The answer goes straight to the exchange. */
  serve(request: HandOffRequest): void {
    const handOff = new HandOff(this, request, () => {
      this.#open.delete(handOff);
      if (this.#open.size === 0) this.#onIdle();
    });
    this.#open.add(handOff);
    handOff.start();
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
    for (const handOff of [...this.#open]) handOff.breakOff();
  }

  /** Has the others look for this relay's agents where they go; requests still go to the others. */
  withdrawAll(): Promise<void> {
    return this.directory.withdrawAll();
  }

  /** Ends what is idle; requests that are under way go on. */
  close(): void {
    this.peers.close();
    void this.directory.close();
  }
}
