/**
 * Hostile callers against the relay: whatever a caller sends, it is refused or is one request, and the
 * next request on the same pooled connection of the agent sees nothing of it.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { assertErrorText } from "../support/error_body.ts";
import { within } from "../support/deadline.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { type MalformedRequest, malformedRequests, malformedText } from "./malformed_requests.ts";
import { requestHead, type Tunnel, tunnelled, untilEnd, withTunnel } from "./tunnel.ts";
import { Witness } from "./witness.ts";
import {
  bodyText,
  latin1,
  latin1Text,
  methodOf,
  responsesIn,
  statusOf,
  valuesOf,
  type WireMessage,
} from "./wire.ts";

async function witnessOf(tunnel: Tunnel): Promise<Witness> {
  return await Witness.start(
    tunnel.target,
    async (path) => bodyText(await tunnel.ask(requestHead("GET", tunnelled(path)))),
  );
}

/** Sends bytes on a connection of their own and returns every answer up to its end. */
async function answersTo(
  tunnel: Tunnel,
  text: string,
  finish: (connection: RawConnection) => void = () => {},
): Promise<readonly WireMessage[]> {
  await using connection = await tunnel.caller();
  await connection.write(latin1(text));
  finish(connection);
  const { bytes } = await untilEnd(connection);
  const { messages, isCut } = await responsesIn(bytes);
  equal(isCut, false, `no answer may break off: ${latin1Text(bytes)}`);
  return messages;
}

function assertRefusal(answer: WireMessage): void {
  deepEqual(valuesOf(answer, "connection"), ["close"]);
  assertErrorText(bodyText(answer), statusOf(answer));
}

async function assertRefused(
  tunnel: Tunnel,
  witness: Witness,
  request: MalformedRequest,
): Promise<void> {
  const text = malformedText(request, tunnelled(""));
  const answers = await answersTo(tunnel, text, (connection) => {
    // Without an end there is nothing to answer until the caller gives up.
    if (request.status === undefined) connection.end();
  });
  deepEqual(answers.map(statusOf), request.status === undefined ? [] : [request.status]);
  answers.forEach(assertRefusal);
  if (request.fault === "head") await witness.sawNothing();
  else await witness.sawAtMostACut();
}

Deno.test("a malformed request is refused and nothing of it gets into the next one", async (t) => {
  await withTunnel(async (tunnel) => {
    const witness = await witnessOf(tunnel);
    for (const request of malformedRequests) {
      await tunnel.step(t, request.name, () => assertRefused(tunnel, witness, request));
    }
  });
});

/** A request that looks odd and is valid: exactly one must arrive, as its framing says. */
interface OddRequest {
  readonly name: string;
  readonly text: string;
  /** Statuses of all answers; the last request of the connection asks for its close or breaks. */
  readonly statuses: readonly number[];
  /** What the target must have seen besides its line: fields that must be there and the body. */
  readonly method?: string;
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  readonly body?: string;
}

const PATH = tunnelled("/odd");

function oddPost(fields: readonly string[], body: string): string {
  return requestHead("POST", PATH, [...fields, "Connection: close"]) + body;
}

const oddRequests: readonly OddRequest[] = [
  {
    name: "GET with a length of zero and bytes behind: they are the next request, and broken",
    text: requestHead("GET", PATH, ["Content-Length: 0"]) + "hello\r\n\r\n",
    statuses: [200, 400],
    fields: { "content-length": ["0"] },
  },
  {
    name: "GET without a length and bytes behind: they are the next request, and broken",
    text: requestHead("GET", PATH) + "0\r\n\r\n",
    statuses: [200, 400],
  },
  {
    name: "GET with a body: it goes on as one",
    text: requestHead("GET", PATH, ["Content-Length: 5", "Connection: close"]) + "hello",
    statuses: [200],
    body: "hello",
  },
  {
    name: "POST with more bytes than its length: the rest is the next request, and broken",
    text: requestHead("POST", PATH, ["Content-Length: 3"]) + "hello\r\n\r\n",
    statuses: [200, 400],
    method: "POST",
    body: "hel",
  },
  {
    name: "HTTP/1.2 is answered as HTTP/1.1",
    text: `GET ${PATH} HTTP/1.2\r\nHost: h\r\nConnection: close\r\n\r\n`,
    statuses: [200],
  },
  {
    name: "length with zeros in front",
    text: oddPost(["Content-Length: 0005"], "hello"),
    statuses: [200],
    method: "POST",
    body: "hello",
  },
  {
    name: "length in tabs and spaces",
    text: oddPost(["Content-Length:\t 5 \t"], "hello"),
    statuses: [200],
    method: "POST",
    body: "hello",
  },
  {
    name: "coding in capitals",
    text: oddPost(["TRANSFER-ENCODING: CHUNKED"], "5\r\nhello\r\n0\r\n\r\n"),
    statuses: [200],
    method: "POST",
    fields: { "transfer-encoding": ["chunked"] },
    body: "hello",
  },
  {
    name: "a length that Connection names stays",
    text: requestHead("POST", PATH, ["Content-Length: 5", "Connection: close, Content-Length"]) +
      "hello",
    statuses: [200],
    method: "POST",
    fields: { "content-length": ["5"] },
    body: "hello",
  },
  {
    name: "a coding that Connection names stays",
    text: requestHead("POST", PATH, [
      "Transfer-Encoding: chunked",
      "Connection: close, Transfer-Encoding",
    ]) +
      "5\r\nhello\r\n0\r\n\r\n",
    statuses: [200],
    method: "POST",
    fields: { "transfer-encoding": ["chunked"] },
    body: "hello",
  },
  {
    name: "Host that Connection names stays",
    text: requestHead("GET", PATH, ["Connection: close, Host"]),
    statuses: [200],
  },
  {
    name: "chunk extensions and hostile trailers are dropped",
    text: oddPost(
      ["Transfer-Encoding: chunked", "Trailer: Content-Length"],
      "5;a=b;c\r\nhello\r\n0;z\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n" +
        "Authorization: Bearer stolen\r\n folded\r\n\r\n",
    ),
    statuses: [200],
    method: "POST",
    fields: { "trailer": [], "content-length": [] },
    body: "hello",
  },
  {
    name: "a name with an underscore is not the name with a hyphen",
    text: oddPost(
      ["Content_Length: 100", "Transfer_Encoding: chunked", "Content-Length: 5"],
      "hello",
    ),
    statuses: [200],
    method: "POST",
    fields: { "content-length": ["5"] },
    body: "hello",
  },
  {
    name: "an empty line in front of the request",
    text: "\r\n" + requestHead("GET", PATH, ["Connection: close"]),
    statuses: [200],
  },
  {
    name: "absolute form, whose authority means nothing to us",
    text: requestHead("GET", `http://elsewhere.example${PATH}`, ["Connection: close"]),
    statuses: [200],
  },
  {
    name: "HTTP/1.0 that asks to keep the connection",
    text: `GET ${PATH} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`,
    statuses: [200],
  },
  {
    name: "an upgrade to HTTP/2 is not taken along: its requests would pass unread",
    text: requestHead("GET", PATH, [
      "Connection: close, Upgrade, HTTP2-Settings",
      "Upgrade: h2c",
      "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    ]),
    statuses: [200],
    fields: { "upgrade": [], "http2-settings": [] },
  },
];

Deno.test("an odd but valid request arrives as exactly one request", async (t) => {
  await withTunnel(async (tunnel) => {
    const witness = await witnessOf(tunnel);
    for (const odd of oddRequests) {
      await tunnel.step(t, odd.name, async () => {
        const answers = await answersTo(tunnel, odd.text);
        deepEqual(answers.map(statusOf), odd.statuses);
        const [request] = await witness.saw(["/odd"]);
        equal(methodOf(request!), odd.method ?? "GET");
        equal(bodyText(request!), odd.body ?? "");
        const { fields = {} } = odd;
        for (const [name, values] of Object.entries(fields)) {
          deepEqual(valuesOf(request!, name), values, name);
        }
        deepEqual(valuesOf(request!, "host"), [tunnel.target.address]);
      });
    }
  });
});

Deno.test("a request that breaks off ends at the target too, in each framing", async (t) => {
  const starts = {
    "in its request line": `POST ${PATH}`,
    "in its head": `POST ${PATH} HTTP/1.1\r\nHost: h\r\nContent-Le`,
    "before its body of known length": requestHead("POST", PATH, ["Content-Length: 10"]),
    "in its body of known length": requestHead("POST", PATH, ["Content-Length: 10"]) + "hello",
    "before its first chunk": requestHead("POST", PATH, ["Transfer-Encoding: chunked"]),
    "in a chunk's size": requestHead("POST", PATH, ["Transfer-Encoding: chunked"]) + "5",
    "in a chunk": requestHead("POST", PATH, ["Transfer-Encoding: chunked"]) + "5\r\nhel",
    "behind a chunk": requestHead("POST", PATH, ["Transfer-Encoding: chunked"]) + "5\r\nhello\r\n",
    "in the last chunk": requestHead("POST", PATH, ["Transfer-Encoding: chunked"]) + "0\r\n",
  };
  const ways = {
    "in good order": (connection: RawConnection): void => connection.end(),
    "with a reset": (connection: RawConnection): void => connection.reset(),
  };
  await withTunnel(async (tunnel) => {
    const witness = await witnessOf(tunnel);
    for (const [where, text] of Object.entries(starts)) {
      for (const [how, finish] of Object.entries(ways)) {
        await tunnel.step(t, `${where}, ${how}`, async () => {
          deepEqual(await answersTo(tunnel, text, finish), []);
          await witness.sawAtMostACut();
        });
      }
    }
  });
});

Deno.test("a broken request behind a good one leaves the good one its answer", async () => {
  await withTunnel(async (tunnel) => {
    const witness = await witnessOf(tunnel);
    const good = requestHead("GET", tunnelled("/good"));
    const broken = malformedRequests.filter(({ status, fault, text }) =>
      status !== undefined && fault === "head" && text.length < 4096
    );
    for (const request of broken) {
      const text = good + malformedText(request, tunnelled(""));
      const answers = await answersTo(tunnel, text);
      deepEqual(answers.map(statusOf), [200, request.status], request.name);
      equal(bodyText(answers[0]!), "GET /good", request.name);
    }
    await witness.sawOnly("/good", broken.length);
  });
});

Deno.test("a request that comes in two pieces is the same request, wherever it is cut", async () => {
  await withTunnel(async (tunnel) => {
    const text = requestHead("POST", tunnelled("/pieces"), [
      "X-Twice: 1",
      "Transfer-Encoding: chunked",
      "X-Twice: 2",
    ]) + "5;x\r\nhello\r\n1\r\n!\r\n0\r\nT: t\r\n\r\n";
    const witness = await witnessOf(tunnel);
    await using connection = await tunnel.caller();
    for (let at = 1; at < text.length; at++) {
      await connection.write(latin1(text.slice(0, at)));
      // The head's first piece must have been read alone: an answer to it would come before this one.
      await tunnel.ask(requestHead("GET", tunnelled("/between")));
      await connection.write(latin1(text.slice(at)));
      equal(bodyText(await tunnel.answerOn(connection)), "POST /pieces", `cut at ${at}`);
    }
    const count = text.length - 1;
    await witness.sawOnly("/pieces", count, (request) => {
      deepEqual(valuesOf(request, "x-twice"), ["1", "2"]);
      equal(bodyText(request), "hello!");
    }, ["/between"]);
  });
});

Deno.test("a head that does not come is answered with 408, a silent connection is closed", async () => {
  await withTunnel(async (tunnel) => {
    await using slow = await tunnel.caller();
    await using silent = await tunnel.caller();
    await slow.write(`GET ${PATH} HTTP/1.1\r\nHost: h\r\nX: `);
    await within(Promise.all([slow.reader.readToEnd(), silent.reader.readToEnd()]), "the timeout");
    match(slow.receivedText, /^HTTP\/1\.1 408 Request Timeout\r\n/);
    equal(silent.receivedBytes, 0);
  }, { relayArgs: ["-header-timeout", "3s"] });
});
