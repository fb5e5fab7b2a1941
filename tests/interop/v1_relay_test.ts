/**
 * A version 1 relay against the real agent: what an existing relay sees when one of its agents is
 * replaced by culvert's.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { V1, type V1Frame } from "../peers/v1_frame.ts";
import {
  startV1Relay,
  type V1Relay,
  type V1RelayOptions,
  type V1RelaySession,
  type V1RelayStream,
  type V1Response,
} from "../peers/v1_relay.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { type RunningAgent, startAgent } from "../support/programs.ts";
import { fieldValues, readHead, readRequest, readResponse, statusOf } from "../support/raw_http.ts";
import {
  answering,
  type RawTarget,
  refusingAddress,
  startRawTarget,
  type TargetHandler,
} from "../support/target.ts";
import { bulkBytes, BulkContent, digestOf, okWith, sha256, taking } from "./contents.ts";

const TOKEN = "interop-relay-token-0123456789";
const CLUSTER = "interop";
const CREDENTIAL = "service-account-token";

/**
 * 262 MB for the tests of backpressure: far more than the kernel's socket buffers on the way, and
 * than both limits below, so that a agent that buffered a transfer could not stay within them.
 */
const BULK_CHUNKS = 4_000;

/** What the agent may hold on top of its memory at rest while a reader stands still. */
const HELD_GROWTH_BYTES = 96 * 1024 * 1024;

/**
 * What the agent's memory may have grown by at most in a whole transfer at full speed, messages that
 * wait for the garbage collector included: about 110 MB were measured, for 100 MB as for 500 MB.
 */
const PEAK_GROWTH_BYTES = 192 * 1024 * 1024;

interface Setup {
  readonly relay: V1Relay;
  readonly session: V1RelaySession;
  readonly agent: RunningAgent;
  readonly target: RawTarget;
}

interface SetupOptions extends Partial<V1RelayOptions> {
  /** The agent's target, when it is not the raw one. */
  readonly agentTarget?: string;
}

/**
 * Runs `test` with a version 1 relay, an agent and a raw target, and asserts at the end that the agent
 * kept to version 1. A failure is followed by the last frames and the
 * agent's log.
 */
async function withV1Relay(
  handler: TargetHandler,
  test: (setup: Setup) => Promise<void>,
  { agentTarget, ...relayOptions }: SetupOptions = {},
): Promise<void> {
  await using target = await startRawTarget(handler);
  await using relay = await startV1Relay({ tokens: { [TOKEN]: CLUSTER }, ...relayOptions });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: agentTarget ?? target.address,
    credential: CREDENTIAL,
    // The agent says so once it knows that no Settings come; requests may come sooner.
    waitsForSession: false,
  });
  const session = await relay.session(CLUSTER);
  try {
    await test({ relay, session, agent, target });
    deepEqual(relay.violations, [], "the agent must keep to version 1");
  } catch (error) {
    console.error(`${session.summary()}\n${agent.program.logText()}`);
    throw error;
  }
}

/** A request's head; `fields` are whole lines. */
function requestHead(method: string, path: string, fields: readonly string[] = []): string {
  return [`${method} ${path} HTTP/1.1`, "Host: target", ...fields, "", ""].join("\r\n");
}

function textOf(response: V1Response): string {
  return new TextDecoder().decode(response.body);
}

/** The frames that the agent sent on a stream. */
function framesOf(session: V1RelaySession, streamId: number): V1Frame[] {
  return session.frames.filter((frame) =>
    frame.direction === "received" && frame.streamId === streamId
  );
}

Deno.test("the agent offers version 2 to a version 1 relay and then speaks version 1 only", async () => {
  await withV1Relay(answering(okWith("hello")), async ({ relay, session, target }) => {
    equal(session.headers["tunnel-version"], "2");
    equal(session.headers.authorization, `Bearer ${TOKEN}`);
    equal(session.headers.origin, undefined);

    const { stream } = await relay.request(CLUSTER, target.address, requestHead("GET", "/"));
    await session.ping();
    const known: number[] = Object.values(V1);
    const received = session.frames.filter(({ direction }) => direction === "received");
    deepEqual(received.filter(({ type }) => !known.includes(type)), []);
    const types = framesOf(session, stream.id).map(({ type }) => type);
    equal(types[0], V1.connected);
    equal(types.at(-1), V1.close);
    deepEqual(types.slice(1, -1).filter((type) => type !== V1.data), []);
  });
});

Deno.test("the agent says that it is connected to a version 1 relay", async () => {
  await withV1Relay(() => undefined, async ({ agent }) => {
    const line = await agent.waitForLog(({ message }) => message === "Connected to relay");
    equal(line.version, 1);
    const response = await fetch(`http://${agent.healthAddress}/readyz`);
    await response.body?.cancel();
    equal(response.status, 200);
  });
});

Deno.test("a request of a version 1 relay gets the agent's credential in the caller's place", async () => {
  await withV1Relay(answering(okWith("hello")), async ({ relay, target }) => {
    const path = "/api//v1/a%2Fb/../c?watch=1&x=%20";
    const fields = ["authorization: Bearer caller", "X-Twice: 1", "X-Twice: 2"];
    const request = requestHead("GET", path, fields);
    const response = await relay.request(CLUSTER, target.address, request);

    equal(statusOf(response), 200);
    equal(textOf(response), "hello");
    deepEqual(response.end, { kind: "close", by: "agent" });
    const received = target.connections[0]!.receivedText;
    equal(received.split("\r\n")[0], `GET ${path} HTTP/1.1`);
    deepEqual(received.match(/^authorization:.*$/gim), [`Authorization: Bearer ${CREDENTIAL}`]);
    deepEqual(received.match(/^x-twice:.*$/gim)?.map((line) => line.slice(-1)), ["1", "2"]);
  });
});

/**
 * A relay with callers waiting for an agent sends Connect as soon as the handshake is answered. An
 * agent that begins to listen one turn of the event loop after its WebSocket has opened loses what
 * comes between, and the caller waits for a Connected that never comes. When exactly the frame must
 * come to be lost depends on the machine, so the test sweeps the first milliseconds.
 */
Deno.test("a Connect right after the handshake's answer is served", async () => {
  await using target = await startRawTarget(answering(okWith("first")));
  for (const delayMs of [undefined, 0, 0, 0, 1, 1, 1, 2, 2]) {
    const opened = Promise.withResolvers<V1RelayStream>();
    const open = (session: V1RelaySession) =>
      void session.open(target.address, 5_000).then(opened.resolve, opened.reject);
    await using relay = await startV1Relay({
      tokens: { [TOKEN]: CLUSTER },
      onSession: (session) => {
        if (delayMs === undefined) open(session);
        else setTimeout(() => open(session), delayMs);
      },
    });
    const relayUrl = relay.connectUrl;
    const options = { relayUrl, token: TOKEN, target: target.address, waitsForSession: false };
    await using _agent = await startAgent(options);
    const stream = await opened.promise;
    await stream.send(requestHead("GET", "/"));
    const response = await within(readResponse(stream.reader), "the response");
    equal(new TextDecoder().decode(response.body), "first");
    deepEqual(relay.violations, []);
  }
});

Deno.test("a rotated credential is used for the next request of a version 1 relay", async () => {
  await withV1Relay(answering(okWith("hello")), async ({ relay, agent, target }) => {
    const ask = () => relay.request(CLUSTER, target.address, requestHead("GET", "/"));
    await ask();
    await agent.rotateCredential("rotated-token");
    await ask();
    const received = target.connections.map((connection) => connection.receivedText).join("");
    const used = received.match(/^authorization:.*$/gim);
    deepEqual(used, [`Authorization: Bearer ${CREDENTIAL}`, "Authorization: Bearer rotated-token"]);
  });
});

Deno.test("5 MB pass from and to a version 1 relay unchanged", async () => {
  const up = bulkBytes(5_000_000, 7);
  const down = bulkBytes(5_000_000, 11);
  const received: string[] = [];
  const swap = answering((request) => {
    received.push(sha256(request.body));
    return okWith(down);
  });
  await withV1Relay(swap, async ({ session, target }) => {
    const stream = await session.open(target.address);
    await stream.send(requestHead("POST", "/upload", [`Content-Length: ${up.length}`]));
    await stream.send(up);
    const response = await within(readResponse(stream.reader, "POST"), "the response");
    deepEqual(received, [sha256(up)]);
    equal(sha256(response.body), sha256(down));
    deepEqual(await within(stream.ended, "Close"), { kind: "close", by: "agent" });
  });
});

Deno.test("a chunked request and a chunked response pass from and to a version 1 relay", async () => {
  const gate = Promise.withResolvers<void>();
  const handler: TargetHandler = async (connection) => {
    const request = await readRequest(connection.reader);
    equal(new TextDecoder().decode(request.body), "first second");
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    await gate.promise;
    await connection.write("3\r\ntwo\r\n0\r\n\r\n");
    await connection.closed;
  };
  await withV1Relay(handler, async ({ session, target }) => {
    const stream = await session.open(target.address);
    await stream.send(requestHead("PUT", "/", ["Transfer-Encoding: chunked"]));
    for (const part of ["5\r\nfirst", "\r\n7\r\n second\r", "\n0\r\n\r\n"]) await stream.send(part);
    await within(stream.reader.readUntil("one"), "the first chunk while the second is held back");
    gate.resolve();
    const rest = await within(stream.reader.readToEnd(), "the rest of the response");
    match(new TextDecoder().decode(rest), /^\r\n3\r\ntwo\r\n0\r\n\r\n$/);
    deepEqual(await stream.ended, { kind: "close", by: "agent" });
  });
});

Deno.test("a small request of a version 1 relay may be split at every offset", async () => {
  const echo = answering((request) => okWith(`${request.startLine}|${request.body.length}`));
  await withV1Relay(echo, async ({ session, target }) => {
    const request = `${requestHead("POST", "/split", ["Content-Length: 4"])}body`;
    for (let at = 1; at < request.length; at++) {
      const stream = await session.open(target.address);
      await stream.send(request.slice(0, at));
      await stream.send(request.slice(at));
      const response = await within(readResponse(stream.reader, "POST"), `the split at ${at}`);
      equal(new TextDecoder().decode(response.body), "POST /split HTTP/1.1|4", `split at ${at}`);
      deepEqual(await within(stream.ended, "Close"), { kind: "close", by: "agent" });
    }
    const stream = await session.open(target.address);
    await stream.send(request, 1);
    const response = await within(readResponse(stream.reader, "POST"), "the split in single bytes");
    equal(new TextDecoder().decode(response.body), "POST /split HTTP/1.1|4");
  });
});

Deno.test("a response's end is a Close to a version 1 relay, whatever its framing", async () => {
  const answers: [method: string, answer: string, body: string][] = [
    ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"],
    ["GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"],
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", ""],
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n", ""],
    ["GET", 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', ""],
    ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""],
    ["GET", "HTTP/1.1 200 OK\r\n\r\nuntil close", "until close"],
  ];
  const answer = answering(async ({ startLine }, connection) => {
    const bytes = answers[Number(/\/(\d+) /.exec(startLine)?.[1])]![1];
    await connection.write(bytes);
    if (bytes.endsWith("close")) connection.end();
  });
  await withV1Relay(answer, async ({ relay, session, target }) => {
    for (const [index, [method, , body]] of answers.entries()) {
      const request = requestHead(method, `/${index}`);
      const response = await relay.request(CLUSTER, target.address, request);
      equal(textOf(response), body, `answer ${index}`);
      deepEqual(response.end, { kind: "close", by: "agent" }, `answer ${index}`);
    }
    equal(session.openStreams, 0);
  });
});

Deno.test("an upgrade asked for by a version 1 relay is a raw connection both ways", async () => {
  const echo: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhi",
    );
    for await (const chunk of connection.reader) await connection.write(chunk);
  };
  await withV1Relay(echo, async ({ relay, target }) => {
    const request = requestHead("POST", "/exec", ["Connection: Upgrade", "Upgrade: SPDY/3.1"]);
    const { head, stream } = await relay.upgrade(CLUSTER, target.address, request);
    equal(statusOf(head), 101);
    deepEqual(fieldValues(head, "upgrade"), ["SPDY/3.1"]);
    match(target.connections[0]!.receivedText, /^upgrade: SPDY\/3\.1\r$/im);

    equal(new TextDecoder().decode(await stream.reader.readExactly(2)), "hi");
    for (const bytes of [new Uint8Array([0, 255, 13, 10]), bulkBytes(1_000_000)]) {
      const echoed = within(stream.reader.readExactly(bytes.length), "the echo");
      await stream.send(bytes);
      equal(sha256(await echoed), sha256(bytes));
    }

    await stream.close();
    await eventually(() => target.connections[0]!.isEnded, "the end of the target's connection");
  });
});

Deno.test("the end of an upgraded connection at the target is a Close to a version 1 relay", async () => {
  const hangUp: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nlast words",
    );
    connection.end();
  };
  await withV1Relay(hangUp, async ({ relay, target }) => {
    const request = requestHead("GET", "/exec", ["Connection: Upgrade", "Upgrade: x"]);
    const { stream } = await relay.upgrade(CLUSTER, target.address, request);
    const rest = await within(stream.reader.readToEnd(), "the end of the stream");
    equal(new TextDecoder().decode(rest), "last words");
    deepEqual(await stream.ended, { kind: "close", by: "agent" });
  });
});

Deno.test("a target that cannot be reached is an Error to a version 1 relay", async () => {
  const agentTarget = refusingAddress();
  await withV1Relay(() => undefined, async ({ session }) => {
    const stream = await session.connect(agentTarget);
    // Version 1 has two places for it: the agent may answer Connect itself and fail at the request.
    stream.opened.then(() => stream.send(requestHead("GET", "/")), () => undefined);
    const end = await within(stream.ended, "Error");
    equal(end.kind, "error");
    ok(end.kind === "error" && end.message.length > 0, "the Error has no text");
    await session.ping();
  }, { agentTarget });
});

Deno.test("an address that is not the agent's target is an Error to a version 1 relay", async () => {
  await using other = await startRawTarget(() => undefined);
  await withV1Relay(answering(okWith("mine")), async ({ relay, session, target }) => {
    for (const address of [other.address, "localhost:1", "no port", ""]) {
      await rejects(session.open(address), { name: "V1StreamError" }, address);
    }
    equal(other.connections.length, 0);
    const response = await relay.request(CLUSTER, target.address, requestHead("GET", "/"));
    equal(textOf(response), "mine");
  });
});

Deno.test("a stream of another kind is an Error to a version 1 relay, and reaches no target", async () => {
  await withV1Relay(answering(okWith("mine")), async ({ relay, session, target }) => {
    for (const kind of ["tcp", "udp", "http"]) {
      const refused = session.open(`${kind}://${target.address}`);
      await rejects(refused, { name: "V1StreamError" }, kind);
    }
    equal(target.connections.length, 0);
    const response = await relay.request(CLUSTER, target.address, requestHead("GET", "/"));
    equal(textOf(response), "mine");
  });
});

Deno.test("50 concurrent requests of a version 1 relay each get their own answer", async () => {
  const echo = answering((request) => okWith(request.body));
  await withV1Relay(echo, async ({ session, target }) => {
    const answers = Array.from({ length: 50 }, async (_, index) => {
      const body = bulkBytes(10_000 + index * 997, index + 1);
      const stream = await session.open(target.address);
      await stream.send(requestHead("POST", `/${index}`, [`Content-Length: ${body.length}`]));
      await stream.send(body, 1_000);
      const response = await within(readResponse(stream.reader, "POST"), `answer ${index}`);
      await within(stream.ended, `the end of stream ${stream.id}`);
      return sha256(response.body) === sha256(body);
    });
    deepEqual(await Promise.all(answers), Array(50).fill(true));
    equal(session.openStreams, 0);
  });
});

Deno.test("a Close of a version 1 relay ends the request at the target at once", async () => {
  const trickle: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    await connection.closed;
  };
  await withV1Relay(trickle, async ({ session, target }) => {
    const stream = await session.open(target.address);
    await stream.send(requestHead("GET", "/watch"));
    await within(stream.reader.readUntil("first"), "the first chunk");
    await stream.close();
    const connection = target.connections[0]!;
    await eventually(
      () => connection.isEnded || connection.isClosed,
      "the end of the target's connection",
    );
    await session.ping();
  });
});

Deno.test("a Close of a version 1 relay in mid-upload ends the request at the target", async () => {
  const swallow: TargetHandler = async (connection) => {
    for await (const _ of connection.reader);
  };
  await withV1Relay(swallow, async ({ session, target }) => {
    const stream = await session.open(target.address);
    await stream.send(`${requestHead("POST", "/", ["Content-Length: 1000000"])}partial`);
    const connection = await target.connection(0);
    await eventually(() => connection.receivedText.endsWith("partial"), "the first bytes");
    await stream.close();
    await eventually(
      () => connection.isEnded || connection.isClosed,
      "the end of the target's connection",
    );
  });
});

for (const framing of ["Content-Length: 1000", "Transfer-Encoding: chunked"]) {
  for (const ending of ["end", "reset"] as const) {
    Deno.test(`a response with ${framing} cut by the target's ${ending} does not look whole to a version 1 relay`, async () => {
      const seen = Promise.withResolvers<void>();
      const cut: TargetHandler = async (connection) => {
        await readHead(connection.reader);
        await connection.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
        await connection.write(framing.endsWith("chunked") ? "5\r\nshort\r\n" : "short");
        await seen.promise;
        connection[ending]();
      };
      await withV1Relay(cut, async ({ session, target }) => {
        const stream = await session.open(target.address);
        await stream.send(requestHead("GET", "/"));
        await within(stream.reader.readUntil("short"), "the first bytes");
        seen.resolve();
        const end = await within(stream.ended, "the end of the stream");
        equal(end.kind, "error");
      });
    });
  }
}

Deno.test("a version 1 relay that stops reading 262 MB loses nothing and costs the agent no memory", async () => {
  const content = new BulkContent(BULK_CHUNKS);
  const download: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${content.length}\r\n\r\n`);
    for (const chunk of content) await connection.write(chunk);
    await connection.closed;
  };
  await withV1Relay(download, async ({ session, agent, target }) => {
    const atRest = await agent.program.residentBytes();
    const stream = await session.open(target.address);
    await stream.send(requestHead("GET", "/large"));
    const connection = await target.connection(0);
    await within(readHead(stream.reader), "the head");

    session.pause();
    const held = await untilSteady(() => connection.writtenBytes, "the target's bytes");
    ok(held < content.length, "the target could send all while the relay stood still");
    assertGrowth(await agent.program.residentBytes() - atRest, HELD_GROWTH_BYTES);

    session.resume();
    const digest = await within(digestOf(stream.reader), "the rest", 60_000);
    deepEqual(digest, { length: content.length, checksum: content.checksum });
    deepEqual(await stream.ended, { kind: "close", by: "agent" });
    assertGrowth(await agent.program.peakResidentBytes() - atRest, PEAK_GROWTH_BYTES);
  }, { keepsPayloads: false });
});

Deno.test("a target that stops reading holds a version 1 relay up and costs the agent no memory", async () => {
  const content = new BulkContent(BULK_CHUNKS);
  const gate = Promise.withResolvers<void>();
  const slow: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await gate.promise;
    const digest = await digestOf(taking(connection.reader, content.length));
    await connection.write(okWith(JSON.stringify(digest)));
    await connection.closed;
  };
  await withV1Relay(slow, async ({ session, agent, target }) => {
    const atRest = await agent.program.residentBytes();
    const stream = await session.open(target.address);
    await stream.send(requestHead("POST", "/", [`Content-Length: ${content.length}`]));
    let sent = 0;
    const upload = (async () => {
      for (const chunk of content) {
        await stream.send(chunk);
        sent += chunk.length;
      }
    })();
    await untilSteady(() => sent, "the relay's bytes");
    ok(sent < content.length, "the relay could send all to a target that stood still");
    assertGrowth(await agent.program.residentBytes() - atRest, HELD_GROWTH_BYTES);

    gate.resolve();
    await within(upload, "the upload", 60_000);
    const response = await within(readResponse(stream.reader, "POST"), "the response");
    deepEqual(JSON.parse(new TextDecoder().decode(response.body)), {
      length: content.length,
      checksum: content.checksum,
    });
    assertGrowth(await agent.program.peakResidentBytes() - atRest, PEAK_GROWTH_BYTES);
  }, { keepsPayloads: false });
});

function assertGrowth(bytes: number, limitBytes: number): void {
  ok(bytes <= limitBytes, `the agent grew by ${bytes} bytes, over the ${limitBytes} allowed`);
}

Deno.test("the agent answers a version 1 relay's Ping and ignores frames it does not know", async () => {
  await withV1Relay(answering(okWith("still here")), async ({ relay, session, target }) => {
    await session.sendFrame(0x42, 0, new Uint8Array([1, 2, 3]));
    await session.sendFrame(0x42, 99);
    await session.sendFrame(V1.data, 4_000_000_000, new Uint8Array([1]));
    await session.sendFrame(V1.close, 4_000_000_000);
    await session.ping();
    const response = await relay.request(CLUSTER, target.address, requestHead("GET", "/"));
    equal(textOf(response), "still here");
  });
});

Deno.test("requests go on beside a version 1 relay's frequent Pings", async () => {
  await withV1Relay(answering(okWith("pong")), async ({ relay, session, target }) => {
    for (let count = 0; count < 20; count++) {
      const response = await relay.request(CLUSTER, target.address, requestHead("GET", "/"));
      equal(textOf(response), "pong");
    }
    await session.waitForFrame(({ type }) => type === V1.pong, { what: "Pong" });
  }, { pingIntervalMs: 1 });
});

Deno.test("the agent dials a version 1 relay again when its session ends", async () => {
  await withV1Relay(answering(okWith("again")), async ({ relay, session, target }) => {
    await session.terminate();
    await eventually(() => relay.sessions.length === 2, "the next session", 30_000);
    const response = await relay.request(CLUSTER, target.address, requestHead("GET", "/"));
    equal(textOf(response), "again");
  });
});

Deno.test("the end of a version 1 session ends its requests at the target", async () => {
  await withV1Relay(
    async (connection) => {
      await connection.closed;
    },
    async ({ session, target }) => {
      const stream = await session.open(target.address);
      await stream.send(requestHead("GET", "/watch"));
      const connection = await target.connection(0);
      await session.terminate();
      await eventually(
        () => connection.isEnded || connection.isClosed,
        "the end of the target's connection",
      );
    },
  );
});

Deno.test("a version 1 relay's 401 is logged by the agent, which keeps trying", async () => {
  await using relay = await startV1Relay({ tokens: {} });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: "127.0.0.1:1",
    waitsForSession: false,
  });
  const isRefusal = (line: { level?: string }) =>
    ["warning", "warn", "error"].includes(line.level ?? "") && JSON.stringify(line).includes("401");
  const line = await agent.waitForLog(isRefusal, { what: "a log line about 401" });
  ok(!JSON.stringify(line).includes(TOKEN), "the log has the token");
  equal(relay.refused[0]?.status, 401);
  equal(agent.program.exitCode, undefined);
});

Deno.test("an agent that is told to stop leaves a version 1 relay in good order", async () => {
  await withV1Relay(answering(okWith("bye")), async ({ relay, session, agent, target }) => {
    await relay.request(CLUSTER, target.address, requestHead("GET", "/"));
    equal(await agent.stop(), 0);
    const { code } = await within(session.closed, "the session to end");
    equal(code, 1001);
  });
});
