/** One request of a caller and the answer to it, whatever it came over. */
import type { Framing } from "../http1/body.ts";
import type { Field, RequestHead, ResponseHead } from "../http1/head.ts";
import type { Channel } from "./channel.ts";

/** Who is at the other end of a connection. */
export interface Peer {
  /** The address, without its port. */
  readonly address: string;
  /** Whether the connection came in over TLS. */
  readonly isTls: boolean;
  /** The host that a trusted proxy was asked for, for the target alone: it decides nothing here. */
  readonly forwardedHost?: string | undefined;
  /** The client certificate that the TLS handshake verified; there is none without mutual TLS. */
  readonly certificate?: PeerCertificate | undefined;
  /** How the connection was asked for, on a listener that has a certificate for each host. */
  readonly requestedName?: RequestedName | undefined;
}

/** The name that a TLS client asked for, and what it was shown (RFC 6066 section 3). */
export interface RequestedName {
  /** The name in lower case; undefined if the client named none. */
  readonly serverName: string | undefined;
  /**
   * Whether a handshake that asks for another host would show the same certificate. If not, a request
   * for that host is misdirected: browsers send requests over a connection that they have, if its
   * certificate fits (RFC 9113 section 9.1.1).
   *
   * @param host In lower case, without a port.
   */
  sharesCertificate(host: string): boolean;
}

/** Whom a verified certificate names. */
export interface PeerCertificate {
  /** Common names of the subject, then DNS names and URIs; no other kinds. */
  readonly names: readonly string[];
  /** Milliseconds since 1970 at which it ends. */
  readonly expiresMs: number;
}

/** Takes a request's body as it comes. */
export interface BodyConsumer {
  /**
   * Content, without its chunks.
   *
   * @param free Frees the bytes' memory, where that can be done; to be called or not.
   */
  data(bytes: Uint8Array, free?: () => void): void;
  /** The whole body has come. */
  end(): void;
}

/** How a response's body is handed over. */
export type BodyMode =
  /** There is none. */
  | "none"
  /** The bytes are framed already, and the head says how. */
  | "framed"
  /** Bare content of unknown length: it is chunked, or for HTTP/1.0 ends with the connection. */
  | "content";

/** How an exchange ended, for logs and metrics. */
export interface ExchangeEnd {
  /** The status that was sent; 0 when there was none. */
  status: number;
  /** Bytes of the response's body on the wire; after a 101, all that went to the caller. */
  bytes: number;
  /** Bytes of the request's body, without its chunks; after a 101, all that came from the caller. */
  bytesIn: number;
  /** The time from the request's head to the end, in milliseconds. */
  ms: number;
  /** The time from the request's head to the response's, in milliseconds; undefined without a response. */
  firstByteMs: number | undefined;
  /** Whether the whole response was handed to the socket. */
  isComplete: boolean;
}

/** What an exchange has carried so far, counted as in its {@link ExchangeEnd}. */
export interface Progress {
  readonly bytes: number;
  readonly bytesIn: number;
}

/**
 * What becomes of an answer whose end was held: it is sent; it is broken off; or, if nothing of it has
 * left, it is forgotten, so that another can be given, and else broken off.
 */
export type EndDecision = "send" | "abort" | "replace";

/**
 * A request and its response, as the relay sees them. All methods may be called after the caller has
 * gone; they do nothing then.
 *
 * `RawExchange` is one on a connection of our own; `FetchExchange` one that a platform hands over as
 * a `Request`.
 */
export interface Exchange {
  readonly head: RequestHead;
  /** How the body of the request is framed towards the target. */
  readonly framing: Framing;
  /** Who asks; a relay that answers for another one puts that one's caller in. */
  peer: Peer;
  /** Whether an answer has been begun, or can't be given any more. */
  readonly isAnswered: boolean;
  /** Whether the exchange is over. */
  readonly isOver: boolean;
  /** Whether the whole request has been read. */
  readonly isBodyDone: boolean;
  /** Whether a chunked body may be passed on with its chunks; else it has to be bare content. */
  readonly takesChunks: boolean;
  /** Goes with every final response, a 101 too, whoever makes it. */
  answerField: Field | undefined;
  /**
   * When it is set, the last byte of an answer, or the head of one without a body, waits until
   * `settle` is called. A change of protocols waits for nothing.
   */
  beforeEnd: ((end: ExchangeEnd, settle: (decision: EndDecision) => void) => void) | undefined;
  /** The caller went away before its answer was complete. */
  onAborted: () => void;
  /** Called when there is room again, after `write` or `inform` has returned false. */
  onDrain: () => void;
  /** The exchange is over, in whatever way; called once. */
  onEnd: (end: ExchangeEnd) => void;
  /** Says who takes the body, from now on or from what has come already. */
  readBody(consumer: BodyConsumer): void;
  /** Stops the body, and with it, in time, the caller. */
  pauseBody(): void;
  /** Lets the body come again. */
  resumeBody(): void;
  /** Sends an interim response (1xx) where there is a way to. @returns false: wait for `onDrain`. */
  inform(head: ResponseHead, fields: readonly Field[]): boolean;
  /** Sends the final response's head. `fields` hold no hop-by-hop field; framing is added. */
  respond(status: number, reason: string, fields: Field[], mode: BodyMode): void;
  /**
   * Sends a part of the body, as `mode` says.
   *
   * @param free Called, if ever, once there is no use for the bytes' memory any more.
   * @returns false: wait for `onDrain`.
   */
  write(bytes: Uint8Array, free?: () => void): boolean;
  /** The response is complete with these last bytes of its body, as `write` takes them. */
  finish(last?: Uint8Array): void;
  /** Answers at once with a whole body. */
  answer(status: number, reason: string, fields: Field[], body: Uint8Array): void;
  /**
   * Breaks the answer off, so that the caller can't take what it has for the whole. A connection that
   * has changed protocols is broken off too.
   */
  abort(): void;
  /**
   * Answers 101 and joins the caller and the channel from then on. Nothing else may be called after
   * it has succeeded.
   *
   * @param head The target's 101.
   * @param fields What of it reaches the caller, `Connection` and `Upgrade` included.
   * @param rest Bytes behind that head, to be reported as consumed.
   * @returns why it is not possible, for the log; nothing has been sent then.
   */
  switchProtocols(
    head: ResponseHead,
    fields: readonly Field[],
    channel: Channel,
    rest: Uint8Array,
  ): string | undefined;
  /** What it has carried so far; absent where nobody asks. */
  progress?(): Progress;
  /**
   * What the caller's WebSocket carried is over: one that was accepted, and joined to nothing here.
   *
   * @param bytes Of content that went to the caller.
   * @param bytesIn Of content that came from it.
   */
  detachedEnd?(bytes: number, bytesIn: number): void;
}
