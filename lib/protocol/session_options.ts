/** How a session is set up, and what it tells. */
import type { Announcement, Notice } from "./announcement.ts";
import type { Settings } from "./settings.ts";
import type { Stream } from "./stream.ts";
import type { StreamKind } from "./target_key.ts";

/** What a session tells the one who runs it. */
export interface SessionEvents {
  /**
   * The peer opened a stream; only an agent gets this. Its first bytes follow as `data`.
   *
   * @param target The target's name.
   * @param kind What the stream is to carry; not always one that this side knows.
   */
  opened?(stream: Stream, target: string, kind: string): void;
  /** The agent has said what it serves, for the first time or anew; only a relay gets this. */
  announced?(announcement: Announcement): void;
  /** The relay has something for the log; only an agent gets this. */
  noticed?(notice: Notice): void;
  /** The peer asks for no new streams; those that are open go on. */
  draining?(): void;
  /** A bug on this side: the session ends with 1011, and the error is for the log. */
  fault?(error: unknown): void;
  /** A stream's owner threw: that stream ends with `internal`, and the error is for the log. */
  streamFault?(error: unknown, stream: number): void;
}

/** When a session counts as dead. */
export interface SessionKeepalive {
  /** Milliseconds of a clock that never goes back. */
  nowMs?: () => number;
  /** Milliseconds between pings; 15 s by default. */
  pingIntervalMs?: number;
  /** Milliseconds without any byte after which the session is dead; 45 s by default. */
  idleTimeoutMs?: number;
  /**
   * Milliseconds that a Ping may be unanswered while streams are open, once the silence has lasted
   * twice as long; 5 s by default. Only in version 2, whose peers read whatever their streams do.
   */
  answerTimeoutMs?: number;
}

/** How a session is set up. */
export interface SessionOptions extends SessionKeepalive {
  role: "relay" | "agent";
  /** What this side says in Settings. */
  settings: Settings;
  /**
   * Whether the peer's handshake announced version 2. A relay then sends Settings first; an agent
   * always waits for the relay's first frame, which decides.
   */
  offersVersion2: boolean;
  events?: SessionEvents;
  /** Agents only: what this side serves, until {@link Session.announce} says otherwise. */
  announcement?: Announcement | undefined;
  /** Memory for windows wider than the first one, in bytes; 16 MiB by default. */
  windowBudgetBytes?: number;
  /** Runs a function soon: frames written until then leave in one message. */
  defer?: (flush: () => void) => void;
}

/** How a stream is opened. */
export interface OpenOptions {
  /** What it carries; `http` unless given. */
  readonly kind?: StreamKind;
}

/** Counts since the session began; they only grow. */
export interface SessionStats {
  bytesIn: number;
  bytesOut: number;
  /** Times that a stream had bytes to send and no credit. */
  windowStalls: number;
}
