/** Requests for clusters whose sessions other relays hold. */
import type { Claim, Directory, Holder } from "../directory/directory.ts";
import { ClaimQuestions } from "./claim_questions.ts";
import { HandOff, type HandOffRequest } from "./hand_off.ts";
import type { RelayTokens } from "./relay_tokens.ts";
import { type PeerRoutingOptions, RoutingParts } from "./routing_parts.ts";

/** Finds the relay that holds a session, and has it answer. */
export class PeerRouting {
  readonly directory: Directory;
  /** Whom requests that other relays forward may come from. */
  readonly tokens: RelayTokens;
  readonly claimQuestions: ClaimQuestions;
  /** Set once what other relays answer is broken off, as this relay stops. */
  isBrokenOff = false;
  readonly parts: RoutingParts;
  readonly #open = new Set<HandOff>();
  #onIdle: () => void = () => {};

  constructor(options: PeerRoutingOptions) {
    this.directory = options.directory;
    this.tokens = options.tokens;
    this.parts = new RoutingParts(options);
    this.claimQuestions = new ClaimQuestions(this.parts);
  }

  /** Makes this relay known. @param url Origin of its internal listener, for the others. */
  open(url: string): void {
    this.directory.open(url);
  }

  /** A session has come to this relay. */
  arrived(claim: Claim): void {
    this.directory.claim(claim);
    this.parts.moves.end(claim.cluster);
    this.parts.sessionWaits.arrived(claim.cluster);
  }

  /** A session has left this relay, or takes no more requests. */
  left(claim: Claim): void {
    this.directory.withdraw(claim);
    this.parts.moves.begin(claim.cluster);
  }

  /**
   * A session was lost with a request in it, here or with the relay that had been asked: it is no
   * longer where it was, and worth waiting for.
   */
  lost(cluster: string, relay: string | undefined): void {
    this.parts.moves.begin(cluster);
    if (relay === undefined) return;
    this.parts.lookups.forget(cluster, relay);
    this.parts.peers.suspect(relay);
  }

  /** Whether a cluster is known to be held by another relay. */
  knows(cluster: string): boolean {
    return (this.parts.lookups.kept(cluster)?.length ?? 0) > 0 || this.parts.moves.has(cluster);
  }

  /** Requests that wait for a session that has moved. */
  get waitingRequests(): number {
    return this.parts.waiting.count;
  }

  /** Which other relays hold a cluster, looked up now. @throws {DirectoryError} as the directory does */
  async findHolders(cluster: string): Promise<readonly Holder[]> {
    return await this.parts.lookups.findAnew(cluster);
  }

  /**
   * Looks who else holds a cluster whose agents do not answer here. That may end their sessions: see
   * `Registry.heldElsewhere`.
   */
  async refreshHolders(cluster: string): Promise<void> {
    try {
      await this.findHolders(cluster);
    } catch {
      // The directory is unavailable, and says so itself: what is here has to do.
    }
  }

  /** Has another relay answer a request. The answer goes straight to the exchange. */
  serve(request: HandOffRequest): void {
    const handOff = new HandOff(this.parts, request, () => {
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
    this.parts.peers.close();
    void this.directory.close();
  }
}
