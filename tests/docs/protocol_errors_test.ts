import assert from "node:assert/strict";
import { concat } from "../../lib/bytes/bytes.ts";
import {
  encodeFrame,
  encodeTarget,
  FrameType,
  headerBytes,
  maxVersion2MessageBytes,
  writeUint32,
} from "../../lib/protocol/frame.ts";
import { allowanceBurst } from "../../lib/protocol/frame_allowance.ts";
import { defaultSettings } from "../../lib/protocol/settings.ts";
import { table } from "./markdown.ts";
import { framesOf, messageOf, onlyFrame, Replay, target } from "./replay.ts";

const page = "docs/protocol.md";

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeUint32(bytes, 0, value);
  return bytes;
}

function open(stream: number, type: number = FrameType.Open): Uint8Array {
  const isOpen = type === FrameType.Open;
  return encodeFrame(type, stream, isOpen ? encodeTarget(target) : utf8(target));
}

function data(bytes: number, type: number = FrameType.Data): Uint8Array {
  return encodeFrame(type, 1, new Uint8Array(bytes));
}

function credit(payload: Uint8Array): Uint8Array {
  return encodeFrame(FrameType.Credit, 1, payload);
}

function batch(stream: number, ...frames: Uint8Array[]): Uint8Array {
  const pieces = frames.flatMap((frame) => [uint32(frame.length), frame]);
  return encodeFrame(FrameType.Batch, stream, pieces.reduce(concat, new Uint8Array(0)));
}

function utf8(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function settings(change: Record<string, unknown>): Uint8Array {
  const text = JSON.stringify({ ...defaultSettings, instance: "test", ...change });
  return encodeFrame(FrameType.Settings, 0, utf8(text));
}

/** More than the clock makes up for while they are read. */
function pings(count: number): Uint8Array[] {
  return Array<Uint8Array>(count + 10_000).fill(encodeFrame(FrameType.Ping, 0));
}

/** What one peer sends: to which side, in which version, after the handshake. */
interface Case {
  to: "agent" | "relay";
  version: 1 | 2;
  messages: Uint8Array[];
}

const agent1 = (...messages: Uint8Array[]): Case => ({ to: "agent", version: 1, messages });
const agent2 = (...messages: Uint8Array[]): Case => ({ to: "agent", version: 2, messages });
const relay1 = (...messages: Uint8Array[]): Case => ({ to: "relay", version: 1, messages });
const relay2 = (...messages: Uint8Array[]): Case => ({ to: "relay", version: 2, messages });

const connect = open(1, FrameType.Connect);
const lastId = 0xffffffff;

/** Not valid in themselves, so that who reads them must object. */
const ofVersion2 = [
  credit(new Uint8Array(1)),
  encodeFrame(FrameType.End, 1, new Uint8Array(9)),
  encodeFrame(FrameType.Open, 1),
  batch(0),
  encodeFrame(FrameType.Drain, 0),
];

/** Every row of the table whose outcome is a session's, by its first column, and messages for it. */
const cases: Record<string, Case[]> = {
  "a text message, or a binary one of fewer than 5 bytes": [
    agent2(new Uint8Array(headerBytes - 1)),
    relay1(new Uint8Array(0)),
  ],
  "a Batch that is empty, cut short, nested or not on stream 0": [
    agent2(batch(0)),
    agent2(batch(0, open(1)).subarray(0, -1)),
    agent2(batch(0, batch(0, open(1)))),
    agent2(batch(1, open(1))),
  ],
  "Settings that are not JSON, over 64 KiB, incomplete, or out of range": [
    agent1(encodeFrame(FrameType.Settings, 0, utf8("{"))),
    agent1(settings({ filler: "x".repeat(64 * 1024) })),
    agent1(settings({ window: undefined })),
    agent1(settings({ window: 0 })),
  ],
  "Settings a second time, or to an agent after another first frame": [
    agent2(messageOf("relay-settings")),
    relay2(messageOf("agent-settings")),
    agent1(encodeFrame(FrameType.Ping, 0), messageOf("relay-settings")),
    agent1(connect, messageOf("relay-settings")),
  ],
  "Connect in version 2": [agent2(connect), relay2(connect)],
  "Connect, or Open in version 2, from an agent": [relay1(connect), relay2(open(1))],
  "Connect or Open on stream 0, or on a stream that is open": [
    agent1(open(0, FrameType.Connect)),
    agent1(connect, connect),
    agent2(open(0)),
    agent2(open(lastId), open(lastId)),
  ],
  "Open whose target is cut short": [
    agent2(encodeFrame(FrameType.Open, 1, new Uint8Array(1))),
    agent2(encodeFrame(FrameType.Open, 1, Uint8Array.of(0, 2, 0x61))),
  ],
  "bytes past the credit of an open stream": [
    agent2(open(1), data(defaultSettings.window), data(1)),
    agent2(open(1), data(defaultSettings.window + 1, FrameType.End)),
  ],
  "Data or End after End on an open stream": [
    agent2(open(1), data(0, FrameType.End), data(1)),
    agent2(open(1), data(0, FrameType.End), data(0, FrameType.End)),
  ],
  "Credit for an open stream that is not 4 bytes, is 0, or passes 2^31 − 1": [
    agent2(open(1), credit(new Uint8Array(3))),
    agent2(open(1), credit(uint32(0))),
    agent2(open(1), credit(uint32(0x7fffffff))),
  ],
  "Return for an open stream that is not 4 bytes, is 0, or is past its credit": [
    agent2(open(1), encodeFrame(FrameType.Return, 1, new Uint8Array(3))),
    agent2(open(1), encodeFrame(FrameType.Return, 1, uint32(0))),
    agent2(open(1), encodeFrame(FrameType.Return, 1, uint32(defaultSettings.window + 1))),
  ],
  "a message over 1 MiB in version 2": [
    agent2(encodeFrame(FrameType.Ping, 0, new Uint8Array(maxVersion2MessageBytes))),
    relay2(encodeFrame(0x7f, 0, new Uint8Array(maxVersion2MessageBytes - headerBytes + 1))),
  ],
  "more frames without bytes than the bound": [
    agent2(...pings(allowanceBurst)),
    relay2(...pings(allowanceBurst)),
    relay1(...pings(allowanceBurst)),
  ],
  "a frame of an unknown type": [
    agent2(encodeFrame(0x0e, 0)),
    relay1(encodeFrame(0x00, 3)),
    agent2(batch(0, encodeFrame(0xff, 1))),
  ],
  "any other frame for a stream that is not open": [
    agent2(data(1), data(1, FrameType.End), encodeFrame(FrameType.Close, 1), credit(uint32(0))),
    relay1(encodeFrame(FrameType.Error, 9, utf8("late"))),
  ],
  "frames of version 2 in version 1, but Settings": [
    agent1(connect, ...ofVersion2),
    relay1(...ofVersion2),
  ],
  "Settings from an agent that did not announce version 2": [relay1(messageOf("agent-settings"))],
  "Connected for an open stream that does not wait for it": [
    agent1(connect, encodeFrame(FrameType.Connected, 1)),
    agent2(open(1), encodeFrame(FrameType.Connected, 1)),
  ],
  "Announce from a relay, or one that Settings did not promise": [
    agent2(encodeFrame(FrameType.Announce, 0, utf8("{"))),
    relay2(encodeFrame(FrameType.Announce, 0, utf8("{"))),
  ],
  "Notice from an agent": [relay2(encodeFrame(FrameType.Notice, 0, utf8("{")))],
  "Pong that echoes no Ping, Drain a second time": [
    agent2(encodeFrame(FrameType.Pong, 0, new Uint8Array(8)), encodeFrame(FrameType.Pong, 0)),
    relay2(encodeFrame(FrameType.Drain, 0), encodeFrame(FrameType.Drain, 0)),
  ],
  "a payload where there should be none": [
    agent2(open(1), encodeFrame(FrameType.Close, 1, new Uint8Array(3))),
    agent2(encodeFrame(FrameType.Drain, 0, new Uint8Array(3))),
  ],
};

/** Rows that other tests prove: a message's size is the WebSocket's affair, HTTP the agent's. */
const elsewhere = [
  "more than 16,384 frames in one message",
  "Connected for a stream that is not open, to a relay, in version 1",
  "Announce, promised in Settings, or Notice, that is invalid or too long",
  "Data or End from an agent, before Connected, on a stream of kind `tcp`",
  "a message over 16 MiB",
  "one more stream than the agent's `maxStreams`",
  "HTTP that is malformed",
];

const rows = table(page, ["what a peer sends", "result"]);

Deno.test("protocol.md: every row about what a peer sends has a case", () => {
  const named = rows.map((row) => row["what a peer sends"]);
  assert.deepEqual(new Set(named), new Set([...Object.keys(cases), ...elsewhere]));
});

/** A session after its handshake, whose streams nobody reads. */
function session({ to, version }: Case): Replay {
  const replay = new Replay(to, version, false);
  const settingsOfPeer = to === "agent" ? "relay-settings" : "agent-settings";
  replay.turn();
  if (version === 2) replay.turn(messageOf(settingsOfPeer));
  return replay;
}

for (const row of rows) {
  const name = row["what a peer sends"]!;
  const result = row["result"]!;
  for (const [index, given] of (cases[name] ?? []).entries()) {
    Deno.test(`protocol.md: ${name} (${index + 1}, to a version ${given.version} ${given.to}): ${result}`, () => {
      const replay = session(given);
      const sent = replay.turn(...given.messages);
      if (result === "ignored") {
        assert.equal(replay.closeCode, undefined);
        const answered = sent.flatMap(framesOf).map(({ type }) => type);
        const own: number[] = [FrameType.Pong, FrameType.Connected];
        assert.deepEqual(answered.filter((type) => !own.includes(type)), []);
        replay[Symbol.dispose]();
      } else {
        assert.equal(replay.closeCode, Number(result));
      }
    });
  }
}

Deno.test("protocol.md: a text message ends the session with 1002", () => {
  const replay = session(agent2());
  replay.socket.receiveText();
  assert.equal(replay.closeCode, 1002);
});

Deno.test("protocol.md: Connected for a stream that is not open gets Close from a relay", () => {
  using relay = session(relay1());
  const sent = relay.turn(encodeFrame(FrameType.Connected, 7));
  assert.deepEqual(sent, [encodeFrame(FrameType.Close, 7)]);
});

Deno.test("protocol.md: one more stream than the agent's maxStreams gets Error limit", () => {
  using agent = session(agent2());
  const streams = Array.from({ length: defaultSettings.maxStreams }, (_, index) => open(index + 1));
  assert.deepEqual(agent.turn(...streams), []);
  const [error] = agent.turn(open(streams.length + 1)).flatMap(framesOf);
  assert.equal(error?.type, FrameType.Error);
  assert.equal(error?.stream, streams.length + 1);
  assert.equal(JSON.parse(new TextDecoder().decode(error?.payload)).code, "limit");
});

Deno.test("protocol.md: a Pong has the first 125 bytes of its Ping", () => {
  using agent = session(agent2());
  const payload = Uint8Array.from({ length: 126 }, (_, index) => index);
  const [pong] = agent.turn(encodeFrame(FrameType.Ping, 0, payload)).flatMap(framesOf);
  assert.equal(pong?.type, FrameType.Pong);
  assert.deepEqual(pong?.payload, payload.subarray(0, 125));
  const [echo] = agent.turn(messageOf("ping"));
  assert.deepEqual(echo, messageOf("pong"));
  assert.equal(onlyFrame("pong", FrameType.Pong).length, 8);
});
