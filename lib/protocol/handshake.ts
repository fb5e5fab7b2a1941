/** The first exchange of a session: which version both sides speak, and what each says of itself. */
import { type Announcement, decodeAnnouncement, encodeAnnouncement } from "./announcement.ts";
import { ProtocolError } from "./errors.ts";
import { FrameType } from "./frame.ts";
import type { ProtocolVersion, VersionHost } from "./protocol_version.ts";
import type { SessionOptions } from "./session_options.ts";
import { decodeSettings, encodeSettings, type Settings } from "./settings.ts";
import { Version1 } from "./version1.ts";
import { Version2 } from "./version2.ts";

/** What a handshake needs of its session. */
export interface HandshakeHost extends VersionHost {
  /** Both sides speak version 2 from now on. */
  upgraded(peer: Settings): void;
  /** Asks for the round trip, once this side has said all of itself. */
  probe(): void;
}

/** The handshake of one session, and what it has settled. */
export class Handshake {
  readonly #options: SessionOptions;
  readonly #host: HandshakeHost;
  readonly #ready = Promise.withResolvers<void>();
  #version: ProtocolVersion;
  #peer: Settings | undefined;
  #announcement: Announcement | undefined;
  #hasSeenFrame = false;
  /** Agents only: the relay's first frame was not Settings. */
  #isVersion1 = false;

  constructor(options: SessionOptions, host: HandshakeHost) {
    this.#options = options;
    this.#host = host;
    this.#announcement = options.announcement;
    this.#version = new Version1(host);
  }

  /** What both sides speak. It is final once {@link ready} has resolved. */
  get version(): ProtocolVersion {
    return this.#version;
  }

  /** What a version 2 peer has said about itself. */
  get peer(): Settings | undefined {
    return this.#peer;
  }

  /** What the peer, or on an agent this side, has said that it serves. */
  get announcement(): Announcement | undefined {
    return this.#announcement;
  }

  /** Resolves once the version is settled; rejects if the session ends before. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** A relay speaks first; an agent waits for its first frame. */
  start(): void {
    if (this.#options.role === "agent") return;
    if (!this.#options.offersVersion2) return this.#ready.resolve();
    this.#host.sendControl(FrameType.Settings, 0, encodeSettings(this.#options.settings));
  }

  /** The session has ended. */
  fail(error: Error): void {
    // Nobody may be waiting for it, and that is fine: `closed` tells the same.
    this.#ready.promise.catch(() => {});
    this.#ready.reject(error);
  }

  /** A frame has come: the relay's first one tells an agent which version it speaks. */
  received(type: number): void {
    if (this.#hasSeenFrame) return;
    this.#hasSeenFrame = true;
    this.#isVersion1 = this.#options.role === "agent" && type !== FrameType.Settings;
    if (this.#isVersion1) this.#ready.resolve();
  }

  receiveSettings(payload: Uint8Array): void {
    if (this.#peer) throw new ProtocolError("Duplicate Settings");
    if (this.#isVersion1) throw new ProtocolError("Settings must be the first frame");
    const { role, offersVersion2 } = this.#options;
    if (role === "relay" && !offersVersion2) return;
    const peer = this.#peer = decodeSettings(payload);
    if (role === "agent") this.#answer();
    this.#version = new Version2(this.#host);
    this.#host.upgraded(peer);
    if (role === "agent" && this.#announcement) this.#send(this.#announcement);
    this.#host.probe();
    // A relay must not choose an agent whose targets it does not know yet.
    if (role === "agent" || !peer.announces) this.#ready.resolve();
  }

  #answer(): void {
    const announces = this.#announcement && { announces: true };
    const settings = { ...this.#options.settings, ...announces };
    this.#host.sendControl(FrameType.Settings, 0, encodeSettings(settings));
  }

  /** Agents only: tells the relay what this side serves from now on. */
  announce(announcement: Announcement): void {
    this.#announcement = announcement;
    // Before that, it goes with the Settings.
    if (this.#peer) this.#send(announcement);
  }

  #send(announcement: Announcement): void {
    this.#host.sendControl(FrameType.Announce, 0, encodeAnnouncement(announcement));
  }

  /** @returns what the agent serves from now on; undefined for what is to be ignored */
  receiveAnnouncement(payload: Uint8Array): Announcement | undefined {
    if (this.#options.role !== "relay" || !this.#peer?.announces) return undefined;
    this.#announcement = decodeAnnouncement(payload);
    this.#ready.resolve();
    return this.#announcement;
  }
}
