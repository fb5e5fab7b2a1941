/**
 * A version 1 agent against the real relay: what an existing agent sees when its relay is replaced
 * by culvert's, and what callers get through it.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import {
  startV1Agent,
  type V1Agent,
  type V1AgentOptions,
  V1HandshakeError,
} from "../peers/v1_agent.ts";
import { V1 } from "../peers/v1_frame.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { type RunningRelay, startRelay } from "../support/programs.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import {
  fieldValues,
  type RawMessage,
  readHead,
  readResponse,
  statusOf,
} from "../support/raw_http.ts";
import {
  answering,
  type RawTarget,
  refusingAddress,
  startRawTarget,
  type TargetHandler,
} from "../support/target.ts";
import {
  BULK_CHUNK_BYTES,
  bulkBytes,
  BulkContent,
  digestOf,
  okWith,
  sha256,
  taking,
} from "./contents.ts";

const TOKEN = "interop-agent-token-0123456789";
const CLUSTER = "interop";
const CREDENTIAL = "service-account-token";

/**
 * 262 MB for the tests of backpressure: far more than the kernel's socket buffers on the way, and
 * than both limits below, so that a relay that buffered a transfer could not stay within them.
 */
const BULK_CHUNKS = 4_000;

/** What the relay may hold on top of its memory at rest while a reader stands still. */
const HELD_GROWTH_BYTES = 96 * 1024 * 1024;

/**
 * What the relay's memory may have grown by at most in a whole transfer at full speed, messages that
 * wait for the garbage collector included: about 110 MB were measured, for 100 MB as for 500 MB.
 */
const PEAK_GROWTH_BYTES = 192 * 1024 * 1024;

interface Setup {
  readonly relay: RunningRelay;
  readonly agent: V1Agent;
  readonly target: RawTarget;
}

interface SetupOptions extends Partial<V1AgentOptions> {
  /** The target that the relay's clusters file names, when it is not the agent's. */
  readonly targetAddr?: string;
}

/**
 * Runs `test` with a relay, a version 1 agent and a raw target, and asserts at the end that the relay
 * kept to version 1. A failure is followed by the last frames and the relay's log.
 */
async function withV1Agent(
  handler: TargetHandler,
  test: (setup: Setup) => Promise<void>,
  { targetAddr, ...agentOptions }: SetupOptions = {},
): Promise<void> {
  await using target = await startRawTarget(handler);
  const agentTarget = agentOptions.target ?? target.address;
  const clusters = [{ id: CLUSTER, token: TOKEN, targetAddr: targetAddr ?? agentTarget }];
  await using relay = await startRelay({ clusters });
  await using agent = await startV1Agent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target: agentTarget,
    credential: CREDENTIAL,
    ...agentOptions,
  });
  await relay.waitForAgent(CLUSTER);
  try {
    await test({ relay, agent, target });
    deepEqual(agent.violations, [], "the relay must keep to version 1");
    equal(agent.droppedBytes, 0, "no Data may come before Connected");
  } catch (error) {
    console.error(`${agent.summary()}\n${relay.program.logText()}`);
    throw error;
  }
}

/** The head of a request to the cluster; `fields` are whole lines. */
function requestHead(method: string, path: string, fields: readonly string[] = []): string {
  return [`${method} /tunnel/${CLUSTER}${path} HTTP/1.1`, "Host: relay", ...fields, "", ""]
    .join("\r\n");
}

/** Opens a caller's connection and sends a request's first bytes. */
async function call(relay: RunningRelay, bytes: string): Promise<RawConnection> {
  const caller = await openConnection(relay.internalAddress);
  await caller.write(bytes);
  return caller;
}

/** One whole exchange on a connection of its own. */
async function ask(
  relay: RunningRelay,
  method: string,
  path: string,
  { fields = [], body = new Uint8Array(0) }: {
    readonly fields?: readonly string[];
    readonly body?: Uint8Array;
  } = {},
): Promise<RawMessage> {
  const framing = body.length > 0 ? [`Content-Length: ${body.length}`] : [];
  await using caller = await call(relay, requestHead(method, path, [...framing, ...fields]));
  if (body.length > 0) await caller.write(body);
  return await within(readResponse(caller.reader, method), `the response to ${method} ${path}`);
}

/** Waits until the agent has no stream left: the relay ended those whose response is complete. */
async function allStreamsEnded(agent: V1Agent): Promise<void> {
  await eventually(() => agent.openStreams === 0, () => `${agent.openStreams} streams to end`);
}

Deno.test("a version 1 agent with a wrong token is refused with 401, with an Origin 403", async () => {
  const clusters = [{ id: CLUSTER, token: TOKEN, targetAddr: "127.0.0.1:1" }];
  await using relay = await startRelay({ clusters });
  const agent = { relayUrl: relay.connectUrl, target: "127.0.0.1:1" };
  const token = `${TOKEN.slice(0, -1)}x`;
  await rejects(startV1Agent({ ...agent, token }), new V1HandshakeError(401));
  const headers = { origin: "https://page.example" };
  await rejects(startV1Agent({ ...agent, token: TOKEN, headers }), new V1HandshakeError(403));
});

Deno.test("a GET passes a version 1 agent with its path as written and the agent's credential", async () => {
  await withV1Agent(answering(okWith("hello")), async ({ relay, agent, target }) => {
    const path = "/api//v1/a%2Fb/../c?watch=1&x=%20";
    const fields = ["Authorization: Bearer caller", "X-Twice: 1", "X-Twice: 2"];
    const response = await ask(relay, "GET", path, { fields });

    equal(statusOf(response), 200);
    equal(new TextDecoder().decode(response.body), "hello");
    const received = target.connections[0]!.receivedText;
    equal(received.split("\r\n")[0], `GET ${path} HTTP/1.1`);
    deepEqual(received.match(/^authorization:.*$/gim), [`Authorization: Bearer ${CREDENTIAL}`]);
    deepEqual(received.match(/^x-twice:.*$/gim)?.map((line) => line.slice(-1)), ["1", "2"]);
    await allStreamsEnded(agent);
  });
});

Deno.test("an agent without Tunnel-Version gets Connect first and never a Settings frame", async () => {
  await withV1Agent(answering(okWith("hello")), async ({ relay, agent, target }) => {
    await ask(relay, "GET", "/");
    await agent.ping();
    await allStreamsEnded(agent);

    const received = agent.frames.filter(({ direction }) => direction === "received");
    const ofStreams = received.filter(({ type }) => type !== V1.ping && type !== V1.pong);
    equal(ofStreams[0]?.type, V1.connect);
    equal(new TextDecoder().decode(ofStreams[0]?.payload), target.address);
    const known: number[] = Object.values(V1);
    deepEqual(received.filter(({ type }) => !known.includes(type)), []);
  });
});

Deno.test("5 MB pass a version 1 agent unchanged in both directions", async () => {
  const up = bulkBytes(5_000_000, 7);
  const down = bulkBytes(5_000_000, 11);
  const received: string[] = [];
  const swap = answering((request) => {
    received.push(sha256(request.body));
    return okWith(down);
  });
  await withV1Agent(swap, async ({ relay }) => {
    const response = await ask(relay, "POST", "/upload", { body: up });
    deepEqual(received, [sha256(up)]);
    equal(sha256(response.body), sha256(down));
  });
});

Deno.test("a chunked request reaches a version 1 agent's target whole", async () => {
  const echo = answering((request) => okWith(request.body));
  await withV1Agent(echo, async ({ relay }) => {
    const head = requestHead("PUT", "/", ["Transfer-Encoding: chunked"]);
    await using caller = await call(relay, head);
    for (const part of ["5\r\nfirst", "\r\n7;ext=1\r\n second", "\r\n0\r\n\r\n"]) {
      await caller.write(part);
    }
    const response = await within(readResponse(caller.reader), "the echo");
    equal(new TextDecoder().decode(response.body), "first second");
  });
});

Deno.test("chunks of a version 1 agent's target arrive as they are sent", async () => {
  const gate = Promise.withResolvers<void>();
  const stream: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    await gate.promise;
    await connection.write("6\r\nsecond\r\n0\r\n\r\n");
  };
  await withV1Agent(stream, async ({ relay, agent }) => {
    await using caller = await call(relay, requestHead("GET", "/watch"));
    await within(caller.reader.readUntil("first"), "the first chunk while the second is held back");
    gate.resolve();
    await within(caller.reader.readUntil("second"), "the second chunk");
    await within(caller.reader.readUntil("0\r\n\r\n"), "the last chunk");
    await allStreamsEnded(agent);
  });
});

Deno.test("an upgrade through a version 1 agent is a raw connection both ways", async () => {
  const echo: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhi",
    );
    for await (const chunk of connection.reader) await connection.write(chunk);
  };
  await withV1Agent(echo, async ({ relay, agent, target }) => {
    const head = requestHead("POST", "/exec", ["Connection: Upgrade", "Upgrade: SPDY/3.1"]);
    await using caller = await call(relay, head);
    const response = await within(readHead(caller.reader), "the 101");
    equal(statusOf(response), 101);
    deepEqual(fieldValues(response, "upgrade"), ["SPDY/3.1"]);
    match(target.connections[0]!.receivedText, /^upgrade: SPDY\/3\.1\r$/im);

    equal(new TextDecoder().decode(await caller.reader.readExactly(2)), "hi");
    for (const bytes of [new Uint8Array([0, 255, 13, 10]), bulkBytes(1_000_000)]) {
      const echoed = within(caller.reader.readExactly(bytes.length), "the echo");
      await caller.write(bytes);
      equal(sha256(await echoed), sha256(bytes));
    }

    caller.destroy();
    await agent.waitForFrame(({ type }) => type === V1.close, { what: "Close" });
    await allStreamsEnded(agent);
  });
});

Deno.test("the end of an upgraded connection at the target reaches the caller", async () => {
  const hangUp: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nlast words",
    );
    connection.end();
  };
  await withV1Agent(hangUp, async ({ relay }) => {
    const head = requestHead("GET", "/exec", ["Connection: Upgrade", "Upgrade: x"]);
    await using caller = await call(relay, head);
    await within(readHead(caller.reader), "the 101");
    const rest = await within(caller.reader.readToEnd(), "the end of the connection");
    equal(new TextDecoder().decode(rest), "last words");
  });
});

Deno.test("a target that a version 1 agent cannot reach is a 502 that names no address", async () => {
  const target = refusingAddress();
  await withV1Agent(() => undefined, async ({ relay }) => {
    await assertBadGateway(relay, target);
  }, { target });
});

Deno.test("an address that a version 1 agent does not allow is a 502 that names no address", async () => {
  const targetAddr = "10.255.255.1:443";
  await withV1Agent(() => undefined, async ({ relay, target }) => {
    await assertBadGateway(relay, targetAddr);
    equal(target.connections.length, 0);
  }, { targetAddr });
});

async function assertBadGateway(relay: RunningRelay, address: string): Promise<void> {
  const response = await ask(relay, "GET", "/");
  equal(statusOf(response), 502);
  const text = new TextDecoder().decode(response.body);
  const { error } = JSON.parse(text);
  deepEqual([typeof error.code, typeof error.message], ["string", "string"]);
  const [host = "", port = ""] = address.split(":");
  ok(!text.includes(host) && !text.includes(port), `the answer names the address: ${text}`);
}

Deno.test("50 concurrent requests through a version 1 agent each get their own answer", async () => {
  const echo = answering((request) => okWith(request.body));
  await withV1Agent(echo, async ({ relay, agent }) => {
    const answers = Array.from({ length: 50 }, async (_, index) => {
      const body = bulkBytes(10_000 + index * 997, index + 1);
      const response = await ask(relay, "POST", `/${index}`, { body });
      return sha256(response.body) === sha256(body);
    });
    deepEqual(await Promise.all(answers), Array(50).fill(true));
    await allStreamsEnded(agent);
  });
});

Deno.test("responses that end without Close from the target end their stream at a version 1 agent", async () => {
  const answers: [method: string, answer: string, body: string][] = [
    ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"],
    ["GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc"],
    ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", ""],
    ["GET", "HTTP/1.1 204 No Content\r\n\r\n", ""],
    ["GET", 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', ""],
    ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""],
  ];
  const answer = answering(({ startLine }) => answers[Number(/\/(\d+) /.exec(startLine)?.[1])]![1]);
  await withV1Agent(answer, async ({ relay, agent }) => {
    for (const [index, [method, , body]] of answers.entries()) {
      const response = await ask(relay, method, `/${index}`);
      equal(new TextDecoder().decode(response.body), body, `answer ${index}`);
      await allStreamsEnded(agent);
    }
  });
});

Deno.test("a response that lasts until the target closes passes a version 1 agent whole", async () => {
  const body = bulkBytes(300_000);
  const untilClose: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write("HTTP/1.1 200 OK\r\n\r\n");
    await connection.write(body);
    connection.end();
  };
  await withV1Agent(untilClose, async ({ relay }) => {
    const response = await ask(relay, "GET", "/");
    equal(sha256(response.body), sha256(body));
  });
});

for (const framing of ["Content-Length: 1000", "Transfer-Encoding: chunked"]) {
  for (const ending of ["end", "reset"] as const) {
    Deno.test(`a response with ${framing} cut by the target's ${ending} breaks the caller's connection`, async () => {
      const cut: TargetHandler = async (connection) => {
        await readHead(connection.reader);
        await connection.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
        await connection.write(framing.endsWith("chunked") ? "5\r\nshort\r\n" : "short");
        await seen.promise;
        connection[ending]();
      };
      const seen = Promise.withResolvers<void>();
      await withV1Agent(cut, async ({ relay }) => {
        await using caller = await call(relay, requestHead("GET", "/"));
        await within(caller.reader.readUntil("short"), "the first bytes");
        seen.resolve();
        // The caller sees a reset, or an end that its framing shows to be too early.
        const rest = await within(
          caller.reader.readToEnd().catch(() => new Uint8Array(0)),
          "the end of the caller's connection",
        );
        ok(!new TextDecoder().decode(rest).includes("0\r\n\r\n"), "a cut body looks whole");
      });
    });
  }
}

Deno.test("a caller that leaves ends its stream at a version 1 agent with Close", async () => {
  const trickle: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    await connection.closed;
  };
  await withV1Agent(trickle, async ({ relay, agent, target }) => {
    await using caller = await call(relay, requestHead("GET", "/watch"));
    await within(caller.reader.readUntil("first"), "the first chunk");
    equal(agent.openStreams, 1);
    caller.destroy();
    await agent.waitForFrame(({ type }) => type === V1.close, { what: "Close" });
    await allStreamsEnded(agent);
    await eventually(() => target.connections[0]!.isEnded, "the end of the target's connection");
  });
});

Deno.test("a caller that leaves in mid-upload ends its stream at a version 1 agent", async () => {
  const swallow: TargetHandler = async (connection) => {
    for await (const _ of connection.reader);
  };
  await withV1Agent(swallow, async ({ relay, agent, target }) => {
    const head = requestHead("POST", "/upload", ["Content-Length: 1000000"]);
    await using caller = await call(relay, head + "partial");
    const connection = await target.connection(0);
    await eventually(() => connection.receivedText.endsWith("partial"), "the first bytes");
    caller.reset();
    await allStreamsEnded(agent);
  });
});

/**
 * A version 1 agent knows a stream only once its target is dialled, so a Close that comes before is
 * lost there. A relay that leaves it at that leaves the agent with an open stream and a connection to
 * the target for good, one for each caller that gave up on a slow dial.
 */
Deno.test("a caller that leaves before Connected leaves nothing behind at a version 1 agent", async () => {
  const gate = Promise.withResolvers<void>();
  const dialled = Promise.withResolvers<void>();
  const beforeDial = async () => {
    dialled.resolve();
    await gate.promise;
  };
  await withV1Agent(answering(okWith("late")), async ({ relay, agent }) => {
    await using caller = await call(relay, requestHead("GET", "/"));
    await within(dialled.promise, "Connect at the agent");
    caller.destroy();
    await caller.closed;
    // Each Pong is a turn of the relay's event loop, in which it learns that the caller has left.
    for (let round = 0; round < 20; round++) await agent.ping();
    gate.resolve();
    await eventually(
      () =>
        agent.frames.some(({ type, direction }) => type === V1.connected && direction === "sent"),
      "Connected",
    );
    await allStreamsEnded(agent);
  }, { beforeDial });
});

Deno.test("nothing of a request is sent to a version 1 agent before Connected", async () => {
  const gate = Promise.withResolvers<void>();
  const dialling = Promise.withResolvers<void>();
  const beforeDial = async () => {
    dialling.resolve();
    await gate.promise;
  };
  const body = bulkBytes(200_000);
  const echo = answering((request) => okWith(request.body));
  await withV1Agent(echo, async ({ relay, agent }) => {
    const head = requestHead("POST", "/", [`Content-Length: ${body.length}`]);
    await using caller = await call(relay, head);
    await caller.write(body);
    await within(dialling.promise, "Connect at the agent");
    // The relay has had the request in hand by the time it answers; early Data would come before.
    for (let round = 0; round < 20; round++) await agent.ping();
    deepEqual(agent.frames.filter(({ type }) => type === V1.data), []);
    gate.resolve();
    const response = await within(readResponse(caller.reader), "the echo");
    equal(sha256(response.body), sha256(body));
  }, { beforeDial });
});

Deno.test("a slow caller of 262 MB loses nothing and costs the relay no memory", async () => {
  const content = new BulkContent(BULK_CHUNKS);
  const download: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${content.length}\r\n\r\n`);
    for (const chunk of content) await connection.write(chunk);
    await connection.closed;
  };
  await withV1Agent(download, async ({ relay, target }) => {
    const atRest = await relay.program.residentBytes();
    await using caller = await call(relay, requestHead("GET", "/large"));
    const head = await within(readHead(caller.reader), "the head");
    deepEqual(fieldValues(head, "content-length"), [String(content.length)]);
    const connection = await target.connection(0);

    const standStill = async () => {
      await untilSteady(() => connection.writtenBytes, "the target's bytes");
      ok(connection.writtenBytes < content.length, "the target could send all meanwhile");
      assertGrowth(await relay.program.residentBytes() - atRest, HELD_GROWTH_BYTES);
    };
    const body = readHaltingly(caller.reader, content.length, standStill);
    const digest = await within(digestOf(body), "the download", 90_000);
    deepEqual(digest, { length: content.length, checksum: content.checksum });
    assertGrowth(await relay.program.peakResidentBytes() - atRest, PEAK_GROWTH_BYTES);
  }, { keepsPayloads: false });
});

Deno.test("a version 1 agent that stops reading holds the caller up and costs the relay no memory", async () => {
  const content = new BulkContent(BULK_CHUNKS);
  const drain: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    const hash = await digestOf(taking(connection.reader, content.length));
    await connection.write(okWith(JSON.stringify(hash)));
    await connection.closed;
  };
  await withV1Agent(drain, async ({ relay, agent, target }) => {
    const atRest = await relay.program.residentBytes();
    const fields = [`Content-Length: ${content.length}`];
    await using caller = await call(relay, requestHead("POST", "/large", fields));
    const connection = await target.connection(0);
    await eventually(() => connection.receivedBytes > 0, "the head at the target");

    agent.pause();
    const upload = (async () => {
      for (const chunk of content) await caller.write(chunk);
    })();
    await untilSteady(() => caller.writtenBytes, "the caller's bytes");
    ok(
      caller.writtenBytes < content.length,
      "the caller could send all to an agent that is paused",
    );
    assertGrowth(await relay.program.residentBytes() - atRest, HELD_GROWTH_BYTES);

    agent.resume();
    await within(upload, "the upload", 60_000);
    const response = await within(readResponse(caller.reader), "the response");
    deepEqual(JSON.parse(new TextDecoder().decode(response.body)), {
      length: content.length,
      checksum: content.checksum,
    });
    assertGrowth(await relay.program.peakResidentBytes() - atRest, PEAK_GROWTH_BYTES);
  }, { keepsPayloads: false });
});

function assertGrowth(bytes: number, limitBytes: number): void {
  ok(bytes <= limitBytes, `the relay grew by ${bytes} bytes, over the ${limitBytes} allowed`);
}

/** Reads a body and stands still twice: what was held up must also start again. */
async function* readHaltingly(
  reader: RawConnection["reader"],
  length: number,
  standStill: () => Promise<void>,
): AsyncGenerator<Uint8Array> {
  let left = length;
  for (const bytes of [1, 160 * BULK_CHUNK_BYTES]) {
    yield* taking(reader, bytes);
    await standStill();
    left -= bytes;
  }
  yield* taking(reader, left);
}

Deno.test("the relay answers a version 1 agent's Ping and ignores frames it does not know", async () => {
  await withV1Agent(answering(okWith("still here")), async ({ relay, agent }) => {
    await agent.sendFrame(0x42, 0, new Uint8Array([1, 2, 3]));
    await agent.sendFrame(0x42, 99);
    await agent.sendFrame(V1.close, 4_000_000_000);
    await agent.ping();
    equal(statusOf(await ask(relay, "GET", "/")), 200);
  });
});

Deno.test("a message too short for a frame ends a version 1 session with 1002, and only that", async () => {
  await withV1Agent(answering(okWith("other")), async ({ relay, agent, target }) => {
    await agent.sendMessage(new Uint8Array([V1.data, 0, 0]));
    equal((await within(agent.closed, "the session to end")).code, 1002);
    equal(statusOf(await ask(relay, "GET", "/")), 502);

    const next = { relayUrl: relay.connectUrl, token: TOKEN, target: target.address };
    await using agentAgain = await startV1Agent(next);
    await agentAgain.ping();
    equal(statusOf(await ask(relay, "GET", "/")), 200);
  });
});

Deno.test("the last version 1 agent wins, and the end of the older one does not remove it", async () => {
  await withV1Agent(answering(okWith("answer")), async ({ relay, agent, target }) => {
    const newer = { relayUrl: relay.connectUrl, token: TOKEN, target: target.address };
    await using second = await startV1Agent(newer);
    await within(agent.closed, "the older agent to be sent away");

    equal(statusOf(await ask(relay, "GET", "/")), 200);
    await second.waitForFrame(({ type }) => type === V1.connect, { what: "Connect" });
    deepEqual(agent.frames.filter(({ type }) => type === V1.connect), []);
    deepEqual(second.violations, []);
  });
});

Deno.test("a version 1 session that dies breaks its callers and leaves the relay serving", async () => {
  const half: TargetHandler = async (connection) => {
    await readHead(connection.reader);
    await connection.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    await connection.closed;
  };
  await withV1Agent(half, async ({ relay, agent }) => {
    await using caller = await call(relay, requestHead("GET", "/"));
    await within(caller.reader.readUntil("half"), "the first bytes");
    await agent.terminate();
    await within(caller.reader.readToEnd().catch(() => undefined), "the end of the connection");
    const response = await ask(relay, "GET", "/");
    equal(statusOf(response), 502);
    match(new TextDecoder().decode(response.body), /cluster not available/);
  });
});
