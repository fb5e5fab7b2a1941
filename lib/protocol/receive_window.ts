/** The receiver's side of flow control: how much a peer may still send on one stream. */

/** How long after a stream was refused its share no other may hold more than its own. */
const shortageMs = 1_000;

/** Times the budget that idle windows may hold beside it, where their peer can't return credit. */
const maxIdleBudgets = 3;

/** Memory that the streams of one session may use on top of their first windows, in bytes. */
export class WindowBudget {
  readonly #bytes: number;
  #free: number;
  /** What windows of idle streams hold beside the budget. */
  #idle = 0;
  /** Streams that use more than their first windows, or would. */
  #users = 0;
  #shortUntilMs = -Infinity;

  constructor(bytes: number) {
    this.#bytes = this.#free = bytes;
  }

  /** What each stream may hold while others want more than there is. */
  get share(): number {
    return Math.floor(this.#bytes / Math.max(1, this.#users));
  }

  /** Leaves what an idle stream holds out of the count, within bounds, or says that it can't. */
  setAside(bytes: number): boolean {
    if (this.#idle + bytes > maxIdleBudgets * this.#bytes) return false;
    this.#idle += bytes;
    this.#free += bytes;
    return true;
  }

  /** The stream is idle no more. Less than nothing may be free then, until others hold less. */
  countAgain(bytes: number): void {
    this.#idle -= bytes;
    this.#free -= bytes;
  }

  /** Counts a stream among those that share. */
  join(): void {
    this.#users++;
  }

  /** Takes a stream out of the count. */
  leave(): void {
    this.#users--;
  }

  /** Whether a stream waits for its share, so that those who hold more have to give back. */
  isShort(nowMs: number): boolean {
    return nowMs < this.#shortUntilMs;
  }

  /**
   * Takes `bytes` for a stream that holds some already, or nothing and says so. A stream can have all
   * that is free, until another one lacks its share.
   */
  widen(bytes: number, held: number, nowMs: number): boolean {
    const isWithinShare = held + bytes <= this.share;
    if (!isWithinShare && this.isShort(nowMs)) return false;
    if (this.take(bytes)) return true;
    if (isWithinShare) this.#shortUntilMs = nowMs + shortageMs;
    return false;
  }

  /** Takes `bytes`, or nothing and says so. */
  take(bytes: number): boolean {
    if (bytes > this.#free) return false;
    this.#free -= bytes;
    return true;
  }

  /** Gives back what was taken. */
  giveBack(bytes: number): void {
    this.#free += bytes;
  }
}

/** A line of a shorter round trip counts as one of this: within less, event loops set the pace. */
const minRoundTripMs = 1;
/**
 * Parts of a round trip over which a rate is measured. A sender that waits for credit sends in
 * bursts, so a shorter time sees the rate that it could send at, and the window grows faster.
 */
const epochsPerRoundTrip = 4;
/** The shortest time in milliseconds over which a rate is measured: a burst read at once has none. */
const minEpochMs = 5;
/** Round trips' worth of bytes that a window is to hold: room for late Credits and late readers. */
const roundTripsPerWindow = 4;

/**
 * Counts what a stream's peer may send, and widens the window for a stream that needs it.
 *
 * The peer holds credit; what arrives spends it; what is consumed is granted again once
 * it comes to half a window, so that a short exchange costs no Credit frame at all. A window
 * is to hold what the consumer takes in a few round trips: then the sender never waits for a Credit.
 * It grows towards that, at most doubling at a time, up to `maxWindow` and only within the session's
 * budget. More would not make the stream faster, but would queue on the line in front of everybody
 * else. A consumer that stalls takes nothing, so its window stays as it is.
 *
 * Credit that was granted can't be taken back. A window narrows by what its peer returns, and, while
 * another stream lacks its share of the budget, by what is not granted again.
 */
export class ReceiveWindow {
  #size: number;
  /** What the peer may still send. */
  #credit: number;
  /** What has arrived and has not been consumed. */
  #unread = 0;
  #consumedInEpoch = 0;
  #epochStartMs: number;
  #widenedBy = 0;
  /** Something has come since {@link setAsideIfIdle} looked. */
  #hasReceived = false;
  /** The budget does not count what this window holds. */
  #isAside = false;
  /** Counted by the budget among those that share it. */
  #isUser = false;
  readonly #firstSize: number;
  readonly #maxSize: number;
  readonly #budget: WindowBudget;

  constructor(size: number, maxSize: number, budget: WindowBudget, nowMs: number) {
    this.#size = this.#firstSize = size;
    this.#credit = size;
    this.#maxSize = maxSize;
    this.#budget = budget;
    this.#epochStartMs = nowMs;
  }

  /** The window as it is now, in bytes. */
  get size(): number {
    return this.#size;
  }

  /** What the peer may still send. */
  get credit(): number {
    return this.#credit;
  }

  /** Bytes that have arrived and that the consumer has not taken. */
  get unread(): number {
    return this.#unread;
  }

  /** Notes bytes that arrived; false when the peer had no credit for them. */
  received(bytes: number): boolean {
    if (bytes > this.#credit) return false;
    this.#countAgain();
    this.#hasReceived = true;
    this.#credit -= bytes;
    this.#unread += bytes;
    return true;
  }

  /**
   * Has the budget not count this window while nothing comes: for a peer that can't return credit.
   * Called now and then; the window is idle when nothing has come since the last time.
   */
  setAsideIfIdle(): void {
    const isIdle = !this.#hasReceived && this.#unread === 0 && this.#widenedBy > 0;
    this.#hasReceived = false;
    if (!isIdle || this.#isAside || !this.#budget.setAside(this.#widenedBy)) return;
    this.#isAside = true;
    this.#share(false);
  }

  /** Notes consumed bytes and returns the credit to grant now, often none. */
  consumed(bytes: number, nowMs: number, roundTripMs: number): number {
    this.#unread -= bytes;
    this.#consumedInEpoch += bytes;
    this.#measure(nowMs, Math.max(roundTripMs, minRoundTripMs));
    if (this.#widenedBy > this.#budget.share && this.#budget.isShort(nowMs)) {
      this.#narrow(this.#firstSize + this.#budget.share);
    }
    const grant = this.#size - this.#credit - this.#unread;
    if (grant < this.#size / 2) return 0;
    this.#credit += grant;
    return grant;
  }

  /** Takes back credit that the peer does not need; false when it had less. */
  returned(bytes: number): boolean {
    if (bytes > this.#credit) return false;
    this.#countAgain();
    this.#credit -= bytes;
    // What was not granted yet is not needed either.
    this.#narrow(this.#firstSize);
    this.#share(this.#widenedBy > 0);
    return true;
  }

  /** Gives what the window was widened by back to the session's budget; the stream has ended. */
  close(): void {
    this.#countAgain();
    this.#budget.giveBack(this.#widenedBy);
    this.#widenedBy = 0;
    this.#share(false);
  }

  #countAgain(): void {
    if (!this.#isAside) return;
    this.#isAside = false;
    this.#budget.countAgain(this.#widenedBy);
    this.#share(true);
  }

  /** Narrows the window as far as possible: what the peer may still send, or has sent, needs its room. */
  #narrow(size: number): void {
    const target = Math.max(size, this.#firstSize, this.#credit + this.#unread);
    const less = Math.min(this.#size - target, this.#widenedBy);
    if (less <= 0) return;
    this.#size -= less;
    this.#widenedBy -= less;
    this.#budget.giveBack(less);
  }

  #share(isUser: boolean): void {
    if (isUser === this.#isUser) return;
    this.#isUser = isUser;
    if (isUser) this.#budget.join();
    else this.#budget.leave();
  }

  /** At the end of an epoch: widens the window if the consumer's rate asks for more. */
  #measure(nowMs: number, roundTripMs: number): void {
    const elapsedMs = nowMs - this.#epochStartMs;
    if (elapsedMs < Math.max(roundTripMs / epochsPerRoundTrip, minEpochMs)) return;
    const wanted = roundTripsPerWindow * roundTripMs * this.#consumedInEpoch / elapsedMs;
    this.#epochStartMs = nowMs;
    this.#consumedInEpoch = 0;
    const target = Math.min(Math.ceil(wanted), 2 * this.#size, this.#maxSize);
    const more = target - this.#size;
    this.#share(this.#widenedBy > 0 || more > 0);
    if (more <= 0 || !this.#budget.widen(more, this.#widenedBy, nowMs)) return;
    this.#size = target;
    this.#widenedBy += more;
  }
}
