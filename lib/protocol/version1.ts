/**
 * Version 1: streams are opened with Connect and confirmed with Connected, errors are text, and there
 * are neither windows nor a half-close.
 */
import { encodeErrorText, type StreamError } from "./errors.ts";
import { FrameType } from "./frame.ts";
import type { OpenTarget, ProtocolVersion, VersionHost } from "./protocol_version.ts";
import type { Stream } from "./stream.ts";

/** What a session speaks until both sides have sent Settings. */
export class Version1 implements ProtocolVersion {
  readonly number = 1;
  readonly maxFrameType = FrameType.Settings;
  readonly maxMessageBytes = Infinity;
  readonly hasWindows = false;
  readonly #host: VersionHost;

  constructor(host: VersionHost) {
    this.#host = host;
  }

  /** An agent loses bytes that come before its Connected. */
  open(stream: Stream, { name }: OpenTarget, first: Uint8Array): void {
    stream.holdSending();
    stream.write(first);
    this.#host.sendControl(FrameType.Connect, stream.id, new TextEncoder().encode(name));
  }

  receiveConnect(id: number, payload: Uint8Array): void {
    const stream = this.#host.accept(id);
    if (!stream) return;
    this.#host.opened(stream, { name: new TextDecoder().decode(payload), kind: "http" });
    if (!stream.isOver) this.#host.sendControl(FrameType.Connected, id);
  }

  receiveConnected(id: number, stream: Stream | undefined): void {
    if (stream) stream.startSending();
    // An agent knows a stream only from here on: a Close that we sent before was lost.
    else if (this.#host.role === "relay") this.#host.sendControl(FrameType.Close, id);
  }

  encodeError(error: StreamError): Uint8Array {
    return encodeErrorText(error);
  }

  /** It has no frame for that. */
  sendDrain(): boolean {
    return false;
  }

  isDrainHeard(): boolean {
    return false;
  }
}

/** The number of unread bytes above which the WebSocket is not read. */
const highWaterBytes = 4 * 1024 * 1024;

/** Bytes that consumers have not dealt with: in place of windows, the whole session has one bound. */
export class HeldBytes {
  #bytes = 0;
  /** Whether no more should be read. Stays so until half of it is dealt with. */
  isFull = false;

  change(bytes: number): void {
    this.#bytes += bytes;
    this.isFull = this.#bytes > (this.isFull ? highWaterBytes / 2 - 1 : highWaterBytes);
  }
}
