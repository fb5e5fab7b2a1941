/**
 * Whether a listener still accepts. Under Deno 2.9.6 one whose accept has failed, because the
 * process was out of file descriptors, never accepts again, and no event says so.
 */
import { connect, type Socket } from "node:net";

/** Looks for which nothing is accepted before the listener is called. */
const quietLooks = 5;
/** Looks that a call may take: in each of them the event loop has turned. */
const callLooks = 3;

/** A handshake may take 10 looks, and a call comes after every six. */
const knownCalls = 4;

/** Where a listener is bound. */
export interface Bound {
  readonly hostname: string;
  readonly port: number;
}

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
  /** Ports of the latest calls, which a TLS listener gives up only when their handshakes are late. */
  #callPorts: number[] = [];

  constructor(bound: Bound) {
    this.#bound = bound;
  }

  /** Whether a connection is a call of this monitor's own. */
  isOwn(port: number | undefined): boolean {
    return port !== undefined && this.#callPorts.includes(port);
  }

  /** The listener has accepted a connection. */
  accepted(): void {
    this.#quietLooks = 0;
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
    this.#quietLooks = 0;
    return this.#isReachable;
  }

  /** Ends a call that is under way. */
  close(): void {
    this.#call?.destroy();
    this.#call = undefined;
  }

  #begin(): void {
    const { hostname, port } = this.#bound;
    const call = connect({ host: reachable(hostname), port });
    this.#call = call;
    this.#quietLooks = quietLooks + 1;
    call.on("connect", () => {
      this.#isReachable = true;
      this.#callPorts = [...this.#callPorts, call.localPort!].slice(-knownCalls);
    });
    // It says nothing about the listener, as when there are still no descriptors: the next may.
    call.on("error", () => {
      if (this.#call === call) this.close();
    });
  }
}

/** An address of this machine that leads to a listener on all interfaces. */
function reachable(hostname: string): string {
  if (hostname === "0.0.0.0") return "127.0.0.1";
  return hostname === "::" ? "::1" : hostname;
}
