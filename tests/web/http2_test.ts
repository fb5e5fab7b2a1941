/** Requests over HTTP/2 as an app behind the web listener sees them, and clients that break rules. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { once } from "node:events";
import { connect as connectH2 } from "node:http2";
import { concat } from "../../lib/bytes/bytes.ts";
import { dateField } from "../../lib/http1/date.ts";
import { field } from "../../lib/http1/head.ts";
import type { Exchange, ExchangeEnd } from "../../lib/net/exchange.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import {
  codeOf,
  type Fields,
  Flag,
  frame,
  H2Client,
  Kind,
  number,
  requestFields,
} from "./h2_client.ts";
import { echo, type WebListener, withWebListener } from "./setup.ts";

const encoder = new TextEncoder();
const refusedBy = { protocol: 1, internal: 2, cancel: 8, calm: 11 } as const;

/** Takes a body as it comes, and answers behind it. */
function sink(exchange: Exchange): void {
  exchange.readBody({
    data() {},
    end: () => exchange.answer(200, "OK", [dateField()], encoder.encode("ok")),
  });
}

/** What the app saw of one request. */
async function seenOf({ port, ca }: WebListener, fields: Fields) {
  await using client = await H2Client.open(port, ca);
  client.request(1, fields);
  await client.until(() => client.body(1).isWhole || client.isEnded, "an answer");
  return JSON.parse(client.body(1).text);
}

Deno.test("The web listener answers fetch over HTTP/2, with a body both ways", async () => {
  await withWebListener({}, async ({ port, ca, told }) => {
    using client = Deno.createHttpClient({ caCerts: [ca], http1: false, http2: true });
    const url = `https://localhost:${port}/a/../b?q=%2F`;
    const response = await fetch(url, { client, method: "POST", body: "hello" });
    equal(response.status, 200);
    const { method, target, body, framing, isTls, serverName, shares } = await response.json();
    deepEqual([method, target, body, framing], ["POST", "/b?q=%2F", "hello", "length"]);
    deepEqual([isTls, serverName, shares], [true, "localhost", true]);
    deepEqual(told, []);
  });
});

Deno.test("The web listener answers HTTP/1.1 clients on the same port", async () => {
  await withWebListener({}, async ({ port, ca }) => {
    using client = Deno.createHttpClient({ caCerts: [ca], http1: true, http2: false });
    const response = await fetch(`https://localhost:${port}/`, { client });
    const { fields, serverName } = await response.json();
    equal(serverName, "localhost");
    deepEqual(
      fields.find(([name]: [string]) => name.toLowerCase() === "host")[1],
      `localhost:${port}`,
    );
  });
});

Deno.test("An HTTP/2 request reaches the app with Host, one Cookie and its fields in order", async () => {
  await withWebListener({}, async (listener) => {
    const { fields, framing, target } = await seenOf(
      listener,
      requestFields("/x//..%2f", [
        ["cookie", "a=1"],
        ["x-one", "1"],
        ["cookie", "b=2"],
        ["te", "trailers"],
        ["x-two", "é"],
        ["x-one", "3"],
      ]),
    );
    deepEqual([framing, target], ["none", "/x//..%2f"]);
    deepEqual(fields, [
      ["Host", "localhost"],
      ["cookie", "a=1; b=2"],
      ["x-one", "1"],
      ["te", "trailers"],
      ["x-two", "é"],
      ["x-one", "3"],
    ]);
  });
});

Deno.test("A request that is no valid HTTP/2 reaches no app", async (t) => {
  let seen = 0;
  await withWebListener({ handle: (exchange) => (seen++, echo(exchange)) }, async (listener) => {
    const { port, ca } = listener;
    const without = (name: string) => requestFields("/").filter(([key]) => key !== name);
    const cases: Record<string, Fields> = {
      "a name in upper case": requestFields("/", [["X-Up", "1"]]),
      "Connection": requestFields("/", [["connection", "close"]]),
      "Transfer-Encoding": requestFields("/", [["transfer-encoding", "chunked"]], "POST"),
      "Upgrade": requestFields("/", [["upgrade", "websocket"]]),
      "TE with a coding": requestFields("/", [["te", "gzip"]]),
      "no host": without(":authority"),
      "another Host": requestFields("/", [["host", "other"]]),
      "an authority with userinfo": [...without(":authority"), [":authority", "a@localhost"]],
      "no path": without(":path"),
      "a path without a slash": [...without(":path"), [":path", "x"]],
      "CONNECT": [[":method", "CONNECT"], [":authority", "localhost:1"]],
      "extended CONNECT": [
        ...without(":method").filter(([name]) => name.startsWith(":")),
        [":method", "CONNECT"],
        [":protocol", "websocket"],
      ],
      "too many fields": requestFields("/", Array.from({ length: 300 }, (_, n) => [`a${n}`, "b"])),
    };
    for (const [name, fields] of Object.entries(cases)) {
      await t.step(name, async () => {
        await using client = await H2Client.open(port, ca);
        client.request(1, fields, false);
        await client.until(
          () =>
            client.isEnded || client.body(1).isWhole ||
            client.frames.some(({ kind, stream }) => kind === Kind.reset && stream === 1),
          "a refusal",
        );
        equal(seen, 0);
      });
    }
    await t.step("and the listener goes on", async () => {
      equal((await seenOf(listener, requestFields("/"))).target, "/");
    });
  });
});

Deno.test("A field with a line break in its value is not split into two", async () => {
  await withWebListener({}, async (listener) => {
    const { fields } = await seenOf(listener, requestFields("/", [["x", "a\r\ny: b"]]));
    deepEqual(fields, [["Host", "localhost"]]);
  });
});

/** What an app was told of a request whose client did something with it. */
class Watched {
  readonly ends: ExchangeEnd[] = [];
  bodyEnds = 0;
  aborted = 0;
  bytes = 0;
  exchange: Exchange | undefined;

  readonly handle = (exchange: Exchange): void => {
    this.exchange = exchange;
    exchange.onEnd = (end) => this.ends.push(end);
    exchange.onAborted = () => this.aborted++;
    exchange.readBody({
      data: (bytes) => void (this.bytes += bytes.length),
      end: () => this.bodyEnds++,
    });
  };
}

Deno.test("A request body that breaks off over HTTP/2 never looks whole", async (t) => {
  const breaks: Record<string, (client: H2Client) => void> = {
    "a reset": (client) => client.send(frame(Kind.reset, 0, 1, number(refusedBy.cancel))),
    "the connection cut": (client) => client.socket.resetAndDestroy(),
    "the connection ended in order": (client) => client.socket.end(),
    "END_STREAM before the length that was promised": (client) =>
      client.send(frame(Kind.data, Flag.endStream, 1)),
  };
  for (const [name, breakOff] of Object.entries(breaks)) {
    await t.step(name, async () => {
      const watched = new Watched();
      await withWebListener({ handle: watched.handle }, async ({ port, ca }) => {
        await using client = await H2Client.open(port, ca);
        const fields = requestFields("/", [["content-length", "10"]], "POST");
        client.request(1, fields, true);
        client.send(frame(Kind.data, 0, 1, encoder.encode("abc")));
        await eventually(() => watched.bytes === 3, "the part that came");
        breakOff(client);
        await eventually(() => watched.ends.length > 0, "the end of the exchange");
        deepEqual([watched.bodyEnds, watched.aborted, watched.ends.length], [0, 1, 1]);
        deepEqual([watched.ends[0]!.isComplete, watched.ends[0]!.status], [false, 0]);
      });
    });
  }
});

Deno.test("An answer that breaks off over HTTP/2 is reset, and one that is whole is not", async () => {
  const begin = (exchange: Exchange): void => {
    exchange.respond(200, "OK", [dateField()], "content");
    exchange.write(encoder.encode("part"));
    if (exchange.head.target === "/whole") exchange.finish();
    else setTimeout(() => exchange.abort(), 50);
  };
  await withWebListener({ handle: begin }, async ({ port, ca }) => {
    await using client = await H2Client.open(port, ca);
    client.request(1, requestFields("/cut"));
    client.request(3, requestFields("/whole"));
    equal(codeOf(await client.next(Kind.reset, 1)), refusedBy.internal);
    await client.until(() => client.body(3).isWhole, "the whole answer");
    deepEqual(client.body(1), { text: "part", isWhole: false });
    deepEqual(client.body(3), { text: "part", isWhole: true });
  });
});

Deno.test("HEAD, 204, 304 and an empty answer end with their heads over HTTP/2", async () => {
  const statuses: Record<string, number> = { "/204": 204, "/304": 304 };
  const handle = (exchange: Exchange): void => {
    const status = statuses[exchange.head.target];
    if (status) {
      exchange.respond(status, "", [], "none");
      exchange.finish();
    } else exchange.answer(200, "OK", [], encoder.encode(exchange.head.target === "/" ? "" : "x"));
  };
  await withWebListener({ handle }, async ({ port, ca }) => {
    await using client = await H2Client.open(port, ca);
    const requests = [["/head", "HEAD"], ["/204", "GET"], ["/304", "GET"], ["/", "GET"]] as const;
    for (const [index, [path, method]] of requests.entries()) {
      const stream = 1 + 2 * index;
      client.request(stream, requestFields(path, [], method));
      ok(((await client.next(Kind.headers, stream)).flags & Flag.endStream) > 0, path);
    }
  });
});

Deno.test("An early answer reaches a client that is still sending, and its stream ends", async () => {
  const handle = (exchange: Exchange) => exchange.answer(413, "", [], encoder.encode("too large"));
  await withWebListener({ handle }, async ({ port, ca }) => {
    using client = Deno.createHttpClient({ caCerts: [ca], http1: false, http2: true });
    for (let count = 0; count < 3; count++) {
      const body = new Uint8Array(3_000_000);
      const response = await fetch(`https://localhost:${port}/`, { client, method: "PUT", body });
      deepEqual([response.status, await response.text()], [413, "too large"]);
    }
  });
});

Deno.test("Interim responses and repeated fields pass over HTTP/2", async () => {
  const handle = (exchange: Exchange): void => {
    exchange.inform({ status: 103, reason: "", minor: 1, fields: [] }, [field("Link", "</a>")]);
    const fields = [field("Set-Cookie", "a=1"), field("X", "1"), field("Set-Cookie", "b=2")];
    exchange.answer(200, "OK", [...fields, field("Connection", "X")], encoder.encode("ok"));
  };
  await withWebListener({ handle }, async ({ port, ca }) => {
    const session = connectH2(`https://localhost:${port}`, { ca });
    try {
      const request = session.request({ ":path": "/" });
      const interim = Promise.withResolvers<unknown>();
      request.on("headers", ({ ":status": status, link }) => interim.resolve([status, link]));
      const [headers] = await within(once(request, "response"), "the answer");
      deepEqual(await within(interim.promise, "the interim response"), [103, "</a>"]);
      deepEqual([headers["set-cookie"], headers.x, headers.connection], [
        ["a=1", "b=2"],
        "1",
        undefined,
      ]);
      request.resume();
      await within(once(request, "close"), "the end");
    } finally {
      session.destroy();
    }
  });
});

Deno.test("A client that takes nothing stops the app, and one that takes again lets it go on", async () => {
  let written = 0;
  let isDone = false;
  const chunk = new Uint8Array(64 * 1024);
  const count = 100;
  const handle = (exchange: Exchange): void => {
    exchange.respond(200, "OK", [], "content");
    const pump = (): void => {
      while (written < count) {
        written++;
        if (!exchange.write(chunk)) return;
      }
      isDone = true;
      exchange.finish();
    };
    exchange.onDrain = pump;
    pump();
  };
  await withWebListener({ handle }, async ({ port, ca }) => {
    await using client = await H2Client.open(port, ca);
    client.request(1, requestFields("/"));
    await client.next(Kind.data, 1);
    const stopped = await untilSteady(() => written, "the app");
    ok(stopped < 10, `${stopped} pieces were written beyond the window`);
    client.send(frame(Kind.windowUpdate, 0, 0, number(chunk.length * count)));
    client.send(frame(Kind.windowUpdate, 0, 1, number(chunk.length * count)));
    await client.until(() => client.body(1).isWhole, "the whole answer");
    equal(client.body(1).text.length, chunk.length * count);
    ok(isDone);
  });
});

Deno.test("A client whose upload is taken as it comes may send further ahead", async () => {
  await withWebListener({ handle: sink }, async ({ port, ca }) => {
    const session = connectH2(`https://localhost:${port}`, { ca });
    try {
      const windows: number[] = [];
      session.on("remoteSettings", ({ initialWindowSize }) => windows.push(initialWindowSize!));
      const upload = session.request({ ":path": "/", ":method": "POST" });
      const answered = within(once(upload, "response"), "the answer");
      const chunk = new Uint8Array(1024 * 1024);
      // However slow the machine is, some megabyte comes through within a round trip's time.
      while (windows.length < 2) {
        if (!upload.write(chunk)) await within(once(upload, "drain"), "the upload to go on");
        await new Promise((resolve) => setImmediate(resolve));
      }
      upload.end();
      await answered;
      upload.resume();
      deepEqual(windows.slice(0, 2), [256 * 1024, 1024 * 1024]);
    } finally {
      session.destroy();
    }
  });
});

Deno.test("An app that takes nothing stops the client, and the other requests of its connection go on", async () => {
  let paused: Exchange | undefined;
  let taken = 0;
  let isWhole = false;
  const handle = (exchange: Exchange): void => {
    if (exchange.head.target !== "/paused") return echo(exchange);
    paused = exchange;
    exchange.readBody({
      data: (bytes) => void (taken += bytes.length),
      end: () => isWhole = true,
    });
    exchange.pauseBody();
  };
  await withWebListener({ handle }, async ({ port, ca }) => {
    const session = connectH2(`https://localhost:${port}`, { ca });
    try {
      const upload = session.request({ ":path": "/paused", ":method": "POST" });
      upload.end(new Uint8Array(4_000_000));
      await eventually(() => paused !== undefined, "the request");
      const steady = await untilSteady(() => taken, "the upload");
      ok(steady < 1_000_000, `${steady} bytes were taken`);
      const other = session.request({ ":path": "/other" });
      const [headers] = await within(once(other, "response"), "the other request");
      equal(headers[":status"], 200);
      other.resume();
      paused!.resumeBody();
      await eventually(() => isWhole, "the whole body");
      equal(taken, 4_000_000);
      paused!.answer(200, "OK", [], encoder.encode("ok"));
      upload.resume();
      await within(once(upload, "close"), "the answer");
    } finally {
      session.destroy();
    }
  });
});

Deno.test("HTTP/2 clients that flood a listener lose their connection, and others do not", async (t) => {
  const floods: Record<string, (client: H2Client, n: number) => void> = {
    "requests that are reset at once": (client, n) => {
      client.request(1 + 2 * n, requestFields("/never"));
      client.send(frame(Kind.reset, 0, 1 + 2 * n, number(refusedBy.cancel)));
    },
    "pings": (client) => client.send(frame(Kind.ping, 0, 0, new Uint8Array(8))),
    "settings": (client) => client.send(frame(Kind.settings, 0, 0)),
    "header blocks without an end": (client, n) =>
      client.send(frame(n === 0 ? Kind.headers : Kind.continuation, 0, 1, new Uint8Array(1000))),
  };
  let opened = 0;
  let open = 0;
  const handle = (exchange: Exchange): void => {
    if (exchange.head.target !== "/never") return echo(exchange);
    opened++;
    open++;
    exchange.onEnd = () => open--;
  };
  await withWebListener({ handle }, async (listener) => {
    const { port, ca, told, server } = listener;
    for (const [name, flood] of Object.entries(floods)) {
      await t.step(name, async () => {
        await using client = await H2Client.open(port, ca);
        for (let n = 0; n < 20_000 && !client.isEnded; n++) {
          flood(client, n);
          if (n % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
        }
        await client.ended();
        equal((await seenOf(listener, requestFields("/"))).target, "/");
      });
    }
    ok(opened < 500, `${opened} requests were begun`);
    await eventually(() => open === 0, "their ends");
    match(told.join(), /abused resets/);
    await eventually(() => server.openConnections === 0, "the connections to end");
  });
});

Deno.test("Requests that are withdrawn among others, and answers that break off, cost no connection", async () => {
  const handle = (exchange: Exchange): void => {
    if (exchange.head.target === "/cut") exchange.abort();
    else if (exchange.head.target !== "/never") echo(exchange);
  };
  await withWebListener({ handle }, async ({ port, ca, told }) => {
    await using client = await H2Client.open(port, ca);
    let stream = 1;
    const ask = (path: string): number => {
      client.request(stream += 2, requestFields(path));
      return stream;
    };
    for (let round = 0; round < 6; round++) {
      for (let n = 0; n < 50; n++) {
        client.send(frame(Kind.reset, 0, ask("/never"), number(refusedBy.cancel)));
        ask("/cut");
        ask("/");
      }
      const last = stream;
      await client.until(() => client.body(last).isWhole || client.isEnded, "the answers");
    }
    deepEqual([client.isEnded, told], [false, []]);
  });
});

Deno.test("A listener takes so many HTTP/2 requests of one connection at a time", async () => {
  let open = 0;
  await withWebListener({ handle: () => void open++ }, async ({ port, ca }) => {
    await using client = await H2Client.open(port, ca);
    await client.next(Kind.settings, 0);
    for (let n = 0; n < 150; n++) client.request(1 + 2 * n, requestFields("/"));
    await client.next(Kind.reset, 299);
    equal(open, 100);
  });
});

Deno.test("A caller that does not take the end of its answer loses it after the stall timeout", async () => {
  const ends: ExchangeEnd[] = [];
  const handle = (exchange: Exchange): void => {
    exchange.onEnd = (end) => ends.push(end);
    exchange.answer(200, "OK", [], new Uint8Array(200_000));
  };
  const timeouts = { ...defaultConnectionTimeouts, stallMs: 300 };
  await withWebListener({ handle, timeouts, sweepMs: 50 }, async ({ port, ca }) => {
    await using client = await H2Client.open(port, ca);
    client.request(1, requestFields("/"));
    await client.next(Kind.reset, 1);
    equal(client.body(1).isWhole, false);
  });
});

Deno.test("HTTP/2 connections that stay idle or silent are closed", async () => {
  const timeouts = { ...defaultConnectionTimeouts, headMs: 200, idleMs: 200, lingerMs: 200 };
  await withWebListener({ timeouts, sweepMs: 50 }, async ({ port, ca, server }) => {
    await using silent = await H2Client.open(port, ca);
    await silent.ended();
    await using idle = await H2Client.open(port, ca);
    idle.request(1, requestFields("/"));
    await idle.until(() => idle.body(1).isWhole, "an answer");
    await idle.ended();
    await eventually(() => server.openConnections === 0, "the connections to end");
  });
});

Deno.test("A listener that stops says so over HTTP/2, answers what it has taken, and closes", async () => {
  let answer: (() => void) | undefined;
  const handle = (exchange: Exchange): void => {
    if (exchange.head.target !== "/slow") return echo(exchange);
    answer = () => exchange.answer(200, "OK", [], encoder.encode("late"));
  };
  await withWebListener({ handle }, async ({ port, ca, server }) => {
    await using client = await H2Client.open(port, ca);
    await using idle = await H2Client.open(port, ca);
    idle.request(1, requestFields("/"));
    await idle.until(() => idle.body(1).isWhole, "an answer");
    client.request(1, requestFields("/slow"));
    await eventually(() => answer !== undefined, "the request");
    server.leave();
    client.request(3, requestFields("/"));
    await client.until(() => client.body(3).isWhole, "an answer while it leaves");
    equal(codeOf(await client.next(Kind.goaway, 0)), 0);
    equal(idle.isEnded, false);
    server.stopAccepting();
    await idle.ended();
    equal(client.isEnded, false);
    answer!();
    await client.until(() => client.body(1).isWhole, "the answer that was under way");
    await client.ended();
    await within(server.drained(5_000), "the end");
    equal(server.openConnections, 0);
  });
});

Deno.test("An exception of an app over HTTP/2 is a 500, and the connection goes on", async () => {
  const handle = (exchange: Exchange): void => {
    if (exchange.head.target === "/bug") throw new Error("a bug");
    echo(exchange);
  };
  await withWebListener({ handle }, async ({ port, ca, told }) => {
    await using client = await H2Client.open(port, ca);
    client.request(1, requestFields("/bug"));
    client.request(3, requestFields("/"));
    await client.until(() => client.body(3).isWhole, "an answer");
    ok(((await client.next(Kind.headers, 1)).flags & Flag.endStream) > 0);
    deepEqual(told, ["fault Error: a bug"]);
  });
});

Deno.test("A trusted proxy names its client over HTTP/2, and nobody else does", async () => {
  for (
    const [trusted, address] of [["127.0.0.1", "192.0.2.7"], ["192.0.2.1", "127.0.0.1"]] as const
  ) {
    await withWebListener({ trusted }, async (listener) => {
      const fields = requestFields("/", [["x-forwarded-for", "192.0.2.7"]]);
      equal((await seenOf(listener, fields)).address, address);
    });
  }
});

Deno.test("A response that HTTP/2 cannot carry becomes 502", async () => {
  const handle = (exchange: Exchange) => exchange.answer(600, "", [], encoder.encode("x"));
  await withWebListener({ handle }, async ({ port, ca }) => {
    using client = Deno.createHttpClient({ caCerts: [ca], http1: false, http2: true });
    const response = await fetch(`https://localhost:${port}/`, { client });
    equal(response.status, 502);
    equal((await response.json()).error.code, "protocol");
  });
});

Deno.test("Clients that send GOAWAY and leave at once do not end the process", async () => {
  // Before, nghttp2 went on in memory that was freed, and met that after some four hundred connections.
  const connections = 600;
  const goaway = frame(Kind.goaway, 0, 0, concat(number(0), number(0)));
  await withWebListener({}, async ({ port, ca, server }) => {
    for (let count = 0; count < connections; count++) {
      await using client = await H2Client.open(port, ca);
      client.request(1, requestFields("/"));
      await client.until(() => client.body(1).isWhole, "the answer");
      client.send(goaway);
    }
    await eventually(() => server.openConnections === 0, "the connections to end");
  });
});

Deno.test("A WebSocket over HTTP/2 is refused, and nothing hangs", async () => {
  const handle: NonNullable<Parameters<typeof withWebListener>[0]["handle"]> = (
    exchange,
    bindings,
  ) => {
    rejects(bindings.acceptWebSocket()).then(() =>
      exchange.answer(200, "OK", [], encoder.encode("ok"))
    );
  };
  await withWebListener({ handle }, async ({ port, ca }) => {
    await using client = await H2Client.open(port, ca);
    client.request(1, requestFields("/"));
    await client.until(() => client.body(1).isWhole, "an answer");
  });
});
