/**
 * A hostile relay against the real agent: what it sends as a request goes through the agent's own
 * parser, what it sends as frames through the agent's own rules, and neither gets past them.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { concatBytes } from "../support/byte_reader.ts";
import { maxMessageBytes } from "../../lib/protocol/frame.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { type LogLine, type RunningAgent, startAgent } from "../support/programs.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { type RawTarget, startRawTarget } from "../support/target.ts";
import {
  encodeV2Batch,
  encodeV2Frame,
  jsonPayload,
  openPayload,
  uint32,
  V2,
} from "../peers/v2_frame.ts";
import { v2Settings } from "../peers/v2_link.ts";
import { V2Relay, type V2RelayOptions, type V2RelaySession } from "../peers/v2_relay.ts";
import type { V2Stream } from "../peers/v2_stream.ts";
import { type MalformedRequest, malformedRequests, malformedText } from "./malformed_requests.ts";
import { CREDENTIAL, graceArgs, requestHead, Scripts, TOKEN } from "./tunnel.ts";
import { Witness } from "./witness.ts";
import {
  bodyText,
  latin1,
  readWireResponse,
  requestsIn,
  statusOf,
  targetOf,
  valuesOf,
} from "./wire.ts";

/** Streams that the agent under test takes at once. */
const MAX_STREAMS = 16;

/** A hand-made relay, the agent that serves it and the agent's target. */
class Scene {
  readonly relay: V2Relay;
  readonly agent: RunningAgent;
  readonly target: RawTarget;
  readonly scripts: Scripts;

  constructor(relay: V2Relay, agent: RunningAgent, target: RawTarget, scripts: Scripts) {
    this.relay = relay;
    this.agent = agent;
    this.target = target;
    this.scripts = scripts;
  }

  /** Opens a stream with a request to the agent's target. */
  async open(
    request: string,
    options: Parameters<V2RelaySession["open"]>[2] = {},
  ): Promise<V2Stream> {
    const session = await this.relay.session();
    return await session.open(this.target.address, latin1(request), options);
  }

  /** Asks for a path in the ordinary way and returns the answer's text. */
  async ask(path: string): Promise<string> {
    const stream = await this.open(requestHead("GET", path));
    const answer = bodyText(await within(readWireResponse(stream.reader), `an answer to ${path}`));
    await stream.outcome();
    return answer;
  }

  witness(): Promise<Witness> {
    return Witness.start(this.target, (path) => this.ask(path));
  }

  /** As `Tunnel.step`: programs and their pooled connections outlive a step. */
  async step(t: Deno.TestContext, name: string, run: () => Promise<void>): Promise<void> {
    const fn = async (): Promise<void> => {
      try {
        await run();
      } catch (error) {
        console.error(this.agent.program.logText());
        throw error;
      }
    };
    await t.step({ name, fn, sanitizeOps: false, sanitizeResources: false });
  }
}

async function withHostileRelay(
  test: (scene: Scene) => Promise<void>,
  options: Partial<V2RelayOptions> = {},
  waitsForSession = true,
): Promise<void> {
  const scripts = new Scripts();
  await using target = await startRawTarget((connection) => scripts.serve(connection));
  await using relay = await V2Relay.start({ token: TOKEN, ...options });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: target.address,
    credential: CREDENTIAL,
    waitsForSession,
    // A session that was broken is to be followed by the next one soon.
    args: ["-max-conns", String(MAX_STREAMS), "-max-retry", "50ms", ...graceArgs],
  });
  await test(new Scene(relay, agent, target, scripts));
}

async function assertRefused(
  witness: Witness,
  request: MalformedRequest,
  stream: V2Stream,
): Promise<void> {
  const end = await stream.outcome();
  equal(end.kind, "error", JSON.stringify(end));
  ok(end.kind === "error");
  equal(end.code, "protocol");
  equal(typeof end.message, "string");
  if (request.fault === "head") await witness.sawNothing();
  else await witness.sawAtMostACut();
}

/** A request as one message: Open with its first byte, then a Data frame for each other one. */
function inSingleBytes(stream: V2Stream, target: string, bytes: Uint8Array): Uint8Array {
  const frames = [encodeV2Frame(V2.open, stream.id, openPayload(target, bytes.subarray(0, 1)))];
  for (let at = 1; at < bytes.length; at++) {
    frames.push(encodeV2Frame(V2.data, stream.id, bytes.subarray(at, at + 1)));
  }
  frames.push(encodeV2Frame(V2.end, stream.id));
  return encodeV2Batch(frames);
}

Deno.test("a malformed request of a relay is refused by the agent's own parser", async (t) => {
  await withHostileRelay(async (scene) => {
    const witness = await scene.witness();
    for (const request of malformedRequests) {
      const text = malformedText(request, "");
      await scene.step(t, request.name, async () => {
        await assertRefused(witness, request, await scene.open(text));
      });
    }
    const small = malformedRequests.filter(({ text }) => text.length < 1024);
    for (const request of small) {
      await scene.step(t, `${request.name}, byte by byte`, async () => {
        const session = await scene.relay.session();
        const stream = session.newStream();
        const bytes = latin1(malformedText(request, ""));
        await session.link.sendMessage(inSingleBytes(stream, scene.target.address, bytes));
        await assertRefused(witness, request, stream);
      });
    }
  });
});

Deno.test("a message over 16 MiB ends the session with 1009, and the agent comes back", async () => {
  await withHostileRelay(async (scene) => {
    const session = await scene.relay.session();
    const data = encodeV2Frame(V2.data, 1, new Uint8Array(maxMessageBytes));
    // The agent has read enough when it has read the length: the rest may not leave.
    session.link.sendMessage(data).catch(() => {});
    const end = await scene.agent.waitForLog(({ message }) =>
      message === "Disconnected from relay"
    );
    equal(end.code, 1009);
    await within(session.link.closed, "the end of the session");
    equal(await scene.ask("/x"), "GET /x");
  });
});

Deno.test("a request in two frames is the same request, wherever it is cut", async () => {
  await withHostileRelay(async (scene) => {
    const witness = await scene.witness();
    const text = requestHead("POST", "/pieces", ["X-Twice: 1", "Transfer-Encoding: chunked"]) +
      "5;x\r\nhello\r\n1\r\n!\r\n0\r\nT: t\r\n\r\n";
    for (let firstBytes = 0; firstBytes <= text.length; firstBytes++) {
      const stream = await scene.open(text, { firstBytes });
      const answer = await within(
        readWireResponse(stream.reader),
        `an answer, cut at ${firstBytes}`,
      );
      equal(bodyText(answer), "POST /pieces", `cut at ${firstBytes}`);
      deepEqual(await stream.outcome(), { kind: "ended" });
    }
    await witness.sawOnly("/pieces", text.length + 1, (request) => {
      equal(bodyText(request), "hello!");
      deepEqual(valuesOf(request, "authorization"), [`Bearer ${CREDENTIAL}`]);
    });
  });
});

Deno.test("a head longer than the window comes through, one over the limit is refused", async () => {
  await withHostileRelay(async (scene) => {
    const session = await scene.relay.session();
    ok(session.window < 60_000, "the head must be longer than the first window");
    const long = await scene.open(requestHead("GET", "/long", [`X: ${"y".repeat(60_000)}`]));
    equal(bodyText(await within(readWireResponse(long.reader), "an answer")), "GET /long");
    const endless = await scene.open(requestHead("GET", "/x", [`X: ${"y".repeat(70_000)}`]), {
      ends: false,
    });
    const end = await endless.outcome();
    ok(end.kind === "error");
    equal(end.code, "protocol");
  });
});

Deno.test("what a relay sends behind a request reaches nobody", async () => {
  await withHostileRelay(async (scene) => {
    const witness = await scene.witness();
    const behind = requestHead("GET", "/smuggled");
    const requests = [
      requestHead("GET", "/x"),
      requestHead("POST", "/x", ["Content-Length: 5"]) + "hello",
      requestHead("POST", "/x", ["Transfer-Encoding: chunked"]) + "5\r\nhello\r\n0\r\n\r\n",
      requestHead("GET", "/x", ["Connection: Upgrade", "Upgrade: websocket"]),
    ];
    for (const request of requests) {
      for (const firstBytes of [request.length, request.length + behind.length]) {
        const stream = await scene.open(request + behind, { firstBytes });
        await within(readWireResponse(stream.reader), "an answer");
        await stream.outcome();
        await witness.saw(["/x"]);
      }
    }
  });
});

Deno.test("the caller's credential and hop-by-hop fields do not pass the agent either", async () => {
  await withHostileRelay(async (scene) => {
    const witness = await scene.witness();
    const stream = await scene.open(requestHead("GET", "/x", [
      "authorization: Bearer caller",
      "Authorization: Bearer caller",
      "Proxy-Authorization: Basic x",
      "Connection: X-Hop, keep-alive",
      "X-Hop: 1",
      "Keep-Alive: timeout=5",
      "TE: trailers",
      "X-Kept: 1",
    ]));
    await within(readWireResponse(stream.reader), "an answer");
    const [request] = await witness.saw(["/x"]);
    deepEqual(request!.fields, [
      ["Host", "caller.example"],
      ["X-Kept", "1"],
      ["Authorization", `Bearer ${CREDENTIAL}`],
    ]);
  });
});

Deno.test("a request that breaks off ends at the target too, in each framing", async (t) => {
  const starts = {
    "in its head": "POST /x HTTP/1.1\r\nHost: h\r\nX",
    "before its body of known length": requestHead("POST", "/x", ["Content-Length: 10"]),
    "in its body of known length": requestHead("POST", "/x", ["Content-Length: 10"]) + "hello",
    "before its first chunk": requestHead("POST", "/x", ["Transfer-Encoding: chunked"]),
    "in a chunk": requestHead("POST", "/x", ["Transfer-Encoding: chunked"]) + "5\r\nhel",
    "in the last chunk": requestHead("POST", "/x", ["Transfer-Encoding: chunked"]) + "0\r\n",
  };
  await withHostileRelay(async (scene) => {
    const witness = await scene.witness();
    for (const [where, text] of Object.entries(starts)) {
      await scene.step(t, `${where}, with End`, async () => {
        const end = await (await scene.open(text)).outcome();
        ok(end.kind === "error");
        equal(end.code, "protocol");
        await witness.sawAtMostACut();
      });
      await scene.step(t, `${where}, with Close`, async () => {
        await (await scene.open(text, { ends: false })).close();
        await witness.sawAtMostACut();
      });
      await scene.step(t, `${where}, with Error`, async () => {
        const stream = await scene.open(text, { ends: false });
        await stream.sendFrame(V2.error, jsonPayload({ code: "reset", message: "gone" }));
        await witness.sawAtMostACut();
      });
    }
  });
});

Deno.test("the agent connects to its own target only, whatever a relay asks for", async (t) => {
  await withHostileRelay(async (scene) => {
    await using other = await startRawTarget(() => undefined);
    const { address } = scene.target;
    const port = address.split(":")[1]!;
    const asked: Record<string, Uint8Array> = {
      "another port": new TextEncoder().encode(other.address),
      "another name of the same host": new TextEncoder().encode(`localhost:${port}`),
      "the target with a slash": new TextEncoder().encode(`${address}/`),
      "the target with a space": new TextEncoder().encode(` ${address}`),
      "the target with a NUL": new TextEncoder().encode(`${address}\0`),
      "the target with another port behind it": new TextEncoder().encode(`${address}0`),
      "the target with a user": new TextEncoder().encode(`user@${address}`),
      "no target": new Uint8Array(0),
      "a target that is no UTF-8": Uint8Array.of(0xff, 0xfe),
      "a very long target": new Uint8Array(40_000).fill(0x61),
    };
    for (const [name, target] of Object.entries(asked)) {
      await scene.step(t, name, async () => {
        const session = await scene.relay.session();
        const stream = session.newStream();
        const length = Uint8Array.of(target.length >> 8, target.length & 0xff);
        const payload = concatBytes([length, target, latin1(requestHead("GET", "/x"))]);
        await session.link.send(V2.open, stream.id, payload);
        const end = await stream.outcome();
        ok(end.kind === "error");
        equal(end.code, "forbidden");
        deepEqual([scene.target.connections.length, other.connections.length], [0, 0]);
      });
    }
    equal(await scene.ask("/x"), "GET /x");
  });
});

/** Breaks a session in one way; there is a stream open whose request has not ended. */
type Breach = (session: V2RelaySession, stream: V2Stream, target: string) => Promise<void>;

function message(...bytes: number[]): Breach {
  return (session) => session.link.sendMessage(Uint8Array.from(bytes));
}

function frame(type: number, streamId: number, payload?: Uint8Array): Breach {
  return (session) => session.link.send(type, streamId, payload);
}

function onStream(type: number, payload?: (session: V2RelaySession) => Uint8Array): Breach {
  return (session, stream) => stream.sendFrame(type, payload?.(session));
}

const ping = encodeV2Frame(V2.ping, 0);

const breaches: Readonly<Record<string, Breach>> = {
  "an empty message": message(),
  "a message of one byte": message(V2.data),
  "a message without a whole header": message(V2.data, 0, 0, 0),
  "a text message": (session) => Promise.resolve(session.link.sendText("hello")),
  "a Batch without a frame": frame(V2.batch, 0),
  "a Batch on a stream": frame(V2.batch, 1, encodeV2Batch([ping]).subarray(5)),
  "a Batch cut in a length": frame(V2.batch, 0, Uint8Array.of(0, 0)),
  "a Batch cut in a frame": frame(V2.batch, 0, concatBytes([uint32(6), ping])),
  "a Batch with a frame without a header": frame(V2.batch, 0, concatBytes([uint32(4), ping])),
  "a Batch with a length of 2^32 - 1": frame(V2.batch, 0, concatBytes([uint32(2 ** 32 - 1), ping])),
  "a Batch with bytes behind its frames": frame(
    V2.batch,
    0,
    concatBytes([uint32(5), ping, Uint8Array.of(0)]),
  ),
  "a Batch inside a Batch": (session) =>
    session.link.sendMessage(encodeV2Batch([encodeV2Batch([ping])])),
  "Open without a target's length": frame(V2.open, 1000, Uint8Array.of(0)),
  "Open with half a target": frame(V2.open, 1000, Uint8Array.of(0, 9, 0x31)),
  "Open on stream 0": (session, _stream, target) =>
    session.link.send(V2.open, 0, openPayload(target, latin1(requestHead("GET", "/x")))),
  "Open of a stream that is open": (_session, stream, target) =>
    stream.sendFrame(V2.open, openPayload(target, latin1(requestHead("GET", "/x")))),
  "Open past the first window": (session, _stream, target) =>
    session.link.send(V2.open, 1000, openPayload(target, new Uint8Array(session.window + 1))),
  "Data past the credit": onStream(V2.data, ({ window }) => new Uint8Array(window)),
  "End past the credit": onStream(V2.end, ({ window }) => new Uint8Array(window)),
  "Data behind End": async (session, _stream, target) => {
    const whole = await session.open(target, latin1(requestHead("GET", "/held")));
    await whole.sendFrame(V2.data, new Uint8Array(1));
  },
  "End behind End": async (session, _stream, target) => {
    const whole = await session.open(target, latin1(requestHead("GET", "/held")));
    await whole.sendFrame(V2.end);
  },
  "Credit of three bytes": onStream(V2.credit, () => new Uint8Array(3)),
  "Credit of five bytes": onStream(V2.credit, () => new Uint8Array(5)),
  "Credit of zero": onStream(V2.credit, () => uint32(0)),
  "Credit past 2^31": onStream(V2.credit, () => uint32(2 ** 31)),
  "Connect, which is version 1": (session, _stream, target) =>
    session.link.send(V2.connect, 1000, new TextEncoder().encode(target)),
  "Settings a second time": frame(V2.settings, 0, jsonPayload(v2Settings())),
};

Deno.test("a broken frame ends the session with 1002, and the agent comes back", async (t) => {
  await withHostileRelay(async (scene) => {
    const held: RawConnection[] = [];
    // The request never ends: its stream is open for as long as the session is.
    scene.scripts.set("/held", async ({ connection, request }) => {
      held.push(connection);
      await request();
    });
    for (const [name, breach] of Object.entries(breaches)) {
      await scene.step(t, name, async () => {
        const session = await scene.relay.session();
        const text = requestHead("POST", "/held", ["Content-Length: 100000"]) + "begun";
        const stream = await scene.open(text, { ends: false });
        await eventually(() => held.length === 1, "the request at the target");
        await breach(session, stream, scene.target.address);
        const { code, reason } = await within(session.link.closed, "the agent to end the session");
        equal(code, 1002);
        match(reason, /^[A-Z].*[^.]$/);
        deepEqual(await stream.outcome(), { kind: "session" });
        await eventually(
          () => held.every(({ isClosed }) => isClosed),
          "the request to be abandoned at the target",
        );
        held.length = 0;
        equal(await scene.ask("/next"), "GET /next");
      });
    }
    const wanted = Object.keys(breaches).map(() => 1002);
    const isEnd = ({ message }: LogLine) => message === "Disconnected from relay";
    const ends = await scene.agent.waitForLogs(wanted.length, isEnd);
    deepEqual(ends.map(({ code }) => code), wanted);
  });
});

Deno.test("Settings that are none end the session with 1002", async (t) => {
  const payloads: Record<string, Uint8Array> = {
    "not JSON": latin1("{"),
    "not UTF-8": Uint8Array.of(0x22, 0xff, 0x22),
    "no object": latin1("2"),
    "empty": new Uint8Array(0),
    "without a window": jsonPayload({ ...v2Settings(), window: undefined }),
    "with a window of zero": jsonPayload(v2Settings({ window: 0 })),
    "with a window past 2^31": jsonPayload(v2Settings({ window: 2 ** 31 })),
    "with a window that is no whole number": jsonPayload(v2Settings({ window: 1.5 })),
    "with frames of no bytes": jsonPayload(v2Settings({ maxFrame: 0 })),
    "with no streams": jsonPayload(v2Settings({ maxStreams: 0 })),
    "of version 1": jsonPayload(v2Settings({ version: 1 })),
    "without an instance": jsonPayload(v2Settings({ instance: "" })),
    "too long": jsonPayload({ ...v2Settings(), x: "y".repeat(70_000) }),
  };
  await withHostileRelay(
    async (scene) => {
      for (const [index, name] of Object.keys(payloads).entries()) {
        await scene.step(t, name, async () => {
          const { sessions } = scene.relay;
          await eventually(() => sessions.length > index, "the agent to connect");
          const { code, reason } = await within(sessions[index]!.link.closed, "the end");
          equal(code, 1002);
          match(reason, /^Settings/);
        });
      }
      equal(await scene.ask("/x"), "GET /x");
    },
    { firstSettings: Object.values(payloads) },
    false,
  );
});

Deno.test("frames that mean nothing are ignored", async () => {
  await withHostileRelay(async (scene) => {
    const { link } = await scene.relay.session();
    for (const type of [0x00, 0x0e, 0x7f, 0xff]) await link.send(type, 0, new Uint8Array(3));
    for (const streamId of [1_000_000, 0xffffffff]) {
      await link.send(V2.data, streamId, new Uint8Array(100_000));
      await link.send(V2.end, streamId, new Uint8Array(1));
      await link.send(V2.credit, streamId, uint32(1));
      await link.send(V2.error, streamId, latin1("no JSON"));
      await link.send(V2.close, streamId);
      await link.send(V2.connected, streamId);
    }
    await link.send(V2.pong, 0, new Uint8Array(8));
    await link.send(V2.pong, 0, new Uint8Array(100));
    await link.send(V2.ping, 0);
    await link.ping();
    const pongs = link.received.filter(({ type }) => type === V2.pong);
    deepEqual(pongs.map(({ payload }) => payload.length), [0, 8]);
    equal(await scene.ask("/x"), "GET /x");
    // A stream that has ended may get what crossed its end.
    const ended = await scene.open(requestHead("GET", "/x"));
    await ended.outcome();
    await ended.sendFrame(V2.data, new Uint8Array(10));
    await ended.sendFrame(V2.credit, uint32(10));
    await ended.sendFrame(V2.close);
    await link.ping();
    equal(await scene.ask("/y"), "GET /y");
  });
});

Deno.test("a stream over the agent's limit is refused with Error limit, and only that one", async () => {
  await withHostileRelay(async (scene) => {
    const held: V2Stream[] = [];
    for (let count = 0; count < MAX_STREAMS; count++) {
      held.push(await scene.open("POST /x HTTP/1.1\r\n", { ends: false }));
    }
    const end = await (await scene.open(requestHead("GET", "/x"))).outcome();
    ok(end.kind === "error");
    equal(end.code, "limit");
    deepEqual(held.filter(({ isOver }) => isOver), []);
    await held[0]!.close();
    equal(await scene.ask("/x"), "GET /x");
  });
});

Deno.test("an answer stops where the relay's credit ends, to the byte", async () => {
  const window = 10_000;
  await withHostileRelay(async (scene) => {
    const body = "y".repeat(200_000);
    scene.scripts.set("/bulk", async ({ connection, request }) => {
      await request();
      await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
    const stream = await scene.open(requestHead("GET", "/bulk"), { grantsCredit: false });
    const { link } = await scene.relay.session();
    const sent = () =>
      link.received.filter(({ streamId, type }) => streamId === stream.id && type === V2.data)
        .reduce((sum, { payload }) => sum + payload.length, 0);
    equal(await untilSteady(sent, "the answer", { quietMs: 300 }), window);
    await stream.grant(1);
    await eventually(() => sent() === window + 1, "one more byte");
    await stream.grant(5_000);
    equal(await untilSteady(sent, "the answer", { quietMs: 300 }), window + 5_001);
    equal(await scene.ask("/x"), "GET /x", "a stalled answer must not hold up another");
    await stream.grant(1_000_000);
    const answer = await within(readWireResponse(stream.reader), "the whole answer");
    equal(bodyText(answer), body);
    const largest = Math.max(...link.received.map(({ payload }) => payload.length));
    ok(largest <= 4_096, `frames of ${largest} bytes, where at most 4096 are taken`);
  }, { settings: { window, maxFrame: 4_096 } });
});

Deno.test("a request is not repeated when a pooled connection breaks, unless it is safe", async (t) => {
  await withHostileRelay(async (scene) => {
    for (const [method, isRepeated] of [["GET", true], ["POST", false]] as const) {
      await scene.step(t, method, async () => {
        equal(await scene.ask("/warm"), "GET /warm");
        const path = `/once/${method}`;
        let count = 0;
        scene.scripts.set(path, async ({ connection, request }) => {
          await request();
          count++;
          if (count === 1) connection.destroy();
          else await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
        });
        const stream = await scene.open(requestHead(method, path));
        if (isRepeated) {
          equal(bodyText(await within(readWireResponse(stream.reader), "an answer")), "again");
        } else {
          const end = await stream.outcome();
          ok(end.kind === "error");
          equal(end.code, "reset");
        }
        equal(count, isRepeated ? 2 : 1);
      });
    }
    const { messages } = await requestsIn(
      concatBytes(scene.target.connections.map(({ received }) => received)),
    );
    equal(messages.filter((request) => targetOf(request) === "/once/POST").length, 1);
  });
});

Deno.test("the agent itself refuses methods that its target answers with the request", async () => {
  await withHostileRelay(async (scene) => {
    for (const method of ["TRACE", "TRACK", "trace"]) {
      const stream = await scene.open(requestHead(method, "/"));
      const answer = await within(readWireResponse(stream.reader), "an answer");
      equal(statusOf(answer), 405);
      deepEqual(valuesOf(answer, "allow"), ["GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"]);
    }
    equal(scene.target.connections.length, 0);
  });
});
