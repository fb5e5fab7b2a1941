/** What the versions of the protocol do in different ways. A session chooses one, once. */
import type { StreamError } from "./errors.ts";
import type { Stream } from "./stream.ts";
import type { StreamKind, TargetKey } from "./target_key.ts";

/** The target of a stream that this side opens. */
export interface OpenTarget extends TargetKey {
  readonly kind: StreamKind;
}

/** One version of the protocol, within one session. */
export interface ProtocolVersion {
  readonly number: 1 | 2;
  /** Frames of higher types are unknown to it, and ignored. */
  readonly maxFrameType: number;
  /** The longest message that a peer may send. */
  readonly maxMessageBytes: number;
  /** Whether each stream has a window, and peers read whatever their streams do. */
  readonly hasWindows: boolean;
  /** Relays only: opens a stream for a target, with its first bytes. */
  open(stream: Stream, target: OpenTarget, first: Uint8Array): void;
  /** Agents only: a Connect has come. @throws {ProtocolError} where there is none */
  receiveConnect(id: number, payload: Uint8Array): void;
  /** Relays only: a Connected has come. @param stream Undefined for one that is not open any more */
  receiveConnected(id: number, stream: Stream | undefined): void;
  encodeError(error: StreamError): Uint8Array;
  /**
   * Says that this side takes no new streams.
   *
   * @returns whether the peer says when it has heard of that; streams may come until then
   */
  sendDrain(): boolean;
  /** Whether a Pong is the peer's answer to {@link sendDrain}. */
  isDrainHeard(pong: Uint8Array): boolean;
}

/** What a version asks of its session. */
export interface VersionHost {
  readonly role: "relay" | "agent";
  sendControl(type: number, stream: number, payload?: Uint8Array): void;
  /** Makes room for the peer's new stream; undefined if it was refused. */
  accept(id: number): Stream | undefined;
  /** Tells the session's owner of the peer's new stream. */
  opened(stream: Stream, target: TargetKey): void;
}
