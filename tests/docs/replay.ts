/** Plays docs/protocol.md against real sessions: the test is the peer, message by message. */
import assert from "node:assert/strict";
import { CloseCode } from "../../lib/protocol/errors.ts";
import { decodeMessage, FrameType } from "../../lib/protocol/frame.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { SessionOptions } from "../../lib/protocol/session_options.ts";
import { decodeSettings } from "../../lib/protocol/settings.ts";
import type { TunnelSocket, TunnelSocketEvents } from "../../lib/protocol/socket.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import { hexExamples } from "./hex_example.ts";

/** The examples of the protocol, by name. */
export const examples = hexExamples("docs/protocol.md");
/** The target that the examples ask for. */
export const target = "127.0.0.1:8000";

/** The bytes of an example. */
export function messageOf(name: string): Uint8Array {
  const example = examples.get(name);
  assert.ok(example, `docs/protocol.md has an example ${name}`);
  return example.bytes;
}

/** A frame as it was decoded. */
export interface Frame {
  type: number;
  stream: number;
  payload: Uint8Array;
}

/** The frames of a message, a Batch opened. */
export function framesOf(message: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  decodeMessage(message, (type, stream, payload) => frames.push({ type, stream, payload }));
  return frames;
}

/** The payload of an example that is one frame of this type. */
export function onlyFrame(name: string, type: number): Uint8Array {
  const [frame, ...more] = framesOf(messageOf(name));
  assert.equal(frame?.type, type, name);
  assert.equal(more.length, 0, name);
  return frame!.payload;
}

/** Bytes as text; they must be UTF-8. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
}

/** A socket whose peer is the test: what the session sends is kept, message by message. */
class RecordingSocket implements TunnelSocket {
  readonly bufferedAmount = 0;
  readonly sent: Uint8Array[] = [];
  readonly closes: number[] = [];
  #events: TunnelSocketEvents | undefined;

  listen(events: TunnelSocketEvents): void {
    this.#events = events;
  }

  receive(message: Uint8Array): void {
    this.#events!.message(message);
  }

  receiveText(): void {
    this.#events!.text("");
  }

  send(message: Uint8Array, sent?: () => void): void {
    this.sent.push(message.slice());
    sent?.();
  }

  close(code: number): void {
    this.closes.push(code);
  }

  terminate(): void {
    this.closes.push(1006);
  }
}

/** A session whose frames leave when the test says so. It plays one side of the examples. */
export class Replay implements Disposable {
  readonly socket = new RecordingSocket();
  readonly session: Session;
  /** The last stream that the peer opened, what it asked for, and its bytes. */
  opened: { stream: Stream; target: string; received: Received } | undefined;
  #flushes: (() => void)[] = [];

  /**
   * @param version Of the peer, which the test plays.
   * @param isReading Whether what arrives on streams is dealt with at once, or never.
   */
  constructor(
    role: "relay" | "agent",
    version: 1 | 2,
    isReading = true,
    options: Partial<SessionOptions> = {},
  ) {
    this.session = new Session(this.socket, {
      ...options,
      role,
      settings: decodeSettings(onlyFrame(`${role}-settings`, FrameType.Settings)),
      offersVersion2: version === 2,
      defer: (flush) => this.#flushes.push(flush),
      events: {
        opened: (stream, target) => {
          this.opened = { stream, target, received: new Received(stream, isReading) };
        },
      },
    });
  }

  /** Hands over the peer's messages, and returns ours that leave by the end of the turn, but Ping. */
  turn(...messages: Uint8Array[]): Uint8Array[] {
    for (const message of messages) this.socket.receive(message);
    for (const flush of this.#flushes.splice(0)) flush();
    return this.socket.sent.splice(0).filter((message) => message[0] !== FrameType.Ping);
  }

  /** The code that the session has ended with, if it has. */
  get closeCode(): number | undefined {
    return this.socket.closes[0];
  }

  /** Ends the session. @throws when it has ended before. */
  [Symbol.dispose](): void {
    this.session.close(CloseCode.GoingAway, "The test is over");
    assert.deepEqual(this.socket.closes, [CloseCode.GoingAway], "The session has not ended before");
  }
}

/** What a stream has received. */
export class Received {
  text = "";
  isEnded = false;

  constructor(stream: Stream, isReading = true) {
    stream.listen({
      data: (bytes) => {
        this.text += textOf(bytes);
        if (isReading) stream.consumed(bytes.length);
      },
      end: () => this.isEnded = true,
      closed() {},
      failed() {},
      drained() {},
    });
  }
}
