/** What a session does with each frame that its peer sends. */
import type { Shares } from "../bytes/shares.ts";
import { decodeNotice } from "./announcement.ts";
import type { Drain } from "./drain.ts";
import { decodeStreamError } from "./errors.ts";
import { decodeCredit, decodeOpen, FrameType } from "./frame.ts";
import type { FrameAllowance } from "./frame_allowance.ts";
import type { Handshake } from "./handshake.ts";
import type { Keepalive } from "./keepalive.ts";
import type { Outbox } from "./outbox.ts";
import type { SessionOptions } from "./session_options.ts";
import type { SessionStreams } from "./session_streams.ts";
import type { Stream } from "./stream.ts";
import { parseTargetKey } from "./target_key.ts";

/** The parts of a session that frames are for. */
export interface FrameReceiverParts {
  readonly options: SessionOptions;
  readonly handshake: Handshake;
  readonly streams: SessionStreams;
  readonly allowance: FrameAllowance;
  readonly outbox: Outbox;
  readonly keepalive: Keepalive;
  readonly drain: Drain;
}

/** Receives the frames of one session. */
export class FrameReceiver {
  readonly #options: SessionOptions;
  readonly #handshake: Handshake;
  readonly #streams: SessionStreams;
  readonly #allowance: FrameAllowance;
  readonly #outbox: Outbox;
  readonly #keepalive: Keepalive;
  readonly #drain: Drain;

  constructor(parts: FrameReceiverParts) {
    this.#options = parts.options;
    this.#handshake = parts.handshake;
    this.#streams = parts.streams;
    this.#allowance = parts.allowance;
    this.#outbox = parts.outbox;
    this.#keepalive = parts.keepalive;
    this.#drain = parts.drain;
  }

  /**
   * Acts upon one frame. Frames of unknown types are only counted.
   *
   * @param payload A part of the payload, for a Data frame that comes in parts.
   * @param shares Who uses the payload's memory, if it can be freed. Whoever keeps bytes takes a share.
   * @throws {ProtocolError} for a frame that the peer must not send.
   * @throws {ExcessError} when the peer sends too many frames that carry no bytes.
   */
  receive(type: number, id: number, payload: Uint8Array, shares: Shares | undefined): void {
    this.#handshake.received(type);
    if (type > this.#handshake.version.maxFrameType) return this.#allowance.spend();
    switch (type) {
      case FrameType.Data:
        return this.#bytesFor(id, payload)?.receiveData(payload, shares?.take());
      case FrameType.End:
        return this.#bytesFor(id, payload)?.receiveEnd(payload, shares?.take());
      case FrameType.Open:
        shares?.keep();
        return this.#receiveOpen(id, payload);
      case FrameType.Connect:
        shares?.keep();
        return this.#handshake.version.receiveConnect(id, payload);
      case FrameType.Announce:
        return this.#receiveAnnouncement(payload);
      default:
        this.#allowance.spend();
        return this.#receiveControl(type, id, payload);
    }
  }

  /** The open stream that a Data or End is for. Bytes for it are free, as its credit bounds them. */
  #bytesFor(id: number, { length }: Uint8Array): Stream | undefined {
    const stream = this.#streams.get(id);
    if (stream && length > 0) this.#allowance.earn();
    else if (stream) this.#allowance.spend();
    else this.#allowance.spendLate(length);
    return stream;
  }

  #receiveOpen(id: number, payload: Uint8Array): void {
    const { target, first } = decodeOpen(payload);
    const stream = this.#streams.accept(id);
    if (!stream) return;
    this.#streams.opened(stream, parseTargetKey(textDecoder.decode(target)));
    if (!stream.isOver) stream.receiveData(first);
  }

  /** It counts by its size, as reading it is work. */
  #receiveAnnouncement(payload: Uint8Array): void {
    this.#allowance.spend(1 + (payload.length >>> 10));
    const announcement = this.#handshake.receiveAnnouncement(payload);
    if (announcement) this.#options.events?.announced?.(announcement);
  }

  #receiveControl(type: number, id: number, payload: Uint8Array): void {
    switch (type) {
      case FrameType.Credit:
        return this.#streams.get(id)?.receiveCredit(decodeCredit(payload));
      case FrameType.Return:
        return this.#streams.get(id)?.receiveReturn(decodeCredit(payload, "Return"));
      case FrameType.Connected:
        return this.#handshake.version.receiveConnected(id, this.#streams.get(id));
      case FrameType.Error:
        return this.#streams.get(id)?.receiveError(decodeStreamError(payload));
      case FrameType.Close:
        return this.#streams.get(id)?.receiveClose();
      case FrameType.Ping:
        // A copy indeed: `slice` of Node's Buffer is none.
        return this.#outbox.control(FrameType.Pong, 0, new Uint8Array(payload.subarray(0, 125)));
      case FrameType.Pong:
        return this.#receivePong(payload);
      case FrameType.Settings:
        return this.#handshake.receiveSettings(payload);
      case FrameType.Drain:
        return this.#receiveDrain();
      case FrameType.Notice:
        return this.#receiveNotice(payload);
      default:
        // Unknown types are ignored, so that later versions may add some.
    }
  }

  #receivePong(payload: Uint8Array): void {
    const isDrainHeard = this.#drain.isHeard(payload, this.#handshake.version);
    if (!isDrainHeard) this.#keepalive.ponged(payload);
  }

  #receiveDrain(): void {
    if (this.#drain.isPeers) return;
    this.#drain.isPeers = true;
    this.#options.events?.draining?.();
  }

  #receiveNotice(payload: Uint8Array): void {
    if (this.#options.role === "relay") return;
    this.#options.events?.noticed?.(decodeNotice(payload));
  }
}

const textDecoder = new TextDecoder();
