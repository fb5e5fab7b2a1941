/**
 * Watches what one side sends on a version 1 session and notes every breach of the protocol's text,
 * so that a test can assert that there was none.
 */
import { V1, type V1Frame, v1TypeName } from "./v1_frame.ts";

/** Where a stream stands, seen from its opener's Connect. */
interface WatchedStream {
  state: "connecting" | "open";
  hasWatchedSideEnded: boolean;
  hasOwnSideEnded: boolean;
}

/** Judges the frames of the watched side; the frames of the peer that owns it are its context. */
export class V1Referee {
  /** What the watched side did wrong, in words. */
  readonly violations: string[] = [];
  readonly #watched: "relay" | "agent";
  readonly #streams = new Map<number, WatchedStream>();

  constructor(watched: "relay" | "agent") {
    this.#watched = watched;
  }

  /** Notes a breach that is not about a frame, such as a text message. */
  note(violation: string): void {
    this.violations.push(violation);
  }

  /** Takes note of a frame that the owner of this referee sent. */
  sent(frame: V1Frame): void {
    const { type, streamId } = frame;
    if (type === V1.connect) this.#open(streamId);
    const stream = this.#streams.get(streamId);
    if (!stream) return;
    if (type === V1.connected) {
      stream.state = "open";
      // A Close that crossed Connected was lost at the agent, so the relay may well say it again.
      stream.hasWatchedSideEnded = false;
    }
    if (type === V1.close || type === V1.error) stream.hasOwnSideEnded = true;
  }

  /** Judges a frame that the watched side sent. */
  received(frame: V1Frame): void {
    const breach = this.#breachOf(frame);
    if (breach !== undefined) {
      const { type, streamId, payload } = frame;
      const what = `${v1TypeName(type)} on stream ${streamId} with ${payload.length} bytes`;
      this.violations.push(`${what}: ${breach}`);
    }
    this.#follow(frame);
  }

  #open(streamId: number): void {
    this.#streams.set(streamId, {
      state: "connecting",
      hasWatchedSideEnded: false,
      hasOwnSideEnded: false,
    });
  }

  #breachOf({ type, streamId, payload }: V1Frame): string | undefined {
    switch (type) {
      case V1.ping:
      case V1.pong:
        return streamId === 0 ? undefined : "it belongs on stream 0";
      case V1.connect:
        return this.#breachOfConnect(streamId, payload);
      case V1.connected:
        if (this.#watched === "relay") return "only agents send it";
        if (payload.length > 0) return "its payload must be empty";
        return this.#breachOnStream(streamId, "connecting");
      case V1.data:
        return this.#breachOnStream(streamId, "open");
      case V1.close:
        if (payload.length > 0) return "its payload must be empty";
        return this.#breachOnStream(streamId);
      case V1.error:
        return isUtf8(payload) ? this.#breachOnStream(streamId) : "its text is not UTF-8";
      default:
        return "version 1 has no such type";
    }
  }

  #breachOfConnect(streamId: number, payload: Uint8Array): string | undefined {
    if (this.#watched === "agent") return "only relays send it";
    if (streamId === 0) return "stream 0 is the session's own";
    if (!isUtf8(payload)) return "its target is not UTF-8";
    const stream = this.#streams.get(streamId);
    const isInUse = stream && !stream.hasWatchedSideEnded && !stream.hasOwnSideEnded;
    return isInUse ? "the stream is in use" : undefined;
  }

  #breachOnStream(streamId: number, state?: WatchedStream["state"]): string | undefined {
    const stream = this.#streams.get(streamId);
    if (!stream) return "the stream was never opened";
    if (stream.hasWatchedSideEnded) return "the same side has ended the stream";
    // What crossed the end that the owner sent is in order: frames of an ended stream are ignored.
    if (stream.hasOwnSideEnded || state === undefined) return undefined;
    return stream.state === state ? undefined : `the stream is ${stream.state}`;
  }

  #follow({ type, streamId }: V1Frame): void {
    if (type === V1.connect && this.#watched === "relay") this.#open(streamId);
    const stream = this.#streams.get(streamId);
    if (!stream) return;
    if (type === V1.connected) stream.state = "open";
    if (type === V1.close || type === V1.error) stream.hasWatchedSideEnded = true;
  }
}

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}
