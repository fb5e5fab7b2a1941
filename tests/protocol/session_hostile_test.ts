/**
 * What a hostile or broken peer can do to a session: end it, with a reason, and nothing else. Each
 * case runs over every kind of WebSocket.
 */
import assert from "node:assert/strict";
import {
  maxMessageBytes,
  maxMessageFrames,
  maxVersion2MessageBytes,
} from "../../lib/protocol/frame.ts";
import { within } from "../support/deadline.ts";
import { agentSettings, RawPair, relaySettings, StreamLog } from "./session_setup.ts";
import { type Role, type Transport, transports } from "./transports.ts";
import { batch, bytesOf, credit, frame, joined, open, patterned, T, uint32 } from "./wire.ts";

/** Bytes that a peer may send on a new stream of these sessions. */
const WINDOW = 100;
const windowed = { window: WINDOW, maxWindow: WINDOW };
const options = {
  relay: { settings: { ...relaySettings, ...windowed } },
  agent: { settings: { ...agentSettings, ...windowed } },
};

/** Registers a test once for each kind of WebSocket. */
function overEach(name: string, run: (transport: Transport) => Promise<void>): void {
  for (const transport of transports) {
    Deno.test(`Session ${name} (${transport.name})`, () => run(transport));
  }
}

/** A Batch of one frame, over and over. */
function repeated(item: Uint8Array, count: number): Uint8Array {
  return batch(...Array<Uint8Array>(count).fill(item));
}

/** A session of version 2 with one open stream, and that stream's owner. */
async function withStream(transport: Transport, role: Role): Promise<[RawPair, StreamLog]> {
  const pair = await RawPair.ready(transport, role, options[role]);
  if (role === "relay") {
    const log = new StreamLog(pair.session.open("t:1", bytesOf("")));
    await pair.peer.frame(T.Open, 1);
    return [pair, log];
  }
  pair.peer.send(open(1, "t:1"));
  await pair.peer.roundTrip();
  return [pair, pair.accepted[0]!.log];
}

/**
 * Sends what breaks the protocol and asserts that the session ended with 1002 and this reason on both
 * sides, that its stream's owner was told so once, and that no stream is left.
 */
async function assertBreaks(
  transport: Transport,
  role: Role,
  messages: readonly Uint8Array[],
  reason: string,
): Promise<void> {
  const [pair, log] = await withStream(transport, role);
  await using _ = pair;
  pair.peer.send(...messages);
  const end = await within(pair.session.closed, `the session to end with "${reason}"`);
  assert.deepEqual(end, { code: 1002, reason });
  assert.deepEqual(log.events.slice(-1), [`failed reset: The session ended: ${reason}`]);
  assert.equal(log.events.filter((event) => event.startsWith("failed")).length, 1);
  assert.equal(pair.session.openStreams, 0);
  const seen = await pair.peer.ended();
  assert.deepEqual(seen, { code: pair.codeOnWire(1002), reason: reason.slice(0, 120) });
}

const overWindow = patterned(WINDOW + 1);

/** What breaks the protocol for either role, and the reason that the peer is given. */
const BROKEN: [string, Uint8Array[], string][] = [
  [
    "Data past its credit",
    [frame(T.Data, 1, overWindow)],
    "Stream 1 went past its credit (Data frame on stream 1 of 101 bytes)",
  ],
  [
    "End past its credit",
    [frame(T.End, 1, overWindow)],
    "Stream 1 went past its credit (End frame on stream 1 of 101 bytes)",
  ],
  [
    "Data after End",
    [frame(T.End, 1), frame(T.Data, 1, "more")],
    "Data after End on stream 1 (Data frame on stream 1 of 4 bytes)",
  ],
  [
    "empty Data after End",
    [frame(T.End, 1), frame(T.Data, 1)],
    "Data after End on stream 1 (Data frame on stream 1 of 0 bytes)",
  ],
  [
    "a second End",
    [frame(T.End, 1), frame(T.End, 1)],
    "Data after End on stream 1 (End frame on stream 1 of 0 bytes)",
  ],
  [
    "Credit of zero",
    [credit(1, 0)],
    "Credit of zero bytes (Credit frame on stream 1 of 4 bytes)",
  ],
  [
    "Credit of three bytes' length",
    [frame(T.Credit, 1, Uint8Array.of(0, 0, 1))],
    "Credit of 3 bytes; must be 4 (Credit frame on stream 1 of 3 bytes)",
  ],
  [
    "Credit past 2^31",
    [credit(1, 0x7fffffff), credit(1, 0x7fffffff)],
    "Credit of stream 1 is past 2^31 (Credit frame on stream 1 of 4 bytes)",
  ],
  [
    "Connect in version 2",
    [frame(T.Connect, 9, "t:1")],
    "Connect in version 2; must be Open (Connect frame on stream 9 of 3 bytes)",
  ],
  [
    "a second Settings",
    [frame(T.Settings, 0, "{}")],
    "Duplicate Settings (Settings frame on stream 0 of 2 bytes)",
  ],
  [
    "a message without a header",
    [new Uint8Array(4)],
    "Message of 4 bytes is too short for a frame",
  ],
  ["an empty message", [new Uint8Array(0)], "Message of 0 bytes is too short for a frame"],
  ["a Batch in a Batch", [batch(batch(frame(T.Close, 7)))], "Batch inside a Batch"],
  ["an empty Batch", [frame(T.Batch, 0)], "Batch holds no frame"],
  ["a Batch on a stream", [frame(T.Batch, 1, "x")], "Batch on stream 1; must be on stream 0"],
  [
    "a Batch that is cut short",
    [batch(frame(T.Data, 1, "ten bytes!")).subarray(0, 20)],
    "Batch declares a frame of 15 bytes where 11 follow",
  ],
  [
    "a Batch with a hostile length",
    [frame(T.Batch, 0, joined(uint32(0xffffffff), frame(T.Data, 1, "x")))],
    "Batch declares a frame of 4294967295 bytes where 6 follow",
  ],
];

for (const role of ["relay", "agent"] as const) {
  for (const [what, messages, reason] of BROKEN) {
    overEach(`of the ${role} ends at ${what}`, (transport) => {
      return assertBreaks(transport, role, messages, reason);
    });
  }
}

/** What only a relay may send, wrongly sent to an agent. */
const BROKEN_OPENS: [string, Uint8Array[], string][] = [
  [
    "Open of an open stream",
    [open(1, "t:1")],
    "Stream 1 is open already (Open frame on stream 1 of 5 bytes)",
  ],
  [
    "Open on stream 0",
    [open(0, "t:1")],
    "Stream 0 is the session's own (Open frame on stream 0 of 5 bytes)",
  ],
  [
    "Open without a target",
    [frame(T.Open, 2, Uint8Array.of(7))],
    "Open has no target length (Open frame on stream 2 of 1 bytes)",
  ],
  [
    "Open with a cut target",
    [frame(T.Open, 2, Uint8Array.of(0, 9, 1, 2))],
    "Open is cut short in its target (Open frame on stream 2 of 4 bytes)",
  ],
  [
    "Open whose first bytes are past its credit",
    [open(2, "t:1", overWindow)],
    "Stream 2 went past its credit (Open frame on stream 2 of 106 bytes)",
  ],
];

for (const [what, messages, reason] of BROKEN_OPENS) {
  overEach(`of the agent ends at ${what}`, (transport) => {
    return assertBreaks(transport, "agent", messages, reason);
  });
}

overEach("of the relay ends at Open", (transport) => {
  const reason = "An agent opens no streams (Open frame on stream 2 of 5 bytes)";
  return assertBreaks(transport, "relay", [open(2, "t:1")], reason);
});

for (const role of ["relay", "agent"] as const) {
  overEach(`of the ${role} ends at a text message`, async (transport) => {
    const [pair, log] = await withStream(transport, role);
    await using _ = pair;
    pair.wire.sendText(role === "relay" ? "agent" : "relay");
    const end = await within(pair.session.closed, "the session to end");
    const reason = "Text message; frames are binary";
    assert.deepEqual(end, { code: 1002, reason });
    assert.deepEqual(log.events, [`failed reset: The session ended: ${reason}`]);
  });

  overEach(`of the ${role} ends at a message over 16 MiB`, async (transport) => {
    const [pair, log] = await withStream(transport, role);
    await using _ = pair;
    pair.peer.send(frame(T.Data, 1, new Uint8Array(maxMessageBytes)));
    const { code } = await within(pair.session.closed, "the session to end");
    assert.equal(code, 1009);
    assert.match(log.events.join(), /^failed reset: The session ended: [^,]+$/);
    assert.deepEqual([log.bytes.length, pair.session.openStreams], [0, 0]);
  });

  overEach(`of the ${role} keeps what came before the break`, async (transport) => {
    const [pair, log] = await withStream(transport, role);
    await using _ = pair;
    pair.peer.send(batch(frame(T.Data, 1, "whole"), frame(T.Credit, 1)));
    await within(pair.session.closed, "the session to end");
    assert.equal(log.text, "whole");
  });

  overEach(`of the ${role} ignores frames that say nothing to it`, async (transport) => {
    const [pair, log] = await withStream(transport, role);
    await using _ = pair;
    const unknownTypes = [0x00, 0x0e, 0x7f, 0xff].map((type) => frame(type, 1, "later"));
    const unknownStreams = [T.Data, T.End, T.Credit, T.Error, T.Close, T.Connected]
      .flatMap((type) => [0, 77, 0xffffffff].map((stream) => frame(type, stream, "none")));
    pair.peer.send(...unknownTypes, ...unknownStreams, batch(...unknownTypes, ...unknownStreams));
    pair.peer.send(frame(T.Connected, 1), frame(T.Pong, 0, "forged!!"), frame(T.Pong, 0, "short"));
    await pair.peer.roundTrip();
    assert.deepEqual([log.events, log.bytes.length], [[], 0]);
    pair.peer.send(frame(T.Data, 1, "still there"));
    await log.untilBytes(11);
    assert.equal(log.text, "still there");
  });

  overEach(`of the ${role} ignores frames for a stream that has ended`, async (transport) => {
    const [pair, log] = await withStream(transport, role);
    await using _ = pair;
    log.stream.close();
    await pair.peer.frame(T.Close, 1);
    pair.peer.send(frame(T.Data, 1, overWindow), credit(1, 0), frame(T.End, 1), frame(T.Close, 1));
    await pair.peer.roundTrip();
    assert.deepEqual([log.events, log.bytes.length], [[], 0]);
  });

  overEach(`of the ${role} sends no more than its credit`, async (transport) => {
    const pair = await RawPair.ready(transport, role, options[role], { window: 10 });
    await using _ = pair;
    if (role === "agent") pair.peer.send(open(1, "t:1"));
    await pair.peer.roundTrip();
    const content = patterned(50);
    const stream = role === "relay"
      ? pair.session.open("t:1", content)
      : pair.accepted[0]!.log.stream;
    if (role === "agent") stream.write(content);
    stream.end();
    const sent = (): Uint8Array =>
      joined(
        ...pair.peer.frames.filter((item) => item.stream === 1).map(({ type, payload }) =>
          type === T.Open ? payload.subarray(5) : payload
        ),
      );
    for (const [grant, total] of [[0, 10], [1, 11], [19, 30], [100, 50]] as const) {
      if (grant > 0) pair.peer.send(credit(1, grant));
      await pair.peer.until(() => sent().length >= total, `${total} bytes`);
      await pair.peer.roundTrip();
      assert.deepEqual(sent(), content.subarray(0, total));
    }
    assert.equal(pair.peer.frames.at(-1)!.type, T.Pong);
    assert.equal(pair.peer.frames.findLast(({ stream }) => stream === 1)!.type, T.End);
    assert.equal(pair.session.stats.windowStalls, 3);
  });

  overEach(`of the ${role} answers a flood of Pings that somebody reads`, async (transport) => {
    const [pair] = await withStream(transport, role);
    await using _ = pair;
    const pings = Array.from({ length: 1_000 }, (_, index) => frame(T.Ping, 0, uint32(index)));
    for (let round = 0; round < 5; round++) {
      const before = pair.peer.frames.length;
      pair.peer.send(batch(...pings));
      const pongs = () => pair.peer.frames.slice(before).filter(({ type }) => type === T.Pong);
      await pair.peer.until(() => pongs().length === 1_000, "all the Pongs");
      assert.deepEqual(
        pongs().map(({ payload }) => payload),
        pings.map((ping) => ping.subarray(5)),
      );
    }
  });

  overEach(`of the ${role} ends at a version 2 message over 1 MiB`, async (transport) => {
    const [pair, log] = await withStream(transport, role);
    await using _ = pair;
    pair.peer.send(frame(T.Ping, 0, new Uint8Array(maxVersion2MessageBytes)));
    const end = await within(pair.session.closed, "the session to end");
    const reason = "Message of 1048581 bytes; must have 1048576 at most";
    assert.deepEqual(end, { code: 1009, reason });
    assert.deepEqual(log.events, [`failed reset: The session ended: ${reason}`]);
  });

  overEach(`of the ${role} ends at more frames in one message than it takes`, async (transport) => {
    const [pair, log] = await withStream(transport, role);
    await using _ = pair;
    pair.peer.send(repeated(frame(T.Ping, 0), maxMessageFrames + 1));
    const end = await within(pair.session.closed, "the session to end");
    // Frames without bytes count beside those of a message, and one of both comes first.
    assert.equal(end.code, 4002);
    assert.equal(log.events.length, 1);
    assert.equal((await pair.peer.ended()).code, 4002);
  });

  for (
    const [what, item] of [
      ["Pings", frame(T.Ping, 0)],
      ["Pongs", frame(T.Pong, 0, "forged!!")],
      ["Credits for no stream", credit(77, 1)],
      ["Data for no stream", frame(T.Data, 77, "none")],
      ["Ends for no stream", frame(T.End, 77)],
      ["Data without bytes", frame(T.Data, 1)],
      ["frames of an unknown type", frame(0x7f, 1, "later")],
      ["Drains", frame(T.Drain, 0)],
      ["Credits of one byte", credit(1, 1)],
    ] as const
  ) {
    overEach(`of the ${role} ends with a peer that sends only ${what}`, async (transport) => {
      const [pair, log] = await withStream(transport, role);
      await using _ = pair;
      const message = repeated(item, 1_000);
      for (let sent = 0; !pair.session.isClosed; sent += 1_000) {
        assert.ok(sent < 1_000_000, "a peer may go on without an end");
        pair.peer.send(message);
        await new Promise(setImmediate);
      }
      assert.deepEqual(await pair.session.closed, {
        code: 4002,
        reason: "More than 65536 frames without bytes, and 1000 a second",
      });
      assert.equal(log.events.length, 1);
    });
  }

  overEach(
    `of the ${role} takes any number of small frames of an open stream`,
    async (transport) => {
      const [pair, log] = await withStream(transport, role);
      await using _ = pair;
      const message = repeated(frame(T.Data, 1, "x"), 10_000);
      for (let round = 1; round <= 5; round++) {
        pair.peer.send(message);
        await log.untilBytes(round * 10_000);
      }
      await pair.peer.roundTrip();
    },
  );
}

for (const role of ["relay", "agent"] as const) {
  for (const transport of transports) {
    // The standard WebSocket can't stop reading, so it can't be the peer that does.
    if (transport.hasStandardAgent && role === "relay") continue;
    Deno.test(`Session of the ${role} ends with a peer that never reads (${transport.name})`, async () => {
      const [pair, log] = await withStream(transport, role);
      await using _ = pair;
      pair.peer.socket.pause!();
      const pings = batch(...Array<Uint8Array>(1_000).fill(frame(T.Ping, 0, new Uint8Array(125))));
      // What the system's buffers between the two may hold, and as much again.
      const limitBytes = 64 * 1024 * 1024;
      for (let sent = 0; !pair.session.isClosed; sent += pings.length) {
        assert.ok(sent < limitBytes, "the session holds on to Pongs without limit");
        pair.peer.send(pings);
        await new Promise(setImmediate);
      }
      assert.deepEqual(await pair.session.closed, {
        code: 1013,
        reason: "The peer does not read its control frames",
      });
      assert.equal(log.events.length, 1);
    });
  }
}

overEach("of the agent refuses a stream over its limit and goes on", async (transport) => {
  const settings = { ...agentSettings, maxStreams: 2 };
  await using pair = await RawPair.ready(transport, "agent", { settings });
  pair.peer.send(open(1, "t:1"), open(2, "t:1"), open(3, "t:1", "first bytes"));
  const { stream, payload } = await pair.peer.frame(T.Error);
  assert.equal(stream, 3);
  assert.deepEqual(JSON.parse(new TextDecoder().decode(payload)), {
    code: "limit",
    message: "The agent's streams are all in use",
  });
  pair.peer.send(frame(T.Data, 3, "meant for the refused one"), frame(T.Close, 1), open(4, "t:1"));
  await pair.peer.roundTrip();
  assert.deepEqual(pair.accepted.map(({ log }) => log.stream.id), [1, 2, 4]);
  assert.deepEqual(pair.accepted.map(({ log }) => log.events), [["closed"], [], []]);
});

overEach("takes a stream's id again once it is free", async (transport) => {
  await using pair = await RawPair.ready(transport, "agent");
  pair.peer.send(open(7, "t:1"), frame(T.Close, 7), open(7, "t:2", "again"));
  await pair.peer.roundTrip();
  assert.deepEqual(pair.accepted.map(({ target, log }) => [target, log.text]), [
    ["t:1", ""],
    ["t:2", "again"],
  ]);
});

/** Settings that are refused, and the key that the reason names. */
const WRONG_SETTINGS: [string, RegExp][] = [
  ['{"version":2}', /^Settings: window: /],
  ['{"version":1}', /^Settings: version: /],
  [JSON.stringify({ ...agentSettings, maxStreams: -1 }), /^Settings: maxStreams: /],
  [JSON.stringify({ ...agentSettings, instance: "" }), /^Settings: instance: /],
  [JSON.stringify({ ...agentSettings, maxFrame: "64K" }), /^Settings: maxFrame: /],
  ["not JSON", /^Settings are not JSON \(Settings frame on stream 0 of 8 bytes\)$/],
];

for (const role of ["relay", "agent"] as const) {
  overEach(`of the ${role} names the key that is wrong in Settings`, async (transport) => {
    for (const [text, pattern] of WRONG_SETTINGS) {
      await using pair = await RawPair.connect(transport, role);
      pair.peer.send(frame(T.Settings, 0, text));
      const { code, reason } = await within(pair.session.closed, "the session to end");
      assert.equal(code, 1002);
      assert.match(reason, pattern);
      const seen = await pair.peer.ended();
      assert.deepEqual(seen, { code: pair.codeOnWire(1002), reason: reason.slice(0, 120) });
    }
  });
}
