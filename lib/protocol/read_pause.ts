/** When a session reads nothing more from its socket. */
import type { Keepalive } from "./keepalive.ts";
import type { TunnelSocket } from "./socket.ts";
import { HeldBytes } from "./version1.ts";

/** Pauses a session's socket while more has come than can be dealt with. */
export class ReadPause {
  readonly #socket: TunnelSocket;
  readonly #keepalive: Keepalive;
  /** What consumers of version 1 streams have not dealt with. */
  readonly #held = new HeldBytes();
  #doMessagesWait = false;
  #isPaused = false;

  constructor(socket: TunnelSocket, keepalive: Keepalive) {
    this.#socket = socket;
    this.#keepalive = keepalive;
  }

  /** Bytes that are held for consumers of version 1 streams became more, or fewer. */
  heldChanged(bytes: number): void {
    this.#held.change(bytes);
    this.#update();
  }

  /** Messages have come that are still to be read; or none waits any more. */
  messagesWait(doWait: boolean): void {
    this.#doMessagesWait = doWait;
    this.#update();
  }

  #update(): void {
    const mustPause = this.#held.isFull || this.#doMessagesWait;
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#socket.pause?.();
    else {
      this.#keepalive.heard();
      this.#socket.resume?.();
    }
    this.#keepalive.isPaused = mustPause;
  }
}
