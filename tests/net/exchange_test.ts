import assert from "node:assert/strict";
import { field } from "../../lib/http1/head.ts";
import { whenSent } from "../../lib/net/byte_socket.ts";
import type { EndDecision, ExchangeEnd } from "../../lib/net/exchange.ts";
import { eventually } from "../support/deadline.ts";
import { Body, bytes, Caller, outcomes, type Served, Setup, type SetupOptions } from "./setup.ts";

function requestOf(line: string, ...fields: string[]): string {
  return [line, "Host: relay", ...fields, "", ""].join("\r\n");
}

const GET = requestOf("GET / HTTP/1.1");
const HEAD = requestOf("HEAD / HTTP/1.1");
const OLD_GET = "GET / HTTP/1.0\r\n\r\n";
const UPLOAD = requestOf("POST / HTTP/1.1", "Transfer-Encoding: chunked");

/** A connection on which this request has come. */
async function serving(request: string, options: SetupOptions = {}): Promise<[Setup, Served]> {
  const setup = new Setup(options);
  setup.caller.send(request);
  return [setup, await setup.request()];
}

/** What the caller gets of a content of unknown length, in one go. */
async function answerContent(request: string, contents: string[]): Promise<string> {
  const [setup, { exchange }] = await serving(request);
  await using _ = setup;
  exchange.respond(200, "OK", [], "content");
  for (const content of contents) exchange.write(bytes(content));
  exchange.finish();
  await setup.settled();
  return setup.caller.take();
}

Deno.test("Exchange.answer sends status, fields, length and body at once", async () => {
  const [setup, { exchange, ends }] = await serving(GET);
  await using _ = setup;
  exchange.answer(404, "Not Found", [field("A", "1"), field("a", "2")], bytes("no\xff"));
  const answer = "HTTP/1.1 404 Not Found\r\nA: 1\r\na: 2\r\nContent-Length: 3\r\n\r\nno\xff";
  assert.equal(await setup.caller.response(answer), answer);
  assert.deepEqual(outcomes(ends), [{ status: 404, bytes: 3, isComplete: true }]);
  assert.deepEqual([exchange.isAnswered, exchange.isOver], [true, true]);
});

Deno.test("Exchange.answer to HEAD says the length and sends no body", async () => {
  const [setup, { exchange }] = await serving(HEAD + GET);
  await using _ = setup;
  exchange.answer(200, "OK", [], bytes("body"));
  (await setup.request(1)).exchange.answer(200, "OK", [], bytes("next"));
  const answers = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n".repeat(2) + "next";
  assert.equal(await setup.caller.response(answers), answers);
});

Deno.test("Exchange chunks content of unknown length", async () => {
  const answer = await answerContent(GET, ["one", "", "twenty bytes of text"]);
  const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  assert.equal(answer, head + "3\r\none\r\n14\r\ntwenty bytes of text\r\n0\r\n\r\n");
});

Deno.test("Exchange ends content for HTTP/1.0 with the connection", async () => {
  const answer = await answerContent(OLD_GET, ["one", "two"]);
  assert.equal(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nonetwo");
});

Deno.test("Exchange sends no content, and no framing for it, to HEAD", async () => {
  assert.equal(await answerContent(HEAD, []), "HTTP/1.1 200 OK\r\n\r\n");
});

Deno.test("Exchange passes framed bytes on as they are", async () => {
  const [setup, { exchange, ends }] = await serving(GET);
  await using _ = setup;
  exchange.respond(200, "OK", [field("Transfer-Encoding", "chunked")], "framed");
  exchange.write(bytes("5;ext\r\nhel"));
  exchange.write(bytes("lo\r\n0\r\nX: y\r\n\r\n"));
  exchange.finish();
  const answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
    "5;ext\r\nhello\r\n0\r\nX: y\r\n\r\n";
  assert.equal(await setup.caller.response(answer), answer);
  assert.deepEqual(outcomes(ends), [{ status: 200, bytes: 25, isComplete: true }]);
});

Deno.test("Exchange.write lets framed bytes be freed once they have gone out, and not before", async () => {
  const [setup, { exchange }] = await serving(GET);
  await using _ = setup;
  const large = bytes("x".repeat(64 * 1024));
  exchange.respond(200, "OK", [field("Content-Length", "65536")], "framed");
  let isFreed = false;
  exchange.write(large, () => {
    isFreed = true;
    large.fill(0);
  });
  assert.equal(isFreed, false);
  const answer = await setup.caller.response(
    `HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n${"x".repeat(64 * 1024)}`,
  );
  assert.deepEqual([isFreed, answer.endsWith("x".repeat(64 * 1024))], [true, true]);
});

Deno.test("Exchange sends a head whose body does not come yet", async () => {
  const [setup, { exchange }] = await serving(GET);
  await using _ = setup;
  exchange.respond(200, "OK", [field("Content-Length", "9")], "framed");
  const head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
  assert.equal(await setup.caller.response(head), head);
});

Deno.test("Exchange.inform passes interim answers on before the final one", async () => {
  const [setup, { exchange }] = await serving(requestOf(
    "POST / HTTP/1.1",
    "Expect: 100-continue",
    "Content-Length: 2",
  ));
  await using _ = setup;
  const interim = (status: number, reason: string) => ({ status, reason, minor: 1, fields: [] });
  exchange.inform(interim(100, "Continue"), []);
  exchange.inform(interim(103, "Early Hints"), [field("Link", "</a>")]);
  const early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
  assert.equal(await setup.caller.response(early), early);
  const body = new Body();
  exchange.readBody(body);
  setup.caller.send("ok");
  await setup.settled();
  assert.deepEqual([body.text, body.endCount], ["ok", 1]);
  exchange.answer(200, "OK", [], bytes(""));
  exchange.inform(interim(103, "Early Hints"), []);
  const final = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  assert.equal(await setup.caller.response(final), final);
});

Deno.test("Exchange.inform says nothing to HTTP/1.0, which knows no interim answers", async () => {
  const [setup, { exchange }] = await serving(OLD_GET);
  await using _ = setup;
  exchange.inform({ status: 103, reason: "Early Hints", minor: 1, fields: [] }, []);
  exchange.answer(200, "OK", [], bytes("ok"));
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
  assert.equal(await setup.caller.ended(), answer);
});

Deno.test("Exchange answers once: what comes after is ignored", async () => {
  const [setup, { exchange, ends }] = await serving(GET);
  await using _ = setup;
  exchange.answer(200, "OK", [], bytes("first"));
  exchange.answer(500, "Internal Server Error", [], bytes("second"));
  exchange.respond(500, "Internal Server Error", [], "content");
  assert.equal(exchange.write(bytes("third")), true);
  exchange.finish();
  exchange.abort();
  await setup.settled();
  assert.equal(setup.caller.text, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst");
  assert.deepEqual([ends.length, setup.caller.events], [1, []]);
});

Deno.test("Exchange.abort resets the connection, so that nothing looks whole", async () => {
  const [setup, { exchange, ends, ...served }] = await serving(GET);
  await using _ = setup;
  exchange.respond(200, "OK", [], "content");
  exchange.write(bytes("half"));
  await setup.settled();
  exchange.abort();
  exchange.abort();
  assert.deepEqual(await setup.caller.closed(), ["error ECONNRESET", "close"]);
  assert.doesNotMatch(setup.caller.text, /0\r\n\r\n$/);
  assert.deepEqual([outcomes(ends), served.abortedCount], [
    [{ status: 200, bytes: 9, isComplete: false }],
    0,
  ]);
});

Deno.test("Exchange.abort before an answer sends none", async () => {
  const [setup, { exchange, ends }] = await serving(GET);
  await using _ = setup;
  exchange.abort();
  assert.deepEqual(await setup.caller.closed(), ["error ECONNRESET", "close"]);
  assert.equal(setup.caller.text, "");
  assert.deepEqual(outcomes(ends), [{ status: 0, bytes: 0, isComplete: false }]);
});

Deno.test("Exchange.write says when the caller does not keep up, and onDrain when it does", async () => {
  const setup = new Setup({ highWaterBytes: 100 });
  await using _ = setup;
  setup.caller.send(GET);
  const served = await setup.request();
  setup.caller.socket.pause();
  served.exchange.respond(200, "OK", [field("Content-Length", "300")], "framed");
  assert.equal(served.exchange.write(bytes("x".repeat(300))), false);
  await setup.settled();
  assert.equal(served.drainCount, 0);
  setup.caller.socket.resume();
  await setup.caller.until(() => setup.caller.text.endsWith("x".repeat(300)), "the body");
  await setup.settled();
  assert.equal(served.drainCount, 1);
});

Deno.test("Exchange.readBody hands over what has come already and what comes later", async () => {
  const [setup, { exchange, body }] = await serving(
    requestOf("POST / HTTP/1.1", "Content-Length: 6") + "abc",
  );
  await using _ = setup;
  assert.equal(body.text, "");
  exchange.readBody(body);
  assert.deepEqual([body.text, body.endCount], ["abc", 0]);
  setup.caller.send("def");
  await setup.settled();
  assert.deepEqual([body.text, body.endCount, exchange.isBodyDone], ["abcdef", 1, true]);
});

Deno.test("Exchange.readBody ends at once where there is no body", async () => {
  const [setup, { exchange, body }] = await serving(GET);
  await using _ = setup;
  exchange.readBody(body);
  assert.deepEqual([body.text, body.endCount], ["", 1]);
});

Deno.test("Exchange.readBody gives content without its chunks", async () => {
  const [setup, { exchange, body }] = await serving(
    UPLOAD + "5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n",
  );
  await using _ = setup;
  exchange.readBody(body);
  assert.deepEqual([body.text, body.endCount], ["hello!", 1]);
});

Deno.test("Exchange.readBody lets a reader free what is body and nothing else, and reads on", async () => {
  const large = "x".repeat(64 * 1024);
  const [setup, { exchange, body }] = await serving(
    requestOf("POST / HTTP/1.1", `Content-Length: ${large.length + 20_000}`),
  );
  await using _ = setup;
  const isFreed: boolean[] = [];
  exchange.readBody({
    data(bytes, free) {
      body.data(bytes);
      isFreed.push(free !== undefined);
      free?.();
    },
    end: () => body.end(),
  });
  setup.caller.send(large);
  await setup.settled();
  setup.caller.send("y".repeat(20_000) + GET);
  await setup.settled();
  assert.deepEqual([isFreed, body.endCount], [[true, false], 1]);
  assert.equal(body.text, large + "y".repeat(20_000));
  exchange.answer(200, "OK", [], bytes(""));
  await setup.settled();
  assert.deepEqual(setup.served.map(({ exchange }) => exchange.head.method), ["POST", "GET"]);
});

Deno.test("Exchange.pauseBody stops the caller, and resumeBody lets it go on", async () => {
  const [setup, { exchange, body }] = await serving(
    requestOf("POST / HTTP/1.1", "Content-Length: 50000"),
    { highWaterBytes: 1_000, pieceBytes: 1_000 },
  );
  await using _ = setup;
  exchange.readBody(body);
  setup.caller.send("x".repeat(10_000));
  await eventually(() => body.text.length === 10_000, "the first part of the body");
  exchange.pauseBody();
  setup.caller.send("x".repeat(40_000));
  await setup.settled();
  assert.ok(body.text.length <= 11_000, `${body.text.length} bytes came while paused`);
  assert.equal(setup.server.isPaused, true);
  exchange.resumeBody();
  await eventually(() => body.endCount > 0, "the end of the body");
  assert.deepEqual([body.text.length, body.endCount], [50_000, 1]);
});

Deno.test("Exchange leaves a body that nobody reads with the caller", async () => {
  const [setup, { body }] = await serving(
    requestOf("POST / HTTP/1.1", "Content-Length: 500000"),
    { highWaterBytes: 1_000, pieceBytes: 1_000 },
  );
  await using _ = setup;
  setup.caller.send("x".repeat(500_000));
  await setup.settled();
  assert.equal(setup.server.isPaused, true);
  assert.ok(setup.caller.socket.writableLength > 400_000);
  assert.equal(body.text, "");
});

Deno.test("Exchange.detach hands the connection over with what was read and not used", async () => {
  const [setup, { exchange, ends }] = await serving(
    requestOf("GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket") + "early bytes",
  );
  await using _ = setup;
  const { socket, head } = exchange.detach(101);
  assert.deepEqual(head, bytes("early bytes"));
  assert.equal(setup.closedCount, 1);
  assert.equal(exchange.isOver, true);
  socket.write(bytes("HTTP/1.1 101 Switching Protocols\r\n\r\nraw"));
  const answer = "HTTP/1.1 101 Switching Protocols\r\n\r\nraw";
  assert.equal(await setup.caller.response(answer), answer);
  const next = new Caller(setup.server);
  setup.caller.send(GET);
  await next.until(() => next.text === GET, "bytes that are nobody's request");
  assert.equal(setup.served.length, 1);
  assert.deepEqual(ends, []);
  exchange.detachedEnd(7, 5);
  exchange.detachedEnd(8, 5);
  assert.deepEqual(outcomes(ends), [{ status: 101, bytes: 7, isComplete: true }]);
  assert.deepEqual(ends.map(({ bytesIn }) => bytesIn), [5]);
});

Deno.test("Exchange takes an absolute-form target as it is", async () => {
  const [setup, { exchange }] = await serving(
    "GET http://relay:8080/tunnel/c/%2F?q HTTP/1.1\r\nHost: relay:8080\r\n\r\n",
  );
  await using _ = setup;
  assert.equal(exchange.head.target, "http://relay:8080/tunnel/c/%2F?q");
});

Deno.test("Exchange ends once when the caller goes away in the middle of its body", async () => {
  const [setup, served] = await serving(UPLOAD + "5\r\nhel");
  await using _ = setup;
  const { exchange, body, ends } = served;
  exchange.readBody(body);
  setup.caller.socket.destroy();
  await setup.until(() => setup.closedCount === 1, "the close");
  assert.deepEqual([body.text, body.endCount, served.abortedCount], ["hel", 0, 1]);
  assert.deepEqual(outcomes(ends), [{ status: 0, bytes: 0, isComplete: false }]);
  for (
    const act of [() => exchange.resumeBody(), () => exchange.pauseBody(), () => exchange.abort()]
  ) {
    act();
  }
  assert.deepEqual(ends.length, 1);
});

Deno.test("Exchange ends with the request's bytes and the times to its answer's head and end", async () => {
  const [setup, { exchange, body, ends }] = await serving(UPLOAD + "5\r\nhello\r\n0\r\n\r\n");
  await using _ = setup;
  exchange.readBody(body);
  setup.nowMs += 30;
  exchange.respond(200, "OK", [], "content");
  setup.nowMs += 70;
  exchange.write(bytes("ok"));
  exchange.finish();
  assert.deepEqual(ends, [{
    status: 200,
    bytes: "2\r\nok\r\n0\r\n\r\n".length,
    bytesIn: 5,
    firstByteMs: 30,
    ms: 100,
    isComplete: true,
  }]);
});

Deno.test("Exchange ends without a time to the first byte when there was none", async () => {
  const [setup, { exchange, ends }] = await serving(GET);
  await using _ = setup;
  setup.nowMs += 40;
  exchange.abort();
  assert.deepEqual([ends[0]!.firstByteMs, ends[0]!.ms], [undefined, 40]);
});

Deno.test("Exchange sends its own field with every final answer and with no interim one", async () => {
  const [setup, { exchange }] = await serving(GET);
  await using _ = setup;
  exchange.answerField = field("X-Request-Id", "abc");
  exchange.inform({ status: 103, reason: "Early Hints", minor: 1, fields: [] }, []);
  exchange.answer(204, "No Content", [], bytes(""));
  const answer = "HTTP/1.1 103 Early Hints\r\n\r\n" +
    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX-Request-Id: abc\r\n\r\n";
  assert.equal(await setup.caller.response(answer), answer);
});

/** An exchange whose answer's end is held; `settle` says what becomes of it. */
async function held(request: string) {
  const [setup, served] = await serving(request);
  const settle = Promise.withResolvers<(decision: EndDecision) => void>();
  const told: ExchangeEnd[] = [];
  served.exchange.beforeEnd = (end, verdict) => {
    told.push(end);
    settle.resolve(verdict);
  };
  return { setup, ...served, told, settle: settle.promise };
}

Deno.test("Exchange.beforeEnd holds a whole answer that fits one piece, head included", async () => {
  const { setup, exchange, ends, told, settle } = await held(GET);
  await using _ = setup;
  exchange.answer(200, "OK", [], bytes("ok"));
  await setup.settled();
  assert.deepEqual([setup.caller.text, ends, exchange.isOver], ["", [], false]);
  (await settle)("send");
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  assert.equal(await setup.caller.response(answer), answer);
  assert.deepEqual(outcomes(told), outcomes(ends));
  setup.caller.send(GET);
  await setup.request(1);
});

Deno.test("Exchange.beforeEnd holds the last piece of a long answer, and the last chunk", async () => {
  for (const mode of ["framed", "content"] as const) {
    const { setup, exchange, ends, told, settle } = await held(GET);
    await using _ = setup;
    exchange.respond(200, "OK", [], mode);
    exchange.write(bytes("first "));
    await setup.settled();
    exchange.finish(mode === "framed" ? bytes("last") : undefined);
    await setup.settled();
    assert.match(setup.caller.take(), /first (\r\n)?$/);
    (await settle)("send");
    await setup.settled();
    assert.equal(setup.caller.take(), mode === "framed" ? "last" : "0\r\n\r\n");
    assert.deepEqual(outcomes(told), outcomes(ends));
  }
});

Deno.test("Exchange.beforeEnd holds the head of an answer without a body", async () => {
  const { setup, exchange, settle } = await held(HEAD);
  await using _ = setup;
  exchange.respond(304, "Not Modified", [], "none");
  exchange.finish();
  await setup.settled();
  assert.equal(setup.caller.text, "");
  (await settle)("send");
  await setup.caller.response("HTTP/1.1 304 Not Modified\r\n\r\n");
});

Deno.test("Exchange: a held answer that must not end is cut off", async () => {
  for (const verdict of ["abort", "replace"] as const) {
    const { setup, exchange, ends, settle } = await held(GET);
    await using _ = setup;
    exchange.respond(200, "OK", [], "framed");
    exchange.write(bytes("first "));
    await setup.settled();
    exchange.finish(bytes("last"));
    (await settle)(verdict);
    assert.deepEqual(await setup.caller.closed(), ["error ECONNRESET", "close"]);
    assert.doesNotMatch(setup.caller.text, /last/);
    assert.deepEqual(ends.map(({ isComplete }) => isComplete), [false]);
  }
});

Deno.test("Exchange: a held answer of which nothing has left can be replaced", async () => {
  const { setup, exchange, ends, settle } = await held(GET);
  await using _ = setup;
  exchange.answer(403, "Forbidden", [], bytes("no"));
  (await settle)("replace");
  exchange.beforeEnd = undefined;
  assert.equal(exchange.isAnswered, false);
  exchange.answer(503, "Service Unavailable", [], bytes("later"));
  const answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater";
  assert.equal(await setup.caller.response(answer), answer);
  assert.deepEqual(outcomes(ends), [{ status: 503, bytes: 5, isComplete: true }]);
});

Deno.test("Exchange: a caller that leaves while the end is held ends it, once", async () => {
  const { setup, exchange, ends, settle } = await held(GET);
  await using _ = setup;
  exchange.answer(200, "OK", [], bytes("ok"));
  setup.caller.socket.destroy();
  await setup.until(() => setup.closedCount === 1, "the close");
  (await settle)("send");
  assert.deepEqual(ends.map(({ isComplete }) => isComplete), [false]);
});

Deno.test("whenSent frees nothing that may still be in use behind an error", () => {
  let freed = 0;
  const sent = whenSent(() => freed++);
  sent(new Error("The connection broke"));
  assert.equal(freed, 0);
  sent(null);
  sent();
  assert.equal(freed, 2);
});
