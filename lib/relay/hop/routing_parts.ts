/** What requests to other relays go by: who holds which session, and how each relay is reached. */
import { Counter } from "../../counter.ts";
import type { Directory, Holder } from "../directory/directory.ts";
import { type LookupResult, Lookups } from "../directory/lookups.ts";
import { Moves } from "../directory/moves.ts";
import type { ForwardLimits } from "../forward/forward.ts";
import { Deadlines } from "../limits/deadlines.ts";
import type { HopAttemptEnd } from "./hop_attempt.ts";
import { withHopSlack } from "./hop_fields.ts";
import { type DialPeer, Peers } from "./peers.ts";
import type { RelayTokens } from "./relay_tokens.ts";
import { sessionWaitMs, SessionWaits } from "./session_wait.ts";

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

/** Shared by all requests that other relays answer. */
export class RoutingParts {
  readonly relay: string;
  readonly via: string;
  readonly tokens: RelayTokens;
  /** Clusters whose sessions are worth waiting for. */
  readonly moves = new Moves(sessionWaitMs);
  readonly lookups: Lookups;
  readonly peers: Peers;
  readonly sessionWaits: SessionWaits;
  readonly limits: ForwardLimits;
  readonly hopped: (result: HopResult) => void;
  readonly failed: (holder: Holder, reason: string) => void;
  readonly repeatableAcceptances = new Deadlines(repeatableAcceptMs);
  readonly acceptances = new Deadlines(acceptMs);
  /** Requests that wait for a session that has moved. */
  readonly waiting = new Counter();

  constructor(options: PeerRoutingOptions) {
    const { directory, relay, via, tokens, dial, limits, isHere, lookedUp, hopped, failed } =
      options;
    this.relay = relay;
    this.via = via;
    this.tokens = tokens;
    this.hopped = hopped;
    this.failed = failed;
    this.lookups = new Lookups(directory, this.moves, lookedUp);
    this.peers = new Peers(dial);
    const find = async (cluster: string): Promise<readonly Holder[]> => {
      const holders = await this.lookups.find(cluster);
      return this.peers.firstUsable(holders) ? holders : [];
    };
    this.sessionWaits = new SessionWaits({ isHere, find });
    this.limits = { ...limits, head: withHopSlack(limits.head) };
  }

  /** Whether one more request may wait for a session that has moved. */
  get mayWait(): boolean {
    return this.waiting.count < maxWaiting;
  }
}
