/** What several relays know of each other: which of them holds a session of which cluster. */

/** Another relay that holds a session of a cluster. */
export interface Holder {
  /** Random for each process. */
  readonly relay: string;
  /** Origin of its internal listener, `http://HOST:PORT` or `https://HOST:PORT`. */
  readonly url: string;
}

/** A session that a relay, this one or another, holds. */
export interface Claim {
  readonly cluster: string;
  /** The agent process; version 1 agents have none. */
  readonly instance: string | undefined;
  /** Which of the agent's connections it is. */
  readonly slot: number;
  /** When the session began, by this relay's clock (`steadyEpochMs`), in milliseconds since 1970. */
  readonly sinceMs: number;
}

/** What a directory tells its relay. */
export interface DirectoryEvents {
  /** It can't be reached, or is too slow; said once for each reason until {@link back}. */
  away(reason: string): void;
  /** It can be reached again, and knows this relay's sessions again. */
  back(sessions: number): void;
  /** One request to it failed. */
  failed(): void;
  /** A look-up has met a session that another relay holds, which is alive. */
  heldElsewhere(claim: Claim): void;
  /** Something in it is not what a relay writes. */
  invalid(what: string): void;
}

/** A look-up was not possible. */
export class DirectoryError extends Error {
  override readonly name = "DirectoryError";
}

/**
 * A directory that relays share. Without one a relay knows its own sessions only, which are in its
 * `Registry`.
 */
export interface Directory {
  /** Whether it can be asked; one reply that is late does not change that. */
  readonly isUp: boolean;
  /** Whether it was reached, or found to be away, since it was opened. */
  readonly isSettled: boolean;
  /**
   * Begins: makes this relay known.
   *
   * @param url Origin of its internal listener, as the other relays reach it.
   */
  open(url: string): void;
  /** Makes a session known until it is withdrawn; kept and repeated while the directory is unavailable. */
  claim(claim: Claim): void;
  /** Takes a claim back; one that was not made changes nothing. */
  withdraw(claim: Claim): void;
  /**
   * The other relays that hold sessions of a cluster, the newest session's first.
   *
   * @throws {DirectoryError} when the directory is unavailable or too slow.
   */
  find(cluster: string): Promise<readonly Holder[]>;
  /**
   * Whether a session of a cluster has left a relay within the last seconds: it is likely to be on
   * its way to another, though nobody holds it.
   *
   * @throws {DirectoryError} when the directory is unavailable or too slow.
   */
  isMoving(cluster: string): Promise<boolean>;
  /** Takes back all claims, and takes no more; others can still be found. */
  withdrawAll(): Promise<void>;
  /** Ends. What is still claimed expires. Resolves when nothing is under way any more. */
  close(): Promise<void>;
}
