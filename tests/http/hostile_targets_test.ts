/**
 * Hostile and broken targets behind the whole tunnel: an answer that is no HTTP becomes a 502 that
 * says so, a body that breaks off never looks whole, and whatever a connection has carried besides
 * its answer, the next request does not see it.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { assertErrorText } from "../support/error_body.ts";
import { eventually, untilSteady } from "../support/deadline.ts";
import { ConnectionGoneError, type RawConnection } from "../support/raw_connection.ts";
import {
  answer,
  okWith,
  requestHead,
  type Script,
  type Tunnel,
  tunnelled,
  untilEnd,
  withTunnel,
} from "./tunnel.ts";
import {
  bodyText,
  latin1,
  latin1Text,
  responsesIn,
  statusOf,
  valuesOf,
  type WireMessage,
} from "./wire.ts";

const PATH = "/hostile";
/** An answer that must never reach a caller. */
const forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";

/** A request for the path that plays the hostile part, as a caller of this minor version sends it. */
function hostileRequest(minor: 0 | 1, method = "GET"): string {
  return `${method} ${tunnelled(PATH)} HTTP/1.${minor}\r\nHost: h\r\n\r\n`;
}

/** The relay's own answer to a failure: it says what happened and names nobody. */
function assertBadGateway(tunnel: Tunnel, response: WireMessage): void {
  equal(statusOf(response), 502);
  deepEqual(valuesOf(response, "content-type"), ["application/json"]);
  match(assertErrorText(bodyText(response), 502).message, /^[a-z]/);
  const { startLine, fields } = response;
  // The digits of a port may be in a random id.
  const told = fields.filter(([name]) => name.toLowerCase() !== "x-request-id");
  const said = [startLine, ...told.flat(), bodyText(response)].join("\n");
  const [host, port] = tunnel.target.address.split(":");
  ok(!said.includes(host!) && !said.includes(port!), `no address may be in it: ${said}`);
}

let askedAfter = 0;

/**
 * Asserts that the connections on which a script was played have been ended, and that the next
 * request gets its own answer.
 */
async function assertLeftBehind(
  tunnel: Tunnel,
  played: readonly RawConnection[],
): Promise<void> {
  const path = `/after/${++askedAfter}`;
  equal(bodyText(await tunnel.ask(requestHead("GET", tunnelled(path)))), `GET ${path}`);
  for (const connection of played) {
    await eventually(() => connection.isClosed, "the agent to end a connection that lost count");
  }
}

/** Plays a script at {@link PATH} and collects the connections that it was played on. */
function play(tunnel: Tunnel, script: Script): RawConnection[] {
  const played: RawConnection[] = [];
  tunnel.scripts.set(PATH, async (exchange) => {
    played.push(exchange.connection);
    await script(exchange);
  });
  return played;
}

/** Reads the request, sends bytes and ends the connection. */
function answerAndEnd(text: string): Script {
  return async ({ connection, request }) => {
    await request();
    await connection.write(latin1(text));
    connection.end();
  };
}

/** Reads the request, sends bytes and resets the connection once they have left. */
function answerAndReset(text: string): Script {
  return async ({ connection, request }) => {
    await request();
    await connection.write(latin1(text));
    connection.reset();
  };
}

/** Reads the request and sends the same bytes for as long as the agent takes them. */
function endless(start: string, piece: string): Script {
  return async ({ connection, request }) => {
    await request();
    await connection.write(latin1(start));
    try {
      for (;;) await connection.write(latin1(piece));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  };
}

/** Whether a write failed because the other side has ended the connection. */
function isGone(error: unknown): boolean {
  if (error instanceof ConnectionGoneError) return true;
  return error instanceof Error && "code" in error &&
    (error.code === "EPIPE" || error.code === "ECONNRESET");
}

function withFields(...lines: string[]): string {
  return ["HTTP/1.1 200 OK", ...lines, "", "hello"].join("\r\n");
}

const HEAD_LIMIT_BYTES = 64 * 1024;
const HEAD_LIMIT_FIELDS = 256;

/** Answers of which nothing must reach the caller. */
const refused: Readonly<Record<string, Script>> = {
  "length and coding": answer(withFields("Content-Length: 5", "Transfer-Encoding: chunked")),
  "coding and length": answer(withFields("Transfer-Encoding: chunked", "Content-Length: 5")),
  "length twice, different": answer(withFields("Content-Length: 5", "content-length: 4")),
  "length as a list": answer(withFields("Content-Length: 5, 5")),
  "length negative": answer(withFields("Content-Length: -5")),
  "length with a plus": answer(withFields("Content-Length: +5")),
  "length hexadecimal": answer(withFields("Content-Length: 0x5")),
  "length of 20 digits": answer(withFields("Content-Length: 99999999999999999999")),
  "length empty": answer(withFields("Content-Length:")),
  "coding twice": answer(withFields("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")),
  "coding unknown": answer(withFields("Transfer-Encoding: xchunked")),
  "coding gzip, chunked": answer(withFields("Transfer-Encoding: gzip, chunked")),
  "coding with a space before the colon": answer(withFields("Transfer-Encoding : chunked")),
  "coding in HTTP/1.0": answer("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
  "folded line": answer(withFields("X: y", " Content-Length: 5")),
  "bare LF in the head": answer(withFields("X: y\nContent-Length: 5")),
  "bare CR in the head": answer(withFields("X: y\rContent-Length: 5")),
  "NUL in a value": answer(withFields("Content-Length: 5", "X: y\x00")),
  "NUL in a name": answer(withFields("Content-Length: 5", "X\x00: y")),
  "control character in a value": answer(withFields("Content-Length: 5", "X: \x1b[2J")),
  "line without a colon": answer(withFields("Content-Length: 5", "X")),
  "line with an empty name": answer(withFields("Content-Length: 5", ": y")),
  "name with a space": answer(withFields("Content-Length: 5", "X y: z")),
  "status of two digits": answer("HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
  "status of four digits": answer("HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
  "status with a zero in front": answer("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
  "status with a sign": answer("HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
  "status that is no number": answer("HTTP/1.1 OK 200\r\nContent-Length: 0\r\n\r\n"),
  "two spaces in the status line": answer("HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
  "control character in the reason": answer("HTTP/1.1 200 O\x07K\r\nContent-Length: 0\r\n\r\n"),
  "HTTP/2.0 in the status line": answer("HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
  "no HTTP in the status line": answer("ICY 200 OK\r\nContent-Length: 0\r\n\r\n"),
  "empty line in front": answer("\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
  "not HTTP at all": answer("\x15\x03\x01\x00\x02\x02\x28\r\n\r\n"),
  "another protocol's greeting": answerAndEnd("SSH-2.0-OpenSSH_9.9\r\n"),
  "lines that end with bare LF": answerAndEnd("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
  "HTTP/0.9": answerAndEnd("<html>hello</html>"),
  "protocols changed unasked": answer(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" +
      forged,
  ),
  "interim answer that is broken": answer("HTTP/1.1 100 Continue\r\nX : y\r\n\r\n" + forged),
  "interim answer with a body": answer(
    "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + forged,
  ),
  "head over the limit": answer(withFields(`X: ${"y".repeat(HEAD_LIMIT_BYTES)}`)),
  "head with too many fields": answer(withFields(...new Array(HEAD_LIMIT_FIELDS + 1).fill("X: y"))),
  "head that never ends": endless("HTTP/1.1 200 OK\r\nX: ", "y".repeat(16 * 1024)),
  "head of fields that never ends": endless("HTTP/1.1 200 OK\r\n", "X: y\r\n".repeat(1024)),
  "no answer, ended": answerAndEnd(""),
  "no answer, reset": answerAndReset(""),
  "ended in the status line": answerAndEnd("HTTP/1.1 20"),
  "ended in the head": answerAndEnd("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"),
  "reset in the head": answerAndReset("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"),
  "ended behind an interim answer": answerAndEnd("HTTP/1.1 100 Continue\r\n\r\n"),
};

Deno.test("an answer that is no HTTP becomes a 502 without an address", async (t) => {
  await withTunnel(async (tunnel) => {
    for (const [name, script] of Object.entries(refused)) {
      await tunnel.step(t, name, async () => {
        const played = play(tunnel, script);
        assertBadGateway(tunnel, await tunnel.ask(hostileRequest(1)));
        await assertLeftBehind(tunnel, played);
      });
    }
  });
});

/** Answers that keep their connection, and the one line that tells each fault from all others. */
const reasons: Readonly<Record<string, readonly [text: string, reason: string]>> = {
  "both lengths": [
    withFields("Content-Length: 5", "Transfer-Encoding: chunked"),
    "Both Transfer-Encoding and Content-Length are there",
  ],
  "two lengths": [
    withFields("Content-Length: 5", "Content-Length: 4"),
    "Duplicate Content-Length with different values",
  ],
  "no length": [withFields("Content-Length: x"), "Content-Length is not a number"],
  "two codings": [
    withFields("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "Duplicate Transfer-Encoding",
  ],
  "chunked twice": [
    withFields("Transfer-Encoding: chunked, chunked"),
    "Transfer-Encoding names chunked twice",
  ],
  "another coding": [
    withFields("Transfer-Encoding: gzip"),
    "Transfer-Encoding is not supported; must be chunked",
  ],
  "a coding in HTTP/1.0": [
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding in HTTP/1.0",
  ],
  "a folded line": [
    withFields("X: y", " z: 5"),
    "Header line is folded, or begins with a space",
  ],
  "257 lines": [
    withFields(...new Array(HEAD_LIMIT_FIELDS + 1).fill("X: y")),
    `Head has over ${HEAD_LIMIT_FIELDS} fields`,
  ],
  "65 KiB": [
    withFields(`X: ${"y".repeat(HEAD_LIMIT_BYTES)}`),
    `Head is over ${HEAD_LIMIT_BYTES} bytes`,
  ],
  "ICY": ["ICY 200 OK\r\nContent-Length: 0\r\n\r\n", "It does not begin with HTTP/1."],
  "the greeting of another protocol": ["SSH-2.0-OpenSSH_9.9\r\n", "It does not begin with HTTP/1."],
  "a TLS alert": ["\x15\x03\x03\x00\x02\x02\x46", "It is TLS, not plain HTTP"],
  "status of two digits": ["HTTP/1.1 20 OK\r\n\r\n", "Status line is malformed"],
  "lines that end with LF alone": [
    "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "Status line ends with LF alone or holds a bare CR",
  ],
  "one line that ends with LF alone": [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\n",
    "Header line holds a bare CR or LF",
  ],
  "an empty line that is LF alone": [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello",
    "Header line holds a bare CR or LF",
  ],
  "a name with a space": ["HTTP/1.1 200 OK\r\nX : y\r\n", "Header name is not a token"],
  "a line without a colon": ["HTTP/1.1 200 OK\r\nX\r\n", "Header line has no colon"],
  "a NUL": ["HTTP/1.1 200 OK\r\nX: \0", "Head holds a control character"],
  "101 unasked": ["HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n", "It changes protocols unasked"],
  "a chunk without a size": [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "Chunk size is not a hexadecimal number",
  ],
};

Deno.test("an answer that is refused is refused at once, with a reason in the 502 and in both logs", async (t) => {
  await withTunnel(async (tunnel) => {
    for (const [name, [text, reason]] of Object.entries(reasons)) {
      await tunnel.step(t, name, async () => {
        const played = play(tunnel, answer(text));
        const id = `reason-${Object.keys(reasons).indexOf(name)}`;
        const request = hostileRequest(1).replace("\r\n\r\n", `\r\nX-Request-Id: ${id}\r\n\r\n`);
        const response = await tunnel.ask(request);
        assertBadGateway(tunnel, response);
        const { message } = assertErrorText(bodyText(response), 502);
        equal(message, `the target's response is not valid HTTP: ${reason}`);
        for (const { program } of [tunnel.relay, tunnel.agent]) {
          await program.waitForLog(
            (line) => line.request_id === id && JSON.stringify(line).includes(reason),
            { what: `the reason in the log: ${reason}` },
          );
        }
        await assertLeftBehind(tunnel, played);
      });
    }
  });
});

/** A body that begins well: the caller gets its first bytes, and only then it goes wrong. */
interface BrokenBody {
  readonly begin: string;
  /** What follows, up to the break if there is one. */
  readonly rest: string;
  readonly ending: "end" | "reset" | "none";
}

const lengthBegin = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nbegun";
const chunkedBegin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n";
const closeBegin = "HTTP/1.1 200 OK\r\n\r\nbegun";

function badChunk(rest: string): BrokenBody {
  return { begin: chunkedBegin, rest, ending: "none" };
}

const brokenBodies: Readonly<Record<string, BrokenBody>> = {
  "known length, ended": { begin: lengthBegin, rest: "", ending: "end" },
  "known length, ended one byte short": {
    begin: lengthBegin,
    rest: "12345678901234",
    ending: "end",
  },
  "known length, reset": { begin: lengthBegin, rest: "", ending: "reset" },
  "chunked, ended between chunks": { begin: chunkedBegin, rest: "", ending: "end" },
  "chunked, ended in a size": { begin: chunkedBegin, rest: "5", ending: "end" },
  "chunked, ended in a chunk": { begin: chunkedBegin, rest: "5\r\nhel", ending: "end" },
  "chunked, ended behind a chunk's data": { begin: chunkedBegin, rest: "1\r\n!", ending: "end" },
  "chunked, ended in the last chunk": { begin: chunkedBegin, rest: "0\r\n", ending: "end" },
  "chunked, ended in a trailer": { begin: chunkedBegin, rest: "0\r\nX: y\r\n", ending: "end" },
  "chunked, ended before its last byte": { begin: chunkedBegin, rest: "0\r\n\r", ending: "end" },
  "chunked, reset between chunks": { begin: chunkedBegin, rest: "", ending: "reset" },
  "until the connection ends, reset": { begin: closeBegin, rest: "", ending: "reset" },
  "chunk size that is no number": badChunk("x\r\nhello\r\n0\r\n\r\n"),
  "chunk size negative": badChunk("-5\r\nhello\r\n0\r\n\r\n"),
  "chunk size with a space inside": badChunk("1 0\r\nhello\r\n0\r\n\r\n"),
  "chunk size of 17 digits": badChunk("10000000000000005\r\nhello\r\n0\r\n\r\n"),
  "chunk size over 2^53": badChunk("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
  "chunk size missing": badChunk("\r\nhello\r\n0\r\n\r\n"),
  "bare LF behind a chunk size": badChunk("5\nhello\r\n0\r\n\r\n"),
  "bare LF behind a chunk": badChunk("5\r\nhello\n0\r\n\r\n"),
  "chunk longer than its size": badChunk("3\r\nhello\r\n0\r\n\r\n"),
  "control character in a chunk extension": badChunk("5;\x01\r\nhello\r\n0\r\n\r\n"),
  "control character in a trailer": badChunk("0\r\nX: \x01\r\n\r\n"),
  "bare LF in a trailer": badChunk("0\r\nX: y\nZ: z\r\n\r\n"),
  "endless chunk extension": badChunk(`5;${"a".repeat(17 * 1024)}\r\nhello\r\n0\r\n\r\n`),
  "endless trailers": badChunk(`0\r\nX: ${"a".repeat(17 * 1024)}\r\n\r\n`),
};

/** A script that waits between its parts until the caller has the first one. */
function gated({ begin, rest, ending }: BrokenBody, gate: Promise<void>): Script {
  return async ({ connection, request }) => {
    await request();
    await connection.write(latin1(begin));
    await gate;
    if (rest !== "") await connection.write(latin1(rest));
    if (ending === "end") connection.end();
    if (ending === "reset") connection.reset();
  };
}

Deno.test("a body that goes wrong breaks the caller's connection and never looks whole", async (t) => {
  await withTunnel(async (tunnel) => {
    for (const [name, body] of Object.entries(brokenBodies)) {
      for (const minor of [1, 0] as const) {
        await tunnel.step(t, `${name}, caller of HTTP/1.${minor}`, async () => {
          const gate = Promise.withResolvers<void>();
          const played = play(tunnel, gated(body, gate.promise));
          await using caller = await tunnel.caller();
          await caller.write(hostileRequest(minor));
          await eventually(() => caller.receivedText.includes("begun"), "the body to begin");
          gate.resolve();
          const { bytes, isBroken } = await untilEnd(caller);
          // To HTTP/1.0 an orderly end would be the end of the body: only a reset says otherwise.
          if (minor === 0) equal(isBroken, true, "the connection must break");
          const { messages, isCut } = await responsesIn(bytes);
          ok(isBroken || isCut, `the body must not look whole: ${latin1Text(bytes)}`);
          if (minor === 1) deepEqual(messages, [], "no answer may look whole");
          await assertLeftBehind(tunnel, played);
        });
      }
    }
  });
});

Deno.test("a body that goes wrong together with its head never looks whole either", async (t) => {
  await withTunnel(async (tunnel) => {
    for (const [name, body] of Object.entries(brokenBodies)) {
      await tunnel.step(t, name, async () => {
        const played = play(tunnel, gated(body, Promise.resolve()));
        await using caller = await tunnel.caller();
        await caller.write(requestHead("GET", tunnelled(PATH), ["Connection: close"]));
        const { bytes } = await untilEnd(caller);
        const { messages } = await responsesIn(bytes);
        // Whether the head had left already is a matter of time; a whole answer is the relay's own.
        if (messages.length > 0) assertBadGateway(tunnel, messages[0]!);
        ok(messages.length <= 1);
        await assertLeftBehind(tunnel, played);
      });
    }
  });
});

/** An answer that is whole, with something behind it that is not the caller's. */
interface Overlong {
  readonly method?: string;
  readonly text: string;
  readonly status?: number;
  readonly body: string;
  readonly fields?: Readonly<Record<string, readonly string[]>>;
}

const overlong: Readonly<Record<string, Overlong>> = {
  "a body after HEAD": {
    method: "HEAD",
    text: "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n" + forged,
    body: "",
    fields: { "content-length": ["44"] },
  },
  "a chunked body after HEAD": {
    method: "HEAD",
    text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    body: "",
    fields: { "content-length": [] },
  },
  "a body after 204": {
    text: "HTTP/1.1 204 No Content\r\n\r\n" + forged,
    status: 204,
    body: "",
  },
  "a body after 204 with a length": {
    text: "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n" + forged,
    status: 204,
    body: "",
    // RFC 9110 section 8.6: none may be sent; a caller that believed it would wait for ever.
    fields: { "content-length": [] },
  },
  "a chunked body after 204": {
    text: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    status: 204,
    body: "",
    fields: { "transfer-encoding": [] },
  },
  "a body after 304 with a length": {
    text: "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n" + forged,
    status: 304,
    body: "",
    fields: { "content-length": ["44"] },
  },
  "bytes behind a known length": {
    text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
    body: "hello",
  },
  "an answer behind a known length": {
    text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + forged,
    body: "hello",
  },
  "an answer behind a length of zero": {
    text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + forged,
    body: "",
  },
  "an answer behind the last chunk": {
    text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + forged,
    body: "hello",
  },
  "an interim answer behind the answer": {
    text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 100 Continue\r\n\r\n",
    body: "hello",
  },
};

Deno.test("what a target sends behind its answer reaches nobody", async (t) => {
  await withTunnel(async (tunnel) => {
    for (const [name, { method = "GET", text, ...wanted }] of Object.entries(overlong)) {
      await tunnel.step(t, name, async () => {
        const played = play(tunnel, answer(text));
        await using caller = await tunnel.caller();
        await caller.write(hostileRequest(1, method));
        const response = await tunnel.answerOn(caller, method);
        equal(statusOf(response), wanted.status ?? 200);
        equal(bodyText(response), wanted.body);
        for (const [field, values] of Object.entries(wanted.fields ?? {})) {
          deepEqual(valuesOf(response, field), values, field);
        }
        // On the caller's own connection the next answer is its own, too.
        await caller.write(requestHead("GET", tunnelled("/same")));
        equal(bodyText(await tunnel.answerOn(caller)), "GET /same");
        await assertLeftBehind(tunnel, played);
      });
    }
    await tunnel.step(t, "an answer on an idle connection", async () => {
      const played = play(tunnel, answer(latin1Text(okWith("hello"))));
      equal(bodyText(await tunnel.ask(hostileRequest(1))), "hello");
      await played[0]!.write(forged);
      await eventually(
        () => played[0]!.isClosed,
        "the agent to end a connection that talks unasked",
      );
      await assertLeftBehind(tunnel, played);
    });
  });
});

Deno.test("an answer that comes before any request answers no later one", async () => {
  await withTunnel(async (tunnel) => {
    tunnel.scripts.greeting = forged;
    const first = await tunnel.ask(requestHead("GET", tunnelled("/first")));
    tunnel.scripts.greeting = "";
    // Where it comes together with the first request nobody can tell it from the first answer; but
    // the second request must not get the first one's answer then, and so on for ever.
    const isInStep = bodyText(first) === "GET /first";
    if (!isInStep && bodyText(first) !== "forged") assertBadGateway(tunnel, first);
    for (const connection of isInStep ? [] : [...tunnel.target.connections]) {
      await eventually(() => connection.isClosed, "the agent to end a connection that lost count");
    }
    await assertLeftBehind(tunnel, []);
  });
});

Deno.test("odd but valid answers arrive whole", async (t) => {
  const answers: Record<string, [text: string, status: number, body: string]> = {
    "no reason": ["HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"],
    "empty reason": ["HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", 200, "hello"],
    "reason in other letters": [
      "HTTP/1.1 404 Nicht da \xe4\xf6\xfc\r\nContent-Length: 0\r\n\r\n",
      404,
      "",
    ],
    "HTTP/1.0 with a length": ["HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"],
    "length with zeros in front": [
      "HTTP/1.1 200 OK\r\nContent-Length: 005\r\n\r\nhello",
      200,
      "hello",
    ],
    "coding in capitals": [
      "HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
      200,
      "hello",
    ],
    "chunk sizes with zeros, capitals and extensions": [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
      '0A;a="b;c"\r\n0123456789\r\n00005;x\r\nhello\r\n000\r\n\r\n',
      200,
      "0123456789hello",
    ],
    "length twice, equal": [
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello",
      200,
      "hello",
    ],
    "length twice, equal, behind an interim answer": [
      "HTTP/1.1 103 Early Hints\r\n\r\n" +
      "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
      200,
      "hello",
    ],
    "chunk sizes with blanks behind and many zeros in front": [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
      "5   \r\nhello\r\n0000000000000006\t\r\n, all!\r\n0  \r\n\r\n",
      200,
      "hello, all!",
    ],
    "trailers": [
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
      200,
      "hello",
    ],
    "interim answers without end": [
      "HTTP/1.1 102 Processing\r\n\r\n".repeat(500) + latin1Text(okWith("hello")),
      200,
      "hello",
    ],
    "status without a meaning": ["HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", 599, ""],
  };
  await withTunnel(async (tunnel) => {
    for (const [name, [text, status, body]] of Object.entries(answers)) {
      for (const minor of [1, 0] as const) {
        await tunnel.step(t, `${name}, caller of HTTP/1.${minor}`, async () => {
          play(tunnel, answer(text));
          const response = await tunnel.ask(hostileRequest(minor));
          equal(statusOf(response), status);
          equal(bodyText(response), body);
          await assertLeftBehind(tunnel, []);
        });
      }
    }
    for (const minor of [1, 0] as const) {
      await tunnel.step(t, `until the connection ends, caller of HTTP/1.${minor}`, async () => {
        const played = play(tunnel, answerAndEnd("HTTP/1.0 200 OK\r\n\r\nhello"));
        const response = await tunnel.ask(hostileRequest(minor));
        equal(bodyText(response), "hello");
        equal(response.framing, minor === 1 ? "chunked" : "close");
        await assertLeftBehind(tunnel, played);
      });
    }
  });
});

Deno.test("interim answers without end wait for a caller that does not read", async () => {
  await withTunnel(async (tunnel) => {
    const played = play(tunnel, endless("", "HTTP/1.1 102 Processing\r\n\r\n".repeat(400)));
    await using caller = await tunnel.caller();
    await caller.write(hostileRequest(1));
    await eventually(() => caller.receivedBytes > 0, "the first interim answer");
    // The caller reads no further: the target must be brought to a stand, not the relay's memory.
    const standing = await untilSteady(() => played[0]!.writtenBytes, "the target's writing");
    ok(standing < 64 * 1024 * 1024, `${standing} bytes were taken that nobody reads`);
    caller.destroy();
    await assertLeftBehind(tunnel, played);
  });
});
