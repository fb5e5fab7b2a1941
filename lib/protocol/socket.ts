/** What a session needs of a WebSocket, so that it runs over any runtime's. */

/** What the session does with what the socket reports. */
export interface TunnelSocketEvents {
  /**
   * A whole binary message. The bytes belong to the receiver.
   *
   * @param free Frees the message's memory, where that can be done; to be called or not.
   */
  message(bytes: Uint8Array, free?: () => void): void;
  /**
   * Offers a message that has not come whole. Sockets that put messages together themselves never ask.
   *
   * @param first What has come of it.
   * @param length Of the whole message, in bytes.
   * @returns whether `part` is to get it as it comes, from its first byte on; else `message` gets it.
   */
  begins?(first: Uint8Array, length: number): boolean;
  /** The next bytes of the message that `begins` wanted; they belong to the receiver. */
  part?(bytes: Uint8Array, isLast: boolean, free?: () => void): void;
  /** A text message: sessions have none. */
  text(text: string): void;
  /** A Ping or Pong of the WebSocket's own (RFC 6455 section 5.5), where the runtime tells. */
  control?(): void;
  /** The socket has closed, by either side; called once, and nothing comes after it. */
  closed(code: number, reason: string): void;
  /** `bufferedAmount` has fallen since the last `send`. */
  drained(): void;
}

/** The verbs of a WebSocket that a session uses. */
export interface TunnelSocket {
  /** Bytes that `send` has taken and the network has not. */
  readonly bufferedAmount: number;
  /** Bytes that have arrived, of whole messages or not; absent where the runtime can't tell. */
  readonly bytesRead?: number | undefined;
  /** Tells where events go. Called once, before anything is sent. */
  listen(events: TunnelSocketEvents): void;
  /**
   * Queues one binary message. The bytes must not change until `sent` is called, if it ever is: a
   * socket that closes may never call it. It is not called within `send`: whoever sends what a stream
   * has brought frees memory with it that the stream's session still reads.
   */
  send(message: Uint8Array, sent?: () => void): void;
  /** Bytes that {@link sendWithHeadroom} needs in front of a message; absent where it is. */
  readonly headroom?: number;
  /**
   * As `send`, for a message behind {@link headroom} bytes of the same memory. All of that is the
   * socket's until `sent` is called: its own header goes in front of the message without a copy.
   */
  sendWithHeadroom?(memory: Uint8Array, sent?: () => void): void;
  /** Begins the closing handshake; the socket closes by itself if the peer doesn't answer. */
  close(code: number, reason: string): void;
  /** Ends the connection at once, without a handshake. */
  terminate(): void;
  /** Stops reading; absent where the runtime can't. Only version 1 needs it. */
  pause?(): void;
  /** Reads again after `pause`. */
  resume?(): void;
}

/** A WebSocket of a protocol that has text messages as well. */
export interface MessageSocket extends TunnelSocket {
  /** Queues one text message. */
  sendText(text: string): void;
}

/** How often a standard WebSocket is asked whether its buffer has fallen: it has no event for it. */
const drainPollMs = 2;
/** How long a standard WebSocket may take over the closing handshake. */
const closeTimeoutMs = 5_000;

/** How a runtime's `WebSocket` differs from others. */
export interface WebSocketTraits {
  /**
   * Whether `send` has a copy of its bytes when it returns, as the standard has it. That of workerd
   * reads them later, so there they must not be used again at all.
   */
  readonly copiesOnSend?: boolean | undefined;
  /** Ends a socket whose peer does not answer a Close, for which the standard has no verb. */
  readonly cut?: ((socket: WebSocket) => void) | undefined;
}

/** Wraps a standard `WebSocket` (the native one of Deno, browsers and Workers). */
export function fromWebSocket(socket: WebSocket, traits: WebSocketTraits = {}): MessageSocket {
  return new StandardSocket(socket, traits);
}

class StandardSocket implements MessageSocket {
  readonly #socket: WebSocket;
  readonly #copiesOnSend: boolean;
  readonly #cut: WebSocketTraits["cut"];
  #poll: ReturnType<typeof setInterval> | undefined;
  #closeTimer: ReturnType<typeof setTimeout> | undefined;
  #events: TunnelSocketEvents | undefined;
  #isClosed = false;

  constructor(socket: WebSocket, { copiesOnSend = true, cut }: WebSocketTraits) {
    this.#socket = socket;
    this.#copiesOnSend = copiesOnSend;
    this.#cut = cut;
    socket.binaryType = "arraybuffer";
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount ?? 0;
  }

  listen(events: TunnelSocketEvents): void {
    this.#events = events;
    this.#socket.addEventListener("message", ({ data }) => {
      if (this.#isClosed) return;
      if (data instanceof ArrayBuffer) events.message(new Uint8Array(data));
      else events.text(String(data));
    });
    // Deno has 0 where the standard has 1006: there was no close frame.
    this.#socket.addEventListener("close", ({ code, reason }) => {
      this.#closed(code || 1006, reason);
    });
    // An error is always followed by a close; without a listener some runtimes end the process.
    this.#socket.addEventListener("error", (event) => {
      if ("preventDefault" in event) event.preventDefault();
    });
  }

  send(message: Uint8Array, sent?: () => void): void {
    const isCopied = this.#send(message as Uint8Array<ArrayBuffer>) && this.#copiesOnSend;
    if (isCopied && sent) queueMicrotask(sent);
  }

  sendText(text: string): void {
    this.#send(text);
  }

  #send(message: Uint8Array<ArrayBuffer> | string): boolean {
    if (this.#socket.readyState !== 1) return false;
    try {
      this.#socket.send(message);
    } catch {
      // workerd throws where the standard drops the message. What was lost ends the session.
      this.terminate();
      return false;
    }
    if (this.bufferedAmount > 0) this.#poll ??= setInterval(() => this.#checkDrain(), drainPollMs);
    return true;
  }

  close(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#closeTimer ??= setTimeout(() => this.terminate(), closeTimeoutMs);
    try {
      this.#socket.close(allowedCode(code), reason);
    } catch {
      this.terminate(); // The platform takes no such reason, or has lost the socket.
    }
  }

  terminate(): void {
    // The standard has no abrupt end; the closing handshake is started and not waited for.
    try {
      this.#socket.close();
      this.#cut?.(this.#socket);
    } catch {
      // It has ended already: there is nothing left to close.
    } finally {
      this.#closed(1006, "");
    }
  }

  #checkDrain(): void {
    if (this.bufferedAmount > 0) return;
    clearInterval(this.#poll);
    this.#poll = undefined;
    this.#events?.drained();
  }

  #closed(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#closeTimer);
    this.#events?.closed(code, reason);
  }
}

/** The standard lets a program send only 1000 and 3000 to 4999: 1002 leaves as 3002, and so on. */
function allowedCode(code: number): number {
  return code === 1000 || code >= 3000 ? code : 3000 + (code - 1000);
}
