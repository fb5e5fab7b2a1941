import assert from "node:assert/strict";
import fc from "fast-check";
import { field } from "../../lib/http1/head.ts";
import type { ByteSocket } from "../../lib/net/byte_socket.ts";
import { HttpConnection } from "../../lib/net/http_connection.ts";
import type { RawExchange } from "../../lib/net/raw_exchange.ts";
import { checkAsync, chunkings } from "../protocol/property.ts";
import { assertSame } from "../protocol/wire.ts";
import { eventually } from "../support/deadline.ts";
import { errorText } from "../support/error_body.ts";
import { bytes, outcomes, type Served, Setup, timeouts } from "./setup.ts";
import { withoutDate } from "../support/date_field.ts";

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** Answers at once with "ok". */
function answerOk({ exchange }: Served): void {
  exchange.answer(200, "OK", [], bytes("ok"));
}

/** Answers with the request's target. */
function answerTarget({ exchange }: Served): void {
  exchange.answer(200, "OK", [], bytes(exchange.head.target));
}

function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: relay\r\n\r\n`;
}

function post(length: number, ...lines: string[]): string {
  const fields = ["Host: relay", `Content-Length: ${length}`, ...lines];
  return `POST / HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`;
}

/** The whole answer to a request that was refused. */
function refusal(status: string, message: string): string {
  const body = errorText(parseInt(status), "bad_request", message);
  return `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;
}

Deno.test("HttpConnection hands over a request as it came, and its answer as it is", async () => {
  await using setup = new Setup();
  setup.caller.send("PUT /a//../%2F?q HTTP/1.1\r\nhost: relay:1\r\nX-A: 1\r\nx-a: 2\r\n\r\n");
  const { exchange, ends } = await setup.request();
  assert.deepEqual(exchange.head, {
    method: "PUT",
    target: "/a//../%2F?q",
    minor: 1,
    fields: [field("host", "relay:1"), field("X-A", "1"), field("x-a", "2")],
  });
  assert.deepEqual(exchange.framing, { kind: "none" });
  assert.deepEqual(exchange.peer, { address: "192.0.2.1", isTls: false });
  exchange.answer(201, "Created", [field("ETag", '"1"')], bytes("done"));
  const answer = 'HTTP/1.1 201 Created\r\nETag: "1"\r\nContent-Length: 4\r\n\r\ndone';
  assert.equal(await setup.caller.response(answer), answer);
  assert.deepEqual(outcomes(ends), [{ status: 201, bytes: 4, isComplete: true }]);
});

Deno.test("HttpConnection stays open for one request after the other", async () => {
  await using setup = new Setup({ handle: answerTarget });
  for (const target of ["/1", "/2", "/3"]) {
    setup.caller.send(get(target));
    const answer = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${target}`;
    assert.equal(await setup.caller.response(answer), answer);
  }
  assert.deepEqual(setup.caller.events, []);
});

Deno.test("HttpConnection answers pipelined requests in order, one at a time", async () => {
  await using setup = new Setup();
  setup.caller.send(get("/1") + post(4) + "body" + get("/3"));
  await setup.request();
  await setup.settled();
  assert.equal(setup.served.length, 1);
  setup.served[0]!.exchange.answer(200, "OK", [], bytes("one"));
  const second = await setup.request(1);
  second.exchange.readBody(second.body);
  assert.deepEqual([second.body.text, second.body.endCount], ["body", 1]);
  await setup.settled();
  assert.equal(setup.served.length, 2);
  second.exchange.answer(200, "OK", [], bytes("two"));
  const { exchange } = await setup.request(2);
  assert.equal(exchange.head.target, "/3");
  exchange.answer(200, "OK", [], bytes("three"));
  const answers = ["one", "two", "three"]
    .map((text) => `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n${text}`).join("");
  assertSame(await setup.caller.response(answers), answers);
});

Deno.test("HttpConnection answers many pipelined requests without growing its stack", async () => {
  await using setup = new Setup({ handle: answerOk });
  const count = 20_000;
  setup.caller.send(get("/").repeat(count));
  const answers = ok.repeat(count);
  assertSame(await setup.caller.response(answers), answers);
});

Deno.test("HttpConnection stops reading while pipelined requests pile up", async () => {
  await using setup = new Setup({ highWaterBytes: 1_000 });
  setup.caller.send(get("/"));
  await setup.request();
  for (let sent = 0; sent < 200; sent++) setup.caller.send(get("/".repeat(1_000)));
  await eventually(() => setup.server.isPaused, "the server to stop reading");
  const { writableLength } = setup.caller.socket;
  assert.ok(writableLength > 100_000, `${writableLength} bytes are still with the caller`);
});

Deno.test("HttpConnection gives the same requests and answers whatever chunks they come in", async () => {
  const requests = ["\r\n", get("/a"), post(5), "\r\n\r\n!", "\r\n\r\n", get("/b")].join("") +
    "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" +
    "GET /last HTTP/1.0\r\n\r\n";
  const handle = ({ exchange, body }: Served): void => {
    exchange.readBody({
      data: (data) => body.data(data),
      end: () => exchange.answer(200, "OK", [], bytes(`${exchange.head.target}:${body.text}`)),
    });
  };
  const answer = (text: string, more = "") =>
    `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n${more}\r\n${text}`;
  const answers = answer("/a:") + answer("/:\r\n\r\n!") + answer("/b:") + answer("/c:abc") +
    answer("/last:", "Connection: close\r\n");
  await checkAsync(
    fc.asyncProperty(chunkings(bytes(requests)), async (pieces) => {
      await using setup = new Setup({ handle });
      for (const piece of pieces) setup.caller.socket.write(piece);
      assert.equal(await setup.caller.ended(), answers);
    }),
    { numRuns: 100 },
  );
});

Deno.test("HttpConnection takes a request that comes byte by byte through a narrow pipe", async () => {
  await using setup = new Setup({ handle: answerTarget, pieceBytes: 1, highWaterBytes: 1 });
  setup.caller.send(get("/slow"));
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n/slow";
  assert.equal(await setup.caller.response(answer), answer);
});

Deno.test("HttpConnection refuses what is not valid HTTP, says why and closes", async () => {
  const cases: [string, string, string][] = [
    ["GET /\r\n\r\n", "400 Bad Request", "Request line is malformed"],
    [get("/").replace("Host: relay\r\n", ""), "400 Bad Request", "Host must appear exactly once"],
    [
      get("/").replace("Host: relay", "Host: a\r\nhost: b"),
      "400 Bad Request",
      "Host must appear exactly once",
    ],
    [
      "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
      "400 Bad Request",
      "Host must appear exactly once",
    ],
    [
      "GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "400 Bad Request",
      "Request line is malformed",
    ],
    [
      post(5, "Transfer-Encoding: chunked"),
      "400 Bad Request",
      "Both Transfer-Encoding and Content-Length are there",
    ],
    [post(5, "Content-Length: 5"), "400 Bad Request", "Duplicate Content-Length"],
    [
      post(5, "A : b"),
      "400 Bad Request",
      "Header name is not a token",
    ],
    [
      "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
      "501 Not Implemented",
      "Transfer-Encoding is not supported; must be chunked",
    ],
    ["\x16\x03\x01\x02\x00", "400 Bad Request", "TLS on a listener for plain HTTP"],
    ["CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "501 Not Implemented", "CONNECT is not supported"],
    [
      "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
      "505 HTTP Version Not Supported",
      "HTTP version is not supported; must be HTTP/1.1",
    ],
  ];
  for (const [request, status, reason] of cases) {
    await using setup = new Setup({ handle: answerOk });
    setup.caller.send(request + get("/smuggled"));
    assert.equal(
      withoutDate(await setup.caller.ended()),
      refusal(status, reason),
      JSON.stringify(request),
    );
    assert.deepEqual(setup.refused, [`${status.slice(0, 3)} ${reason}`]);
    await setup.settled();
    assert.deepEqual(setup.served, [], "nothing behind it may be taken for a request");
  }
});

Deno.test("HttpConnection refuses a head over the limit without waiting for its end", async () => {
  const limits = { maxBytes: 100, maxFields: 3 };
  const long = `GET /${"a".repeat(200)}`;
  for (
    const [request, reason] of [
      [long, "Head is over 100 bytes"],
      [`${long} HTTP/1.1\r\nHost: a\r\n\r\n`, "Head is over 100 bytes"],
      ["GET / HTTP/1.1\r\nHost: a\r\nB: 1\r\nC: 2\r\nD: 3\r\n\r\n", "Head has over 3 fields"],
    ] as const
  ) {
    await using setup = new Setup({ limits, handle: answerOk });
    setup.caller.send(request);
    const answer = withoutDate(await setup.caller.ended());
    assert.equal(answer, refusal("431 Request Header Fields Too Large", reason));
    assert.deepEqual(setup.served, []);
  }
});

Deno.test("HttpConnection takes HTTP/1.0 without Host and closes after its answer", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.caller.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get("/next"));
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  assert.equal(await setup.caller.ended(), answer);
  assert.equal(setup.served.length, 1);
});

Deno.test("HttpConnection closes when the caller asks for it", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.caller.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n");
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  assert.equal(await setup.caller.ended(), answer);
  setup.caller.socket.end();
  assert.deepEqual(await setup.caller.closed(), ["end", "close"]);
  await setup.until(() => setup.closedCount === 1, "the close");
});

Deno.test("HttpConnection reads and drops a small body that nobody wanted, and goes on", async () => {
  await using setup = new Setup({ handle: answerTarget });
  const body = "x".repeat(64 * 1024);
  setup.caller.send(post(body.length));
  const first = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n/";
  assert.equal(await setup.caller.response(first), first);
  setup.caller.send(body + get("/next"));
  const second = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n/next";
  assert.equal(await setup.caller.response(second), second);
});

Deno.test("HttpConnection closes after an early answer to a large or chunked body", async () => {
  for (
    const head of [
      post(64 * 1024 + 1),
      post(0).replace("Content-Length: 0", "Transfer-Encoding: chunked"),
    ]
  ) {
    await using setup = new Setup({ handle: answerOk });
    setup.caller.send(head);
    const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    assert.equal(await setup.caller.ended(), answer);
    // What still comes is read and thrown away, so that the caller's system does not drop its answer.
    setup.caller.send("x".repeat(200_000) + get("/next"));
    await setup.settled();
    assert.deepEqual([setup.caller.socket.writableLength, setup.served.length], [0, 1]);
    setup.later(timeouts.lingerMs);
    await setup.until(() => setup.closedCount === 1, "the close");
  }
});

Deno.test("HttpConnection closes after an early answer to a caller that waits for 100", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.caller.send(post(5, "Expect: 100-continue"));
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  assert.equal(await setup.caller.ended(), answer);
});

Deno.test("HttpConnection breaks off a request whose chunks are malformed", async () => {
  await using setup = new Setup();
  setup.caller.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
  const served = await setup.request();
  served.exchange.readBody(served.body);
  assert.equal(served.body.text, "ok");
  setup.caller.send("oops\r\n" + get("/smuggled"));
  const reason = "Chunk size is not a hexadecimal number";
  assert.equal(withoutDate(await setup.caller.ended()), refusal("400 Bad Request", reason));
  assert.deepEqual([served.abortedCount, served.body.endCount], [1, 0]);
  assert.deepEqual(outcomes(served.ends), [{ status: 0, bytes: 0, isComplete: false }]);
  await setup.settled();
  assert.equal(setup.served.length, 1);
});

Deno.test("HttpConnection resets when a body breaks while its answer is under way", async () => {
  await using setup = new Setup();
  setup.caller.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  const served = await setup.request();
  const { exchange, body, ends } = served;
  exchange.readBody(body);
  exchange.respond(200, "OK", [field("Content-Length", "10")], "framed");
  exchange.write(bytes("half"));
  const half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf";
  assert.equal(await setup.caller.response(half), half);
  setup.caller.send("oops\r\n");
  assert.deepEqual(await setup.caller.closed(), ["error ECONNRESET", "close"]);
  await setup.until(() => setup.closedCount === 1, "the close");
  assert.deepEqual(outcomes(ends), [{ status: 200, bytes: 4, isComplete: false }]);
  assert.equal(served.abortedCount, 1);
});

Deno.test("HttpConnection answers a head that does not come in time with 408", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.caller.send("GET / HT");
  await setup.settled();
  setup.later(timeouts.headMs - 1);
  await setup.settled();
  assert.deepEqual(setup.refused, []);
  setup.later(1);
  const answer = refusal("408 Request Timeout", "Request Timeout");
  assert.equal(withoutDate(await setup.caller.ended()), answer);
});

Deno.test("HttpConnection does not let a slow head gain time by sending more of itself", async () => {
  await using setup = new Setup({ handle: answerOk });
  for (const piece of ["GET / ", "HTTP/1.1\r\n", "Host: a\r\n"]) {
    setup.caller.send(piece);
    await setup.settled();
    setup.later(timeouts.headMs / 3);
  }
  await setup.caller.ended();
  assert.deepEqual(setup.refused, ["408 Request Timeout"]);
});

Deno.test("HttpConnection closes a connection that never says anything, without a word", async () => {
  await using setup = new Setup();
  setup.later(timeouts.headMs - 1);
  await setup.settled();
  assert.deepEqual(setup.caller.events, []);
  setup.later(1);
  await setup.caller.ended();
  assert.equal(setup.caller.text, "");
});

Deno.test("HttpConnection closes an idle connection after its time", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.caller.send(get("/"));
  await setup.caller.response(ok);
  setup.later(timeouts.idleMs - 1);
  await setup.settled();
  assert.deepEqual(setup.caller.events, []);
  setup.later(1);
  assert.equal(await setup.caller.ended(), "");
});

Deno.test("HttpConnection gives a request that is being answered all the time it needs", async () => {
  await using setup = new Setup();
  setup.caller.send(get("/"));
  const served = await setup.request();
  setup.later(1_000_000_000);
  await setup.settled();
  answerOk(served);
  assert.equal(await setup.caller.response(ok), ok);
});

Deno.test("HttpConnection gives a caller that takes its answer slowly all the time it needs", async () => {
  await using setup = new Setup({ highWaterBytes: 1 });
  setup.caller.send(get("/"));
  const { exchange } = await setup.request();
  setup.caller.socket.pause();
  exchange.answer(200, "OK", [], bytes("x".repeat(100_000)));
  await setup.settled();
  for (let ms = 1_000; ms < timeouts.stallMs; ms += 1_000) setup.later(1_000);
  setup.caller.socket.resume();
  await setup.caller.until(
    () => setup.caller.text.endsWith("x".repeat(100_000)),
    "the whole answer",
  );
  assert.deepEqual(setup.caller.events, []);
});

Deno.test("HttpConnection breaks the connection of a caller that takes no more of its answer", async () => {
  await using setup = new Setup({ highWaterBytes: 1 });
  setup.caller.send(get("/"));
  const { exchange } = await setup.request();
  setup.caller.socket.pause();
  exchange.answer(200, "OK", [], bytes("x".repeat(100_000)));
  await setup.settled();
  for (let ms = 0; ms < 2 * timeouts.stallMs; ms += timeouts.idleMs) setup.later(timeouts.idleMs);
  await setup.until(() => setup.closedCount > 0, "the end of the connection");
  setup.caller.socket.resume();
  await setup.caller.until(() => setup.caller.events.includes("close"), "the break");
  assert.ok(setup.caller.text.length < 100_000);
});

Deno.test("HttpConnection refuses a head whose lines end with line feeds, as it has no end", async () => {
  await using setup = new Setup();
  setup.caller.send("GET / HTTP/1.1\nHost: relay\n\n");
  await setup.caller.until(() => setup.caller.text.includes("\r\n\r\n"), "the answer");
  assert.match(setup.caller.text, /^HTTP\/1\.1 400 Bad Request\r\n/);
});

Deno.test("HttpConnection tells the handler that the caller went away, once", async () => {
  await using setup = new Setup();
  setup.caller.send(get("/watch"));
  const served = await setup.request();
  setup.caller.socket.destroy();
  await setup.until(() => setup.closedCount > 0, "the end of the connection");
  await setup.settled();
  assert.deepEqual([served.abortedCount, setup.closedCount], [1, 1]);
  assert.deepEqual(outcomes(served.ends), [{ status: 0, bytes: 0, isComplete: false }]);
  answerOk(served);
  assert.deepEqual(served.ends.length, 1);
});

Deno.test("HttpConnection tells the handler that the connection broke, once", async () => {
  await using setup = new Setup();
  setup.caller.send(get("/watch"));
  const served = await setup.request();
  served.exchange.respond(200, "OK", [], "content");
  setup.caller.socket.resetAndDestroy();
  await setup.until(() => setup.closedCount > 0, "the end of the connection");
  await setup.settled();
  assert.deepEqual([served.abortedCount, setup.closedCount], [1, 1]);
  assert.deepEqual(outcomes(served.ends), [{ status: 200, bytes: 0, isComplete: false }]);
});

Deno.test("HttpConnection sends an answer whole to a caller that ends its half behind an unread body", async () => {
  await using setup = new Setup({ highWaterBytes: 1, pieceBytes: 1_000 });
  setup.caller.send(post(10) + "half");
  const { exchange } = await setup.request();
  setup.caller.socket.pause();
  exchange.answer(200, "OK", [], bytes("x".repeat(50_000)));
  setup.caller.socket.end();
  await setup.settled();
  setup.caller.socket.resume();
  const head = "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n";
  assertSame(await setup.caller.ended(), head + "x".repeat(50_000));
});

Deno.test("HttpConnection.close ends an idle connection and takes no request that comes then", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.caller.send(get("/"));
  await setup.caller.response(ok);
  setup.connection.close();
  setup.caller.send(get("/too-late"));
  assert.equal(await setup.caller.ended(), "");
  await setup.settled();
  assert.equal(setup.served.length, 1);
});

Deno.test("HttpConnection.close lets the answer that is on its way finish", async () => {
  await using setup = new Setup();
  setup.caller.send(get("/1") + get("/2"));
  const served = await setup.request();
  setup.connection.close();
  await setup.settled();
  answerOk(served);
  assert.equal(await setup.caller.ended(), ok.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
  assert.equal(setup.served.length, 1);
});

Deno.test("HttpConnection.leave serves one more request, and says that it is the last", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.connection.leave();
  await setup.settled();
  setup.caller.send(get("/1") + get("/2"));
  assert.equal(await setup.caller.ended(), ok.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
  assert.equal(setup.served.length, 1);
});

Deno.test("HttpConnection.close lets a request whose head has begun be answered", async () => {
  await using setup = new Setup({ handle: answerOk });
  const request = get("/");
  setup.caller.send(request.slice(0, 10));
  await setup.settled();
  setup.connection.close();
  setup.caller.send(request.slice(10));
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  assert.equal(await setup.caller.ended(), answer);
});

Deno.test("HttpConnection ends a connection that lingers once its time is over", async () => {
  await using setup = new Setup({ handle: answerOk });
  setup.caller.send("nonsense\r\n\r\n");
  await setup.caller.ended();
  setup.later(timeouts.lingerMs - 1);
  await setup.settled();
  assert.equal(setup.closedCount, 0);
  setup.later(1);
  await setup.until(() => setup.closedCount === 1, "the close");
});

/** A connection whose socket is only a handler for bytes, and takes what is written. */
function bareConnection(maxBytes: number) {
  const handlers = new Map<string, (bytes: Uint8Array) => void>();
  const written: string[] = [];
  const nothing = () => {};
  const socket = {
    on: (event: string, handler: (bytes: Uint8Array) => void) => handlers.set(event, handler),
    off: nothing,
    write: (piece: Uint8Array) => written.push(new TextDecoder().decode(piece)) > 0,
    ...{ end: nothing, destroy: nothing, destroySoon: nothing, resetAndDestroy: nothing },
    ...{ pause: nothing, resume: nothing, destroyed: false, writableLength: 0 },
  };
  const exchanges: RawExchange[] = [];
  new HttpConnection(socket as unknown as ByteSocket, {
    peer: { address: "192.0.2.1", isTls: false },
    limits: { maxBytes, maxFields: 10 },
    timeouts,
    handle: (exchange) => exchanges.push(exchange),
    refused: nothing,
    closed: nothing,
    nowMs: () => 0,
  });
  return { receive: (piece: Uint8Array) => handlers.get("data")!(piece), exchanges, written };
}

Deno.test("HttpConnection takes time in proportion to bytes that come one by one, of heads and behind them", () => {
  const length = 1024 * 1024;
  const { receive, exchanges } = bareConnection(length * 2);
  const startMs = performance.now();
  const head = bytes(`GET / HTTP/1.1\r\nHost: a\r\nX: ${"y".repeat(length)}\r\n\r\n`);
  for (let at = 0; at < head.length; at++) receive(head.subarray(at, at + 1));
  assert.equal(exchanges.length, 1);
  // While the first request is open, what comes behind it waits.
  for (let at = 0; at < head.length; at++) receive(head.subarray(at, at + 1));
  exchanges[0]!.answer(200, "OK", [], bytes("ok"));
  // A tenth of a second or two. To copy all that came before for each byte takes minutes.
  assert.ok(performance.now() - startMs < 20_000);
});

Deno.test("HttpConnection refuses a line that ends with LF alone at once", () => {
  for (const text of ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\r\n\n"]) {
    const { receive, written } = bareConnection(1_000);
    for (const piece of text) receive(bytes(piece));
    assert.match(written.join(""), /^HTTP\/1\.1 400 Bad Request\r\n/, JSON.stringify(text));
  }
});
