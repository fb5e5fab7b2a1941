/**
 * A hostile or broken agent against the real relay: it harms its own session alone, no caller takes
 * what it says for the target's whole answer, and other clusters never notice.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { concatBytes } from "../support/byte_reader.ts";
import { maxMessageBytes } from "../../lib/protocol/frame.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { type LogLine, type RunningRelay, startRelay } from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { V2Agent, type V2AgentOptions } from "../peers/v2_agent.ts";
import {
  encodeV2Batch,
  encodeV2Frame,
  jsonPayload,
  openPayload,
  uint32,
  V2,
  v2TypeName,
} from "../peers/v2_frame.ts";
import { v2Settings } from "../peers/v2_link.ts";
import type { V2Stream } from "../peers/v2_stream.ts";
import { graceArgs, okWith, requestHead, untilEnd } from "./tunnel.ts";
import {
  bodyText,
  latin1,
  latin1Text,
  readWireHead,
  readWireRequest,
  readWireResponse,
  responsesIn,
  statusOf,
  targetOf,
  valuesOf,
  type WireMessage,
} from "./wire.ts";

/** The target in the clusters file; no agent of these tests dials it. */
const TARGET = "target.example:443";

/** The relay's own time for an agent's Settings, and what it may be late by. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
const HANDSHAKE_MARGIN_MS = 10_000;

/** The relay and the agents that a test connects to it. */
class Scene {
  readonly relay: RunningRelay;

  constructor(relay: RunningRelay) {
    this.relay = relay;
  }

  /** Connects an agent of a cluster and waits until the relay sends it requests. */
  async agent(cluster: string, options: Partial<V2AgentOptions> = {}): Promise<V2Agent> {
    const instance = crypto.randomUUID();
    const agent = await V2Agent.start({
      relayUrl: this.relay.connectUrl,
      token: tokenOf(cluster),
      ...options,
      settings: { instance, ...options.settings },
    });
    const registered = options.settings?.instance ?? instance;
    await this.relay.waitForLog(
      (line) => line.message === "Agent connected" && line.instance === registered,
      { what: `the agent ${registered}` },
    );
    return agent;
  }

  /** A caller that has asked for a path of a cluster. */
  async caller(cluster: string, path: string, fields: string[] = []): Promise<RawConnection> {
    const connection = await openConnection(this.relay.internalAddress);
    await connection.write(requestHead("GET", `/tunnel/${cluster}${path}`, fields));
    return connection;
  }

  /** Asks and reads the answer. */
  async ask(cluster: string, path: string): Promise<WireMessage> {
    await using connection = await this.caller(cluster, path);
    return await answerTo(connection);
  }

  /** As `Tunnel.step`: the relay and its connections outlive a step. */
  async step(t: Deno.TestContext, name: string, run: () => Promise<void>): Promise<void> {
    const fn = async (): Promise<void> => {
      try {
        await run();
      } catch (error) {
        console.error(this.relay.program.logText());
        throw error;
      }
    };
    await t.step({ name, fn, sanitizeOps: false, sanitizeResources: false });
  }
}

function tokenOf(cluster: string): string {
  return `token-of-cluster-${cluster}`;
}

async function withRelay(test: (scene: Scene) => Promise<void>): Promise<void> {
  const clusters = ["hostile", "other"].map((id) => ({
    id,
    token: tokenOf(id),
    targetAddr: TARGET,
  }));
  await using relay = await startRelay({ clusters, args: graceArgs });
  await test(new Scene(relay));
}

async function answerTo(connection: RawConnection): Promise<WireMessage> {
  return await within(
    readWireResponse(connection.reader),
    () => `an answer; received ${JSON.stringify(connection.receivedText)}`,
  );
}

function errorOf(answer: WireMessage): { readonly code: string; readonly message: string } {
  return JSON.parse(bodyText(answer)).error;
}

/** Serves every request with a 200 that says what was asked for. */
async function echo(stream: V2Stream): Promise<void> {
  const request = await readWireRequest(stream.reader);
  await stream.send(okWith(targetOf(request)));
  await stream.end();
}

/** Leaves every request without an answer. */
async function hold(): Promise<void> {}

/** Breaks a session in one way; there is a stream open whose request has come. */
type Breach = (agent: V2Agent, stream: V2Stream) => Promise<void>;

function message(...bytes: number[]): Breach {
  return ({ link }) => link.sendMessage(Uint8Array.from(bytes));
}

function frame(type: number, streamId: number, payload?: Uint8Array): Breach {
  return ({ link }) => link.send(type, streamId, payload);
}

function onStream(type: number, payload?: (agent: V2Agent) => Uint8Array): Breach {
  return (agent, stream) => stream.sendFrame(type, payload?.(agent));
}

function windowOf({ settings }: V2Agent): number {
  return Number(settings.window);
}

const ping = encodeV2Frame(V2.ping, 0);
const wholeRequest = latin1(requestHead("GET", "/x"));

const breaches: Readonly<Record<string, Breach>> = {
  "an empty message": message(),
  "a message without a whole header": message(V2.data, 0, 0, 0),
  "a text message": ({ link }) => Promise.resolve(link.sendText("hello")),
  "a Batch without a frame": frame(V2.batch, 0),
  "a Batch on a stream": frame(V2.batch, 1, encodeV2Batch([ping]).subarray(5)),
  "a Batch cut in a length": frame(V2.batch, 0, Uint8Array.of(0, 0)),
  "a Batch cut in a frame": frame(V2.batch, 0, concatBytes([uint32(6), ping])),
  "a Batch with a length of 2^32 - 1": frame(V2.batch, 0, concatBytes([uint32(2 ** 32 - 1), ping])),
  "a Batch inside a Batch": ({ link }) => link.sendMessage(encodeV2Batch([encodeV2Batch([ping])])),
  "Open, which only a relay sends": frame(V2.open, 1000, openPayload(TARGET, wholeRequest)),
  "Connect, which is version 1": frame(V2.connect, 1000, latin1(TARGET)),
  "Data past the credit": onStream(V2.data, (agent) => new Uint8Array(windowOf(agent) + 1)),
  "End past the credit": onStream(V2.end, (agent) => new Uint8Array(windowOf(agent) + 1)),
  "Credit of three bytes": onStream(V2.credit, () => new Uint8Array(3)),
  "Credit of zero": onStream(V2.credit, () => uint32(0)),
  "Credit past 2^31": onStream(V2.credit, () => uint32(2 ** 31)),
  "Settings a second time": frame(V2.settings, 0, jsonPayload(v2Settings())),
};

Deno.test("a broken frame ends that agent's session with 1002 and nobody else's", async (t) => {
  await withRelay(async (scene) => {
    await using other = await scene.agent("other", { serve: echo });
    for (const [name, breach] of Object.entries(breaches)) {
      await scene.step(t, name, async () => {
        await using agent = await scene.agent("hostile", { serve: hold });
        await using caller = await scene.caller("hostile", "/x");
        await eventually(() => agent.opened.length === 1, "the request");
        await breach(agent, agent.opened[0]!);
        const { code, reason } = await within(agent.link.closed, "the relay to end the session");
        equal(code, 1002);
        match(reason, /^[A-Z].*[^.]$/);
        const answer = await answerTo(caller);
        equal(statusOf(answer), 502);
        equal(errorOf(answer).code, "reset");
        equal(bodyText(await scene.ask("other", "/y")), "/y");
        equal(other.link.isClosed, false);
      });
    }
    const wanted = Object.keys(breaches).map(() => "warn 1002");
    const isEnd = ({ message }: LogLine) => message === "Agent disconnected";
    const ends = await scene.relay.waitForLogs(wanted.length, isEnd);
    deepEqual(ends.map(({ level, code }) => `${level} ${code}`), wanted);
  });
});

Deno.test("a message over 16 MiB ends that agent's session with 1009 and nobody else's", async () => {
  await withRelay(async (scene) => {
    await using other = await scene.agent("other", { serve: echo });
    await using agent = await scene.agent("hostile", { serve: hold });
    await using caller = await scene.caller("hostile", "/x");
    await eventually(() => agent.opened.length === 1, "the request");
    const data = encodeV2Frame(V2.data, agent.opened[0]!.id, new Uint8Array(maxMessageBytes));
    // The relay has read enough when it has read the length: the rest may not leave.
    agent.link.sendMessage(data).catch(() => {});
    equal(statusOf(await answerTo(caller)), 502);
    const end = await scene.relay.waitForLog(({ message }) => message === "Agent disconnected");
    equal(end.code, 1009);
    equal(bodyText(await scene.ask("other", "/y")), "/y");
    equal(other.link.isClosed, false);
  });
});

Deno.test("Settings that are none end the session with 1002, and no request is sent", async (t) => {
  const payloads: Record<string, Uint8Array> = {
    "not JSON": latin1("{"),
    "not UTF-8": Uint8Array.of(0x22, 0xff, 0x22),
    "no object": latin1("2"),
    "empty": new Uint8Array(0),
    "without a window": jsonPayload({ ...v2Settings(), window: undefined }),
    "with a window of zero": jsonPayload(v2Settings({ window: 0 })),
    "with a window past 2^31": jsonPayload(v2Settings({ window: 2 ** 31 })),
    "with frames of no bytes": jsonPayload(v2Settings({ maxFrame: 0 })),
    "with no streams": jsonPayload(v2Settings({ maxStreams: 0 })),
    "of version 1": jsonPayload(v2Settings({ version: 1 })),
    "without an instance": jsonPayload(v2Settings({ instance: "" })),
    "too long": jsonPayload({ ...v2Settings(), x: "y".repeat(70_000) }),
  };
  await withRelay(async (scene) => {
    for (const [name, payload] of Object.entries(payloads)) {
      await scene.step(t, name, async () => {
        await using agent = await V2Agent.start({
          relayUrl: scene.relay.connectUrl,
          token: tokenOf("hostile"),
          answersSettings: false,
        });
        await agent.link.send(V2.settings, 0, payload);
        const { code, reason } = await within(agent.link.closed, "the relay to end the session");
        equal(code, 1002);
        match(reason, /^Settings/);
        equal(agent.opened.length, 0);
      });
    }
  });
});

Deno.test("an agent that never sends Settings gets no request and is dropped in time", async () => {
  await withRelay(async (scene) => {
    await using agent = await V2Agent.start({
      relayUrl: scene.relay.connectUrl,
      token: tokenOf("hostile"),
      answersSettings: false,
    });
    const connectedMs = performance.now();
    // Frames of version 1 do not make it a version 1 agent: its handshake announced version 2.
    await agent.link.ping();
    await agent.link.send(V2.data, 1, latin1("hello"));
    await agent.link.send(V2.connected, 1);
    await agent.link.ping();
    const early = await scene.ask("hostile", "/x");
    equal(statusOf(early), 502);
    equal(errorOf(early).code, "cluster_not_available");
    const timeoutMs = HANDSHAKE_TIMEOUT_MS + HANDSHAKE_MARGIN_MS;
    const { code } = await within(agent.link.closed, "the relay to drop the agent", timeoutMs);
    equal(code, 1002);
    ok(performance.now() - connectedMs > HANDSHAKE_TIMEOUT_MS / 2, "it must have had its time");
    equal(agent.opened.length, 0);
    const late = await scene.ask("hostile", "/x");
    deepEqual([late.startLine, bodyText(late)], [early.startLine, bodyText(early)]);
  });
});

Deno.test("frames that mean nothing are ignored", async () => {
  await withRelay(async (scene) => {
    await using agent = await scene.agent("hostile", { serve: echo });
    const { link } = agent;
    for (const type of [0x00, 0x0e, 0x7f, 0xff]) await link.send(type, 0, new Uint8Array(3));
    for (const streamId of [0, 1_000_000, 0xffffffff]) {
      await link.send(V2.data, streamId, new Uint8Array(100_000));
      await link.send(V2.end, streamId, new Uint8Array(1));
      await link.send(V2.credit, streamId, uint32(1));
      await link.send(V2.error, streamId, latin1("no JSON"));
      await link.send(V2.close, streamId);
      await link.send(V2.connected, streamId);
    }
    await link.send(V2.pong, 0, new Uint8Array(8));
    await link.ping();
    equal(bodyText(await scene.ask("hostile", "/x")), "/x");
    // The stream's id is known no more: what crosses its end is nobody's.
    const [stream] = agent.opened;
    await stream!.outcome();
    await link.ping();
    await stream!.sendFrame(V2.data, latin1("HTTP/1.1 200 OK\r\n\r\n"));
    await stream!.sendFrame(V2.error, jsonPayload({ code: "reset", message: "gone" }));
    await stream!.sendFrame(V2.end);
    equal(bodyText(await scene.ask("hostile", "/y")), "/y");
    equal(link.isClosed, false);
  });
});

Deno.test("each error code of an agent has its status", async (t) => {
  /** As docs and `lib/relay/stream_errors.ts` have them; codes that nobody knows are `reset`. */
  const cases: [payload: Uint8Array, status: number, code: string, retryAfter: string[]][] = [
    [jsonPayload({ code: "refused", message: "m" }), 502, "refused", []],
    [jsonPayload({ code: "unreachable", message: "m" }), 502, "unreachable", []],
    [jsonPayload({ code: "timeout", message: "m" }), 504, "timeout", []],
    [jsonPayload({ code: "tls", message: "m" }), 502, "tls", []],
    [jsonPayload({ code: "forbidden", message: "m" }), 403, "forbidden", []],
    [jsonPayload({ code: "limit", message: "m" }), 503, "limit", ["1"]],
    [jsonPayload({ code: "protocol", message: "m" }), 502, "protocol", []],
    [jsonPayload({ code: "reset", message: "m" }), 502, "reset", []],
    [jsonPayload({ code: "internal", message: "m" }), 502, "internal", []],
    [jsonPayload({ code: "credentials", message: "m" }), 503, "credentials", []],
    [jsonPayload({ code: "unheard-of", message: "m" }), 502, "reset", []],
    [jsonPayload({ code: "__proto__", message: "m" }), 502, "reset", []],
    [jsonPayload({ code: "refused" }), 502, "reset", []],
    [jsonPayload({ code: 502, message: "m" }), 502, "reset", []],
    [latin1("null"), 502, "reset", []],
    [latin1("dial 10.0.0.1:443: refused"), 502, "reset", []],
    [Uint8Array.of(0xff, 0xfe), 502, "reset", []],
    [new Uint8Array(0), 502, "reset", []],
    [new Uint8Array(100_000).fill(0x61), 502, "reset", []],
  ];
  await withRelay(async (scene) => {
    let payload: Uint8Array = new Uint8Array(0);
    await using agent = await scene.agent("hostile", {
      serve: (stream) => stream.sendFrame(V2.error, payload),
    });
    for (const [sent, status, code, retryAfter] of cases) {
      await scene.step(t, `${latin1Text(sent).slice(0, 40)}: ${status} ${code}`, async () => {
        payload = sent;
        const answer = await scene.ask("hostile", "/x");
        equal(statusOf(answer), status);
        const { code: answered, message } = errorOf(answer);
        equal(answered, code);
        // What the agent says is for the log: a caller learns no address from it.
        ok(message.length > 1 && !message.includes("10.0.0.1"), message);
        deepEqual(valuesOf(answer, "retry-after"), retryAfter);
      });
    }
    equal(agent.link.isClosed, false);
  });
});

/** What an agent sends as an answer, and whether the caller may have seen its head. */
type Answering = (stream: V2Stream) => Promise<void>;

function answering(text: string, finish: (stream: V2Stream) => Promise<void>): Answering {
  return async (stream) => {
    await readWireRequest(stream.reader);
    await stream.send(latin1(text));
    await finish(stream);
  };
}

const end = (stream: V2Stream): Promise<void> => stream.end();
const close = (stream: V2Stream): Promise<void> => stream.close();
const fail = (stream: V2Stream): Promise<void> =>
  stream.sendFrame(V2.error, jsonPayload({ code: "reset", message: "gone" }));

const half = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nbegun";
const halfChunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";
const halfClose = "HTTP/1.1 200 OK\r\n\r\nbegun";

const brokenAnswers: Readonly<Record<string, Answering>> = {
  "nothing, then End": answering("", end),
  "nothing, then Close": answering("", close),
  "half a head, then End": answering("HTTP/1.1 200 OK\r\nX", end),
  "half a head, then Close": answering("HTTP/1.1 200 OK\r\nX", close),
  "half a body of known length, then End": answering(half, end),
  "half a body of known length, then Close": answering(half, close),
  "half a body of known length, then Error": answering(half, fail),
  "half a chunked body, then End": answering(halfChunked, end),
  "half a chunked body, then Close": answering(halfChunked, close),
  "half a chunked body, then Error": answering(halfChunked, fail),
  "a body without framing, then Close": answering(halfClose, close),
  "a body without framing, then Error": answering(halfClose, fail),
  "both lengths": answering(
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    end,
  ),
  "two lengths": answering(
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello",
    end,
  ),
  "a folded line": answering("HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n", end),
  "a bare LF": answering(
    "HTTP/1.1 200 OK\r\nX: y\nSet-Cookie: z\r\nContent-Length: 0\r\n\r\n",
    end,
  ),
  "a NUL": answering("HTTP/1.1 200 OK\r\nX: y\x00\r\nContent-Length: 0\r\n\r\n", end),
  "no HTTP": answering("hello\r\n\r\n", end),
  "protocols changed unasked": answering(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
    end,
  ),
  "a head over the limit": answering(`HTTP/1.1 200 OK\r\nX: ${"y".repeat(70_000)}`, end),
  "a broken chunk size": answering(`${halfChunked}x\r\n`, end),
};

Deno.test("an answer that breaks off or is no HTTP never looks whole to a caller", async (t) => {
  await withRelay(async (scene) => {
    let serve: Answering = echo;
    await using agent = await scene.agent("hostile", { serve: (stream) => serve(stream) });
    for (const [name, broken] of Object.entries(brokenAnswers)) {
      await scene.step(t, name, async () => {
        serve = broken;
        await using caller = await scene.caller("hostile", "/x", ["Connection: close"]);
        const { bytes, isBroken } = await untilEnd(caller);
        const { messages, isCut } = await responsesIn(bytes);
        if (messages.length > 0) {
          equal(statusOf(messages[0]!), 502, latin1Text(bytes));
          equal(messages.length, 1);
        } else ok(isBroken || isCut, "the caller's connection must break");
        serve = echo;
        equal(bodyText(await scene.ask("hostile", "/next")), "/next");
      });
    }
    equal(agent.link.isClosed, false);
  });
});

Deno.test("what an agent sends behind an answer reaches nobody", async (t) => {
  const forged = latin1Text(okWith("forged"));
  const answers: Record<string, string> = {
    "behind a known length": latin1Text(okWith("hello")) + forged,
    "behind the last chunk":
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + forged,
  };
  await withRelay(async (scene) => {
    for (const [name, text] of Object.entries(answers)) {
      await scene.step(t, name, async () => {
        let serve: Answering = answering(text, end);
        await using _agent = await scene.agent("hostile", { serve: (stream) => serve(stream) });
        await using caller = await scene.caller("hostile", "/x");
        equal(bodyText(await answerTo(caller)), "hello");
        serve = echo;
        await caller.write(requestHead("GET", "/tunnel/hostile/next"));
        equal(bodyText(await answerTo(caller)), "/next");
      });
    }
  });
});

Deno.test("an answer that comes byte by byte is the same answer", async () => {
  await withRelay(async (scene) => {
    const text = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" +
      "HTTP/1.1 200 Fine\r\nX-Twice: 1\r\nTransfer-Encoding: chunked\r\nX-Twice: 2\r\n\r\n" +
      "5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: t\r\n\r\n";
    await using _agent = await scene.agent("hostile", {
      serve: async (stream) => {
        await readWireRequest(stream.reader);
        await stream.send(latin1(text), 1);
        await stream.end();
      },
    });
    await using caller = await scene.caller("hostile", "/x");
    const hints = await within(readWireHead(caller.reader), "the interim answer");
    deepEqual(hints, { startLine: "HTTP/1.1 103 Early Hints", fields: [["Link", "</a>"]] });
    const answer = await answerTo(caller);
    equal(answer.startLine, "HTTP/1.1 200 Fine");
    deepEqual(valuesOf(answer, "x-twice"), ["1", "2"]);
    equal(bodyText(answer), "hello!");
  });
});

Deno.test("a request and its answer cost one Open and two Ends", async () => {
  await withRelay(async (scene) => {
    await using agent = await scene.agent("hostile", {
      serve: async (stream) => {
        await readWireRequest(stream.reader);
        await stream.sendFrame(V2.end, okWith("hello"));
      },
      grantsCredit: false,
    });
    equal(bodyText(await scene.ask("hostile", "/x")), "hello");
    await agent.link.ping();
    const frames = agent.link.received.filter(({ streamId }) => streamId !== 0);
    deepEqual(frames.map(({ type }) => v2TypeName(type)), ["open", "end"]);
  });
});

Deno.test("the relay keeps to an agent's window, frame size and number of streams", async () => {
  const window = 1_500;
  const maxFrame = 1_024;
  await withRelay(async (scene) => {
    await using agent = await scene.agent("hostile", {
      settings: { window, maxFrame, maxStreams: 1 },
      grantsCredit: false,
      serve: hold,
    });
    const body = "z".repeat(20_000);
    await using caller = await openConnection(scene.relay.internalAddress);
    await caller.write(
      requestHead("POST", "/tunnel/hostile/up", [`Content-Length: ${body.length}`]) + body,
    );
    await eventually(() => agent.opened.length === 1, "the request");
    const stream = agent.opened[0]!;
    // Open's own bytes count too, without its target and the target's length.
    const overhead = openPayload(TARGET, new Uint8Array(0)).length;
    const sent = () =>
      agent.link.received.filter(({ streamId }) => streamId === stream.id)
        .reduce((sum, { payload }) => sum + payload.length, -overhead);
    equal(await untilSteady(sent, "the request", { quietMs: 300 }), window);
    const refused = await scene.ask("hostile", "/second");
    equal(statusOf(refused), 503);
    equal(errorOf(refused).code, "limit");
    deepEqual(valuesOf(refused, "retry-after"), ["1"]);
    await stream.grant(1);
    await eventually(() => sent() === window + 1, "one more byte");
    await stream.grant(100_000);
    const request = await within(readWireRequest(stream.reader), "the whole request");
    equal(bodyText(request), body);
    await stream.send(okWith("done"));
    await stream.end();
    equal(bodyText(await answerTo(caller)), "done");
    const largest = Math.max(...agent.link.received.map(({ payload }) => payload.length));
    ok(largest <= maxFrame, `a frame of ${largest} bytes, where at most ${maxFrame} are taken`);
  });
});

Deno.test("a caller that goes away closes its stream at once, and only that one", async () => {
  await withRelay(async (scene) => {
    await using agent = await scene.agent("hostile", { serve: hold });
    await using staying = await scene.caller("hostile", "/stays");
    const leaving = await scene.caller("hostile", "/leaves");
    await eventually(() => agent.opened.length === 2, "both requests");
    leaving.destroy();
    await leaving.closed;
    const isGone = agent.opened.map(({ ended }) => within(ended, "the end of the stream"));
    deepEqual(await Promise.race(isGone), { kind: "close", by: "them" });
    const left = agent.opened.find(({ isOver }) => !isOver)!;
    await left.send(okWith("still here"));
    await left.end();
    equal(bodyText(await answerTo(staying)), "still here");
    await Promise.all(isGone);
  });
});

Deno.test("two agents of one cluster share its requests; one that drains gets no more", async () => {
  await withRelay(async (scene) => {
    await using first = await scene.agent("hostile", { serve: hold });
    await using second = await scene.agent("hostile", { serve: hold });
    const callers: RawConnection[] = [];
    const opened = () => first.opened.length + second.opened.length;
    const ask = async (path: string): Promise<void> => {
      const before = opened();
      callers.push(await scene.caller("hostile", path));
      await eventually(() => opened() === before + 1, "the request at an agent");
    };
    for (let count = 0; count < 8; count++) await ask(`/${count}`);
    deepEqual([first.opened.length, second.opened.length], [4, 4]);

    await first.link.send(V2.drain, 0);
    await first.link.ping();
    for (let count = 0; count < 4; count++) await ask(`/drained/${count}`);
    deepEqual([first.opened.length, second.opened.length], [4, 8]);

    // Streams that were open when the agent began to drain finish in their own time.
    await first.opened[0]!.send(okWith("finished"));
    await first.opened[0]!.end();
    const answered = callers.map((caller) => answerTo(caller).catch(() => undefined));
    equal(bodyText((await Promise.race(answered))!), "finished");
    for (const caller of callers) await caller[Symbol.asyncDispose]();
    await Promise.all(answered);
  });
});

Deno.test("an agent that comes back replaces its own session, and no other agent's", async () => {
  await withRelay(async (scene) => {
    const instance = crypto.randomUUID();
    await using other = await scene.agent("hostile", { serve: echo });
    await using stale = await scene.agent("hostile", { settings: { instance } });
    await using fresh = await scene.agent("hostile", { settings: { instance }, serve: echo });
    const { code } = await within(stale.link.closed, "the stale session's end");
    equal(code, 4001);
    deepEqual([other.link.isClosed, fresh.link.isClosed], [false, false]);
    for (let count = 0; count < 4; count++) {
      equal(bodyText(await scene.ask("hostile", `/${count}`)), `/${count}`);
    }
  });
});
