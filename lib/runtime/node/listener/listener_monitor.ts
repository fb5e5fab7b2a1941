/**
 * Whether a listener still accepts. Under Deno 2.9.6 one whose accept has failed, because the
 * process was out of file descriptors, never accepts again, and no event says so.
 */
import { connect, type Socket } from "node:net";

/** Looks for which nothing is accepted before the listener is called. */
const quietLooks = 5;
/** Looks that a call may take: in each of them the event loop has turned. */
const callLooks = 3;
/**
 * Calls in a row that nobody hears, for each process that shares the address: each of them has the same
 * chance to get a call, so that all of this number miss one is less likely than one in 100,000.
 */
const missedCalls = 12;
/** Where calls come from when several processes share an address, and each may get those of all. */
const sharedCallAddress = "127.67.85.76";

/** Where a listener is bound. */
export interface Bound {
  readonly hostname: string;
  readonly port: number;
}

/** The two ends of a connection, seen from where it was accepted. */
export type AcceptedEnds = Pick<Socket, "remoteAddress" | "remotePort" | "localAddress">;

/**
 * Calls a listener that has been quiet for a while. Told of each connection that was accepted, and
 * to be asked at a steady pace; it keeps no timer.
 */
export class ListenerMonitor {
  readonly #bound: Bound;
  #quietLooks = 0;
  #call: Socket | undefined;
  /** Whether a call ever got through. Else a firewall may keep the machine from its own address. */
  #isReachable = false;
  readonly #sharers: number;
  #missed = 0;

  /** @param sharers Processes that accept connections at the same address, this one included. */
  constructor(bound: Bound, sharers = 1) {
    this.#bound = bound;
    this.#sharers = sharers;
  }

  /**
   * Tells whether a connection that has just been accepted is this monitor's call: at once, but for
   * one that may be and whose other end has not heard yet that it is connected.
   *
   * Only the call that is under way counts: once it has ended, its port is anybody's.
   */
  identify(accepted: AcceptedEnds, tell: (isOwn: boolean) => void): void {
    if (this.#sharers > 1) {
      return tell(accepted.remoteAddress?.replace(/^::ffff:/, "") === sharedCallAddress);
    }
    const call = this.#call;
    // Both ends of a call have the same address.
    if (!call || accepted.remoteAddress !== accepted.localAddress) return tell(false);
    const answer = (): void => {
      call.off("connect", answer).off("close", answer);
      tell(call.localPort === accepted.remotePort);
    };
    if (call.connecting) call.on("connect", answer).on("close", answer);
    else answer();
  }

  /** The listener has accepted a connection. */
  accepted(): void {
    this.#quietLooks = this.#missed = 0;
  }

  /** Looks once more. @returns true when a call was not heard: the listener has to be opened anew. */
  look(): boolean {
    // Not before now: by its port, a call that was heard is known as one.
    if (this.#quietLooks === 0) this.close();
    this.#quietLooks++;
    if (this.#quietLooks <= quietLooks) return false;
    if (!this.#call) {
      this.#begin();
      return false;
    }
    if (this.#quietLooks <= quietLooks + callLooks) return false;
    this.close();
    // Another process may have accepted it.
    if (this.#sharers > 1 && ++this.#missed < missedCalls * this.#sharers) {
      this.#begin();
      return false;
    }
    this.#quietLooks = this.#missed = 0;
    return this.#isReachable;
  }

  /** Ends a call that is under way. */
  close(): void {
    this.#call?.destroy();
    this.#call = undefined;
  }

  #begin(): void {
    const { hostname, port } = this.#bound;
    const own = this.#sharers > 1 && { localAddress: sharedCallAddress, ...ipv4Of(hostname) };
    const call = connect({ host: reachable(hostname), port, ...own });
    this.#call = call;
    this.#quietLooks = quietLooks + 1;
    call.on("connect", () => {
      this.#isReachable = true;
    });
    // It says nothing about the listener, as when there are still no descriptors: the next may.
    call.on("error", () => {
      if (this.#call === call) this.close();
    });
  }
}

/** A listener on all interfaces can be called over IPv4. */
function ipv4Of(hostname: string): { host?: string } {
  return hostname === "::" ? { host: "127.0.0.1" } : {};
}

/** An address of this machine that leads to a listener on all interfaces. */
function reachable(hostname: string): string {
  if (hostname === "0.0.0.0") return "127.0.0.1";
  return hostname === "::" ? "::1" : hostname;
}
