/** Version 2: streams are opened with Open, have windows and codes for errors, and drain. */
import { encodeStreamError, ProtocolError, type StreamError } from "./errors.ts";
import { encodeTarget, FrameType, maxVersion2MessageBytes } from "./frame.ts";
import type { OpenTarget, ProtocolVersion, VersionHost } from "./protocol_version.ts";
import type { Stream } from "./stream.ts";
import { formatTargetKey, isConfirmed } from "./target_key.ts";

/**
 * What the Ping behind an agent's Drain carries: when it has come back, so has all that the relay
 * opened before it heard of the Drain. Read as a keepalive's time it is no number.
 */
const drainMark = new Uint8Array(8).fill(0xff);

/** Targets whose encoding is kept. */
const maxKnownTargets = 100;

/** What a session speaks once both sides have sent Settings. */
export class Version2 implements ProtocolVersion {
  readonly number = 2;
  /** Unknown types are ignored where frames are read, so that later versions may add some. */
  readonly maxFrameType = 0xff;
  readonly maxMessageBytes = maxVersion2MessageBytes;
  readonly hasWindows = true;
  readonly #host: VersionHost;
  /** Open payloads without first bytes, by target key: most sessions have few targets. */
  readonly #targets = new Map<string, Uint8Array>();

  constructor(host: VersionHost) {
    this.#host = host;
  }

  open(stream: Stream, { name, kind }: OpenTarget, first: Uint8Array): void {
    if (isConfirmed(kind)) stream.awaitConnected();
    stream.openWith(this.#encoded(formatTargetKey(name, kind)));
    stream.write(first);
  }

  #encoded(key: string): Uint8Array {
    const known = this.#targets.get(key);
    if (known) return known;
    if (this.#targets.size >= maxKnownTargets) this.#targets.clear();
    const encoded = encodeTarget(key);
    this.#targets.set(key, encoded);
    return encoded;
  }

  receiveConnect(): void {
    throw new ProtocolError("Connect in version 2; must be Open");
  }

  receiveConnected(_id: number, stream: Stream | undefined): void {
    stream?.receiveConnected();
  }

  encodeError(error: StreamError): Uint8Array {
    return encodeStreamError(error);
  }

  /** An agent waits for what the relay opened before; a relay opens all streams itself. */
  sendDrain(): boolean {
    this.#host.sendControl(FrameType.Drain, 0);
    if (this.#host.role === "relay") return false;
    this.#host.sendControl(FrameType.Ping, 0, drainMark);
    return true;
  }

  isDrainHeard(pong: Uint8Array): boolean {
    return pong.every((byte) => byte === drainMark[0]);
  }
}
