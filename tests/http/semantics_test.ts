/**
 * What the relay promises its callers and the target, over real connections: each promise is one step,
 * and what is sent and received is compared whole.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { withoutDate } from "../support/date_field.ts";
import { errorText } from "../support/error_body.ts";
import { concatBytes } from "../support/byte_reader.ts";
import { within } from "../support/deadline.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { refusingAddress } from "../support/target.ts";
import { chunk, endOf, holding, ok200, playing, record } from "./playing.ts";
import {
  answer,
  CLUSTER,
  CREDENTIAL,
  graceArgs,
  okWith,
  requestHead,
  type Script,
  TOKEN,
  tunnelled,
  untilEnd,
  withTunnel,
} from "./tunnel.ts";
import {
  bodyText,
  latin1Text,
  methodOf,
  readWireHead,
  statusOf,
  targetOf,
  valuesOf,
  type WireField,
  type WireHead,
} from "./wire.ts";

/** A caller's id for its request, which comes back as it is. */
const ID = "X-Request-Id: an-id";
/** In an answer of the target's: to one without it the relay adds the time of now. */
const DATE = "Date: Sun, 06 Nov 1994 08:49:37 GMT";

/** The last value of `Via`, which is the relay's own, and names it by digits of its own choice. */
function ownVia(head: WireHead): string {
  const own = valuesOf(head, "via").at(-1) ?? "";
  match(own, /^1\.1 culvert-[0-9a-f]{8}$/);
  return own;
}

Deno.test("requests reach the target as they were sent", async (t) => {
  await withTunnel(async (tunnel) => {
    await tunnel.step(t, "path and query, byte for byte", async () => {
      const paths = [
        "/",
        "/a/../b//c%2Fd?x=%20&y",
        "//double//slashes//",
        "/./.././..",
        "/%2e%2e/%2E%2E/%00%0d%0a",
        "/a;b=c,d/(e)!$&'*+:@=~",
        "/ends/with/slash/",
        "/?",
        "/?a?b/c=/../d",
        "/q?a=1&a=2&&=",
        '/"<>\\^`{|}',
        "/\xe4\xf6\xfc/\xff?\xa0",
        "/http://elsewhere.example/x",
        "/tunnel/http/again",
        `/${"long/".repeat(1_000)}`,
      ];
      for (const path of paths) {
        const requests = record(tunnel, path);
        equal(statusOf(await tunnel.ask(requestHead("GET", tunnelled(path)))), 200, path);
        deepEqual(requests.map(targetOf), [path]);
      }
    });

    await tunnel.step(t, "a cluster without a path is its root", async () => {
      const asked = { "": "/", "?": "/?", "?x=/y": "/?x=/y" };
      for (const [sent, path] of Object.entries(asked)) {
        const requests = record(tunnel, path);
        await tunnel.ask(requestHead("GET", `/tunnel/${CLUSTER}${sent}`));
        deepEqual(requests.map(targetOf), [path]);
      }
    });

    await tunnel.step(t, "every method, also those that nobody has heard of", async () => {
      const requests = record(tunnel, "/method", async ({ connection, head }) => {
        await connection.write(okWith("hello", methodOf(head)));
      });
      const methods = [
        ...["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        ...["PROPFIND", "M-SEARCH", "BREW", "get", "Get", "A", "!#$%&'*+-.^_`|~0z"],
      ];
      for (const method of methods) {
        const response = await tunnel.ask(requestHead(method, tunnelled("/method")));
        equal(statusOf(response), 200, method);
        equal(bodyText(response), method === "HEAD" ? "" : "hello", method);
        deepEqual(valuesOf(response, "content-length"), ["5"], method);
      }
      deepEqual(requests.map(methodOf), methods);
    });

    await tunnel.step(t, "fields in order and spelling, repeated ones kept", async () => {
      const requests = record(tunnel, "/fields");
      const sent = [
        "X-First: 1",
        "accept: text/html",
        "Accept: application/json;q=0.5",
        "X-EMPTY:",
        "cookie: a=b",
        "X-First: 2",
        "x-obs: \xe4\xff",
        "X-Spaces:   a \t b   ",
        "Cookie: c=d",
        "Content-Length: 3",
        "Max-Forwards: 3",
        "Via: 1.1 before",
        "x-request-id: an-id",
      ];
      await tunnel.ask(requestHead("POST", tunnelled("/fields"), sent), "abc");
      deepEqual(requests[0]!.fields, [
        ["Host", tunnel.target.address],
        ["X-First", "1"],
        ["accept", "text/html"],
        ["Accept", "application/json;q=0.5"],
        ["X-EMPTY", ""],
        ["cookie", "a=b"],
        ["X-First", "2"],
        ["x-obs", "\xe4\xff"],
        ["X-Spaces", "a \t b"],
        ["Cookie", "c=d"],
        ["Content-Length", "3"],
        ["Max-Forwards", "3"],
        ["Via", "1.1 before"],
        ["X-Forwarded-For", "127.0.0.1"],
        ["X-Forwarded-Proto", "http"],
        ["X-Forwarded-Host", "caller.example"],
        ["X-Forwarded-Prefix", `/tunnel/${CLUSTER}`],
        ["X-Request-Id", "an-id"],
        ["Via", ownVia(requests[0]!)],
        ["Authorization", `Bearer ${CREDENTIAL}`],
      ]);
    });

    await tunnel.step(
      t,
      "fields of one hop, of the caller or of nobody's business are gone",
      async () => {
        const requests = record(tunnel, "/dropped");
        await tunnel.ask(requestHead("GET", tunnelled("/dropped"), [
          "Connection: keep-alive, X-Hop",
          "x-hop: 1",
          "Keep-Alive: timeout=5",
          "Proxy-Connection: keep-alive",
          "TE: trailers",
          "Trailer: X",
          "Proxy-Authorization: Basic x",
          "Authorization: Bearer caller",
          "AUTHORIZATION: Basic caller",
          "Impersonate-User: admin",
          "impersonate-group: system:masters",
          "Impersonate-Extra-scopes: all",
          "X-Forwarded-For: 10.0.0.1",
          "x-forwarded-for: 10.0.0.2",
          "X-Forwarded-Proto: https",
          "X-Forwarded-Host: forged.example",
          "Forwarded: for=10.0.0.1",
          "X-Kept: 1",
          "X-Request-Id: an-id",
        ]));
        deepEqual(requests[0]!.fields, [
          ["Host", tunnel.target.address],
          ["X-Kept", "1"],
          ["X-Forwarded-For", "127.0.0.1"],
          ["X-Forwarded-Proto", "http"],
          ["X-Forwarded-Host", "caller.example"],
          ["X-Forwarded-Prefix", `/tunnel/${CLUSTER}`],
          ["X-Request-Id", "an-id"],
          ["Via", ownVia(requests[0]!)],
          ["Authorization", `Bearer ${CREDENTIAL}`],
        ]);
      },
    );

    await tunnel.step(t, "a bearer token among WebSocket subprotocols is gone", async () => {
      const requests = record(tunnel, "/subprotocols");
      const token = "base64url.bearer.authorization.k8s.io.dG9rZW4";
      for (const offered of [`${token}, v5.channel.k8s.io`, `v4.channel.k8s.io,${token}`, token]) {
        const fields = [`Sec-WebSocket-Protocol: ${offered}`];
        await tunnel.ask(requestHead("GET", tunnelled("/subprotocols"), fields));
      }
      const values = requests.map((request) => valuesOf(request, "sec-websocket-protocol"));
      deepEqual(values, [["v5.channel.k8s.io"], ["v4.channel.k8s.io"], []]);
    });

    await tunnel.step(
      t,
      "bodies in chunks stay in chunks, those of known length have it",
      async () => {
        const requests = record(tunnel, "/body");
        const body = "y".repeat(100_000);
        await tunnel.ask(
          requestHead("PUT", tunnelled("/body"), ["Transfer-Encoding: chunked"]),
          chunk(body) + chunk("z") + "0\r\n\r\n",
        );
        await tunnel.ask(
          requestHead("PUT", tunnelled("/body"), [`Content-Length: ${body.length}`]),
          body,
        );
        await tunnel.ask(requestHead("PUT", tunnelled("/body"), ["Content-Length: 0"]));
        deepEqual(requests.map(({ framing }) => framing), ["chunked", "length", "length"]);
        deepEqual(requests.map(bodyText), [body + "z", body, ""]);
      },
    );

    await tunnel.step(t, "a head of 60 KB, both ways", async () => {
      const value = "y".repeat(60_000);
      const requests = record(
        tunnel,
        "/long-head",
        answer(`HTTP/1.1 200 OK\r\nX-Long: ${value}\r\nContent-Length: 5\r\n\r\nhello`),
      );
      const fields = [`X-Long: ${value}`];
      const response = await tunnel.ask(requestHead("GET", tunnelled("/long-head"), fields));
      deepEqual(valuesOf(response, "x-long"), [value]);
      equal(bodyText(response), "hello");
      deepEqual(valuesOf(requests[0]!, "x-long"), [value]);
    });
  }, { entry: { impersonation: "strip" } });
});

Deno.test("a cluster that allows impersonation gets it, and nothing else of the caller's", async () => {
  await withTunnel(async (tunnel) => {
    const requests = record(tunnel, "/");
    await tunnel.ask(requestHead("GET", tunnelled("/"), [
      "Impersonate-User: jane",
      "Impersonate-Group: dev",
      "Impersonate-Group: ops",
      "Authorization: Bearer caller",
    ]));
    deepEqual(requests[0]!.fields.filter(([name]) => /^(impersonate|authorization)/i.test(name)), [
      ["Impersonate-User", "jane"],
      ["Impersonate-Group", "dev"],
      ["Impersonate-Group", "ops"],
      ["Authorization", `Bearer ${CREDENTIAL}`],
    ]);
  }, { entry: { impersonation: "forward" } });
});

Deno.test("a request that impersonates is refused, in words that kubectl shows, and reaches no target", async (t) => {
  await withTunnel(async (tunnel) => {
    const message = "the request has Impersonate-* headers (kubectl --as), which the relay " +
      `refuses for cluster ${CLUSTER}: its entry can say "impersonation": "forward" or "strip"`;
    const requests = record(tunnel, "/x");
    const lines = [
      "Impersonate-User: nobody",
      "impersonate-group: view",
      "Impersonate_User: nobody",
      "IMPERSONATE-UID: 1",
      "Impersonate-Extra-scopes: view",
      "Impersonate-Anything: x",
    ];
    for (const line of lines) {
      await t.step(line, async () => {
        const answer = await tunnel.ask(requestHead("GET", tunnelled("/x"), [line]));
        equal(statusOf(answer), 403);
        equal(bodyText(answer), errorText(403, "impersonation_not_allowed", message));
      });
    }
    await t.step("kubectl's first question", async () => {
      const answer = await tunnel.ask(requestHead("GET", tunnelled("/x"), [
        lines[0]!,
        "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
      ]));
      equal(statusOf(answer), 403);
      equal(bodyText(answer), message);
    });
    await t.step("the log has the code", async () => {
      const line = await tunnel.relay.waitForLog((line) => line.status === 403);
      equal(line.code, "impersonation_not_allowed");
    });
    deepEqual(requests, []);
    equal(statusOf(await tunnel.ask(requestHead("GET", tunnelled("/x")))), 200);
  });
});

Deno.test("a cluster's own response timeout counts in place of the relay's", async () => {
  await withTunnel(async (tunnel) => {
    tunnel.scripts.set("/never", async ({ request }) => void await request());
    const answer = await tunnel.ask(requestHead("GET", tunnelled("/never")));
    equal(statusOf(answer), 504);
    equal(bodyText(answer), errorText(504, "timeout", "the target did not respond in time"));
  }, { entry: { responseTimeout: "300ms" } });
  await withTunnel(async (tunnel) => {
    tunnel.scripts.set("/late", async ({ request, connection }) => {
      await request();
      await new Promise((resolve) => setTimeout(resolve, 500));
      await connection.write(okWith("late"));
    });
    equal(bodyText(await tunnel.ask(requestHead("GET", tunnelled("/late")))), "late");
  }, { entry: { responseTimeout: "10m" }, relayArgs: ["--response-timeout", "1ms"] });
});

Deno.test("answers reach the caller as they were sent", async (t) => {
  await withTunnel(async (tunnel) => {
    const head = "HTTP/1.1 299 Quite \xe4 Reason\r\n";
    const sent: readonly WireField[] = [
      ["Set-Cookie", "a=b"],
      ["X-First", "1"],
      ["set-cookie", "c=d"],
      ["X-EMPTY", ""],
      ["Content-Encoding", "gzip"],
      ["x-obs", "\xe4\xff"],
      ["Location", "http://127.0.0.1/elsewhere"],
      ["WWW-Authenticate", "Bearer"],
      ["Date", DATE.slice("Date: ".length)],
    ];
    const lines = sent.map(([name, value]) => `${name}: ${value}\r\n`).join("");

    await tunnel.step(t, "status, reason and fields in order, repeated ones kept", async () => {
      record(tunnel, "/answer", answer(`${head}${lines}Content-Length: 5\r\n\r\nhello`));
      const response = await tunnel.ask(requestHead("GET", tunnelled("/answer"), [ID]));
      equal(response.startLine, "HTTP/1.1 299 Quite \xe4 Reason");
      deepEqual(response.fields, [...sent, ["Content-Length", "5"], ["X-Request-Id", "an-id"]]);
      equal(bodyText(response), "hello");
    });

    await tunnel.step(t, "fields of one hop are gone", async () => {
      const hops = "Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n" +
        "Proxy-Authenticate: Basic\r\nTrailer: X\r\nUpgrade: h2c\r\n";
      record(tunnel, "/hops", answer(`${head}${hops}${lines}Content-Length: 5\r\n\r\nhello`));
      const response = await tunnel.ask(requestHead("GET", tunnelled("/hops"), [ID]));
      deepEqual(response.fields, [...sent, ["Content-Length", "5"], ["X-Request-Id", "an-id"]]);
    });

    await tunnel.step(t, "chunks stay chunks, and are content for HTTP/1.0", async () => {
      const body = chunk("hello, ") + chunk("world") + "0\r\n\r\n";
      record(
        tunnel,
        "/chunks",
        answer(`${head}${DATE}\r\nTransfer-Encoding: chunked\r\n\r\n${body}`),
      );
      const response = await tunnel.ask(requestHead("GET", tunnelled("/chunks")));
      deepEqual([response.framing, bodyText(response)], ["chunked", "hello, world"]);
      await using old = await tunnel.caller();
      await old.write(`GET ${tunnelled("/chunks")} HTTP/1.0\r\n${ID}\r\n\r\n`);
      const { bytes, isBroken } = await untilEnd(old);
      equal(isBroken, false);
      equal(
        latin1Text(bytes),
        `HTTP/1.1 299 Quite \xe4 Reason\r\n${DATE}\r\nConnection: close\r\n${ID}\r\n\r\nhello, world`,
      );
    });

    await tunnel.step(t, "HEAD, 204 and 304 have no body and keep the connection", async () => {
      await using caller = await tunnel.caller();
      const cases: [method: string, text: string, length: string[]][] = [
        ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", ["1234"]],
        ["HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", []],
        ["HEAD", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n", ["9"]],
        ["GET", "HTTP/1.1 204 No Content\r\n\r\n", []],
        ["GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 1234\r\n\r\n", ["1234"]],
        ["DELETE", "HTTP/1.1 204 No Content\r\n\r\n", []],
        ["GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ["0"]],
      ];
      for (const [method, text, length] of cases) {
        record(tunnel, "/bodiless", answer(text));
        await caller.write(requestHead(method, tunnelled("/bodiless")));
        const response = await tunnel.answerOn(caller, method);
        equal(statusOf(response), statusOf({ startLine: text.split("\r\n", 1)[0]!, fields: [] }));
        deepEqual(valuesOf(response, "content-length"), length, text);
        deepEqual(valuesOf(response, "connection"), []);
      }
      await caller.write(requestHead("GET", tunnelled("/next")));
      equal(bodyText(await tunnel.answerOn(caller)), "GET /next");
    });

    await tunnel.step(t, "interim answers are passed on, to HTTP/1.0 none", async () => {
      const interim = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nlink: </b.css>\r\n\r\n" +
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
      const dated = ok200.replace("\r\n", `\r\n${DATE}\r\n`);
      record(tunnel, "/interim", answer(interim + dated));
      await using caller = await tunnel.caller();
      await caller.write(requestHead("GET", tunnelled("/interim"), ["Connection: close", ID]));
      const { bytes } = await untilEnd(caller);
      equal(
        latin1Text(bytes),
        `${interim}HTTP/1.1 200 OK\r\n${DATE}\r\nContent-Length: 5\r\nConnection: close\r\n${ID}\r\n\r\nhello`,
      );
      await using old = await tunnel.caller();
      await old.write(`GET ${tunnelled("/interim")} HTTP/1.0\r\n${ID}\r\n\r\n`);
      equal(
        latin1Text((await untilEnd(old)).bytes),
        `HTTP/1.1 200 OK\r\n${DATE}\r\nContent-Length: 5\r\nConnection: close\r\n${ID}\r\n\r\nhello`,
      );
    });
  });
});

Deno.test("bytes flow as they come, both ways", async (t) => {
  await withTunnel(async (tunnel) => {
    await tunnel.step(t, "server-sent events arrive one by one", async () => {
      const gates = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
      const script: Script = async ({ connection, request }) => {
        await request();
        const type = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        await connection.write(`HTTP/1.1 200 OK\r\n${type}`);
        for (const [index, gate] of gates.entries()) {
          await gate.promise;
          await connection.write(chunk(`data: ${index}\n\n`));
        }
        await connection.write("0\r\n\r\n");
      };
      tunnel.scripts.set("/events", script);
      await using caller = await tunnel.caller();
      await caller.write(requestHead("GET", tunnelled("/events")));
      // The head comes before there is any event.
      await within(readWireHead(caller.reader), "the head");
      for (const [index, gate] of gates.entries()) {
        gate.resolve();
        await within(caller.reader.readUntil(`data: ${index}\n\n`), `event ${index}`);
      }
      await within(caller.reader.readUntil("0\r\n\r\n"), "the end");
    });

    await tunnel.step(
      t,
      "an upload arrives piece by piece, and is answered piece by piece",
      async () => {
        const script: Script = async ({ connection }) => {
          await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
          for (let index = 0; index < 5; index++) {
            await connection.reader.readUntil(`piece ${index}\r\n`);
            await connection.write(chunk(`echo ${index}`));
          }
          await connection.reader.readUntil("0\r\n\r\n");
          await connection.write("0\r\n\r\n");
        };
        const fields = ["Transfer-Encoding: chunked"];
        const { caller } = await playing(
          tunnel,
          "/duplex",
          script,
          (caller) => caller.write(requestHead("POST", tunnelled("/duplex"), fields)),
        );
        await using _caller = caller;
        await within(readWireHead(caller.reader), "the head, before the body");
        for (let index = 0; index < 5; index++) {
          await caller.write(chunk(`piece ${index}`));
          await within(caller.reader.readUntil(`echo ${index}\r\n`), `echo ${index}`);
        }
        await caller.write("0\r\n\r\n");
        await within(caller.reader.readUntil("0\r\n\r\n"), "the end");
      },
    );

    await tunnel.step(t, "a megabyte each way at once, byte for byte", async () => {
      const up = crypto.getRandomValues(new Uint8Array(65_536));
      const pieces = new Array(16).fill(up);
      const script: Script = async ({ connection, request }) => {
        const { body } = await request();
        await connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
        await connection.write(body);
      };
      tunnel.scripts.set("/mirror", script);
      await using caller = await tunnel.caller();
      const body = concatBytes(pieces);
      const fields = [`Content-Length: ${body.length}`];
      await caller.write(requestHead("POST", tunnelled("/mirror"), fields));
      const response = tunnel.answerOn(caller);
      await caller.write(body);
      ok(concatBytes([(await response).body]).every((byte, at) => byte === body[at]));
    });

    await tunnel.step(
      t,
      "Expect: 100-continue goes to the target and its 100 comes back",
      async () => {
        const gate = Promise.withResolvers<void>();
        const fields = ["Expect: 100-continue", "Content-Length: 5"];
        const { caller, connection, head } = await playing(
          tunnel,
          "/expect",
          async ({ connection, request }) => {
            await gate.promise;
            await connection.write("HTTP/1.1 100 Continue\r\n\r\n");
            equal(bodyText(await request()), "hello");
            await connection.write(ok200);
          },
          (caller) => caller.write(requestHead("PUT", tunnelled("/expect"), fields)),
        );
        await using _caller = caller;
        deepEqual(valuesOf(head, "expect"), ["100-continue"]);
        match(connection.receivedText, /\r\n\r\n$/, "no body may have come");
        equal(caller.receivedBytes, 0, "the relay may not say 100 itself");
        gate.resolve();
        const interim = await within(readWireHead(caller.reader), "100 Continue");
        equal(interim.startLine, "HTTP/1.1 100 Continue");
        await caller.write("hello");
        const response = await tunnel.answerOn(caller);
        equal(statusOf(response), 200);
        deepEqual(valuesOf(response, "connection"), []);
      },
    );

    await tunnel.step(t, "a final answer in the place of 100 ends the connection", async () => {
      const fields = ["Expect: 100-continue", "Content-Length: 5"];
      const refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n";
      const { caller, connection } = await playing(
        tunnel,
        "/refuse",
        async ({ connection }) => {
          await connection.write(refusal);
          await connection.closed;
        },
        (caller) => caller.write(requestHead("PUT", tunnelled("/refuse"), fields)),
      );
      await using _caller = caller;
      const response = await tunnel.answerOn(caller);
      equal(statusOf(response), 417);
      // The body may follow or not: on a connection that stayed, the next request could be either.
      deepEqual(valuesOf(response, "connection"), ["close"]);
      await untilEnd(caller);
      await endOf(connection);
    });

    await tunnel.step(
      t,
      "an answer before the request's end reaches the caller at once",
      async () => {
        const early: Script = async ({ connection }) => {
          await connection.write(ok200);
          await connection.closed;
        };
        const { caller } = await playing(tunnel, "/early", early, async (caller) => {
          const fields = ["Content-Length: 10"];
          await caller.write(requestHead("POST", tunnelled("/early"), fields) + "hello");
        });
        await using _caller = caller;
        const response = await tunnel.answerOn(caller);
        equal(bodyText(response), "hello");
        deepEqual(valuesOf(response, "connection"), []);
        // What is left of a small body is read and dropped; the next request is the next request.
        await caller.write("world" + requestHead("GET", tunnelled("/next")));
        equal(bodyText(await tunnel.answerOn(caller)), "GET /next");
      },
    );

    await tunnel.step(
      t,
      "after an early answer to a body without end the connection closes",
      async () => {
        const early: Script = async ({ connection }) => {
          await connection.write(ok200);
          await connection.closed;
        };
        const { caller } = await playing(tunnel, "/early-chunks", early, async (caller) => {
          const fields = ["Transfer-Encoding: chunked"];
          await caller.write(
            requestHead("POST", tunnelled("/early-chunks"), fields) + chunk("hello"),
          );
        });
        await using _caller = caller;
        const response = await tunnel.answerOn(caller);
        equal(bodyText(response), "hello");
        deepEqual(valuesOf(response, "connection"), ["close"]);
        equal((await untilEnd(caller)).isBroken, false);
      },
    );
  });
});

Deno.test("a caller that goes away ends its request at the target at once", async (t) => {
  await withTunnel(async (tunnel) => {
    const ways = {
      "in good order": (caller: RawConnection): void => caller.destroy(),
      "with a half-close": (caller: RawConnection): void => caller.end(),
      "with a reset": (caller: RawConnection): void => caller.reset(),
    };
    const streaming: Script = async ({ connection }) => {
      await connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      await connection.write(chunk("begun"));
      await connection.closed;
    };
    for (const [way, leave] of Object.entries(ways)) {
      await tunnel.step(t, `before the answer, ${way}`, async () => {
        const { caller, connection } = await playing(
          tunnel,
          "/waiting",
          holding,
          (caller) => caller.write(requestHead("GET", tunnelled("/waiting"))),
        );
        await using _caller = caller;
        leave(caller);
        await endOf(connection);
      });

      await tunnel.step(t, `in the answer, ${way}`, async () => {
        const { caller, connection } = await playing(
          tunnel,
          "/watch?watch=1",
          streaming,
          (caller) => caller.write(requestHead("GET", tunnelled("/watch?watch=1"))),
        );
        await using _caller = caller;
        await within(caller.reader.readUntil("begun\r\n"), "the answer to begin");
        leave(caller);
        await endOf(connection);
      });

      await tunnel.step(t, `in the upload, ${way}`, async () => {
        const { caller, connection } = await playing(
          tunnel,
          "/upload",
          holding,
          async (caller) => {
            const fields = ["Transfer-Encoding: chunked"];
            await caller.write(requestHead("POST", tunnelled("/upload"), fields) + chunk("begun"));
          },
        );
        await using _caller = caller;
        leave(caller);
        await endOf(connection);
        ok(!connection.receivedText.endsWith("0\r\n\r\n"), "the upload must not look whole");
      });
    }
  });
});

Deno.test("connections are used again, on both sides", async (t) => {
  await withTunnel(async (tunnel) => {
    await tunnel.step(t, "many requests, one connection at the target", async () => {
      await using caller = await tunnel.caller();
      for (let index = 0; index < 20; index++) {
        await caller.write(requestHead("GET", tunnelled(`/${index}`)));
        equal(bodyText(await tunnel.answerOn(caller)), `GET /${index}`);
        equal(bodyText(await tunnel.ask(requestHead("GET", tunnelled("/other")))), "GET /other");
      }
      equal(tunnel.target.connections.length, 1);
    });

    await tunnel.step(t, "a target that closes gets a new connection", async () => {
      const before = tunnel.target.connections.length;
      const closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";
      record(tunnel, "/closing", async ({ connection }) => {
        await connection.write(closing);
        connection.end();
      });
      for (let index = 0; index < 3; index++) {
        equal(bodyText(await tunnel.ask(requestHead("GET", tunnelled("/closing")))), "hello");
      }
      equal(tunnel.target.connections.length, before + 2);
    });

    await tunnel.step(
      t,
      "a connection that the target closes while it is idle is not used",
      async () => {
        equal(bodyText(await tunnel.ask(requestHead("GET", tunnelled("/warm")))), "GET /warm");
        const idle = tunnel.target.connections.filter(({ isClosed }) => !isClosed);
        for (const connection of idle) connection.end();
        const requests = record(tunnel, "/once");
        const posted = await tunnel.ask(
          requestHead("POST", tunnelled("/once"), ["Content-Length: 2"]),
          "hi",
        );
        // The end and the request may cross; a request with a body is then failed, never repeated.
        ok([200, 502].includes(statusOf(posted)));
        // The target may even have read it, behind its own end; what counts is that it came once.
        if (statusOf(posted) === 200) equal(requests.length, 1);
        else ok(requests.length <= 1);
      },
    );

    await tunnel.step(t, "pipelined requests are answered in order", async () => {
      await using caller = await tunnel.caller();
      await caller.write(
        requestHead("GET", tunnelled("/1")) +
          requestHead("POST", tunnelled("/2"), ["Content-Length: 5"]) + "hello" +
          requestHead("POST", tunnelled("/3"), ["Transfer-Encoding: chunked"]) +
          chunk("hello") + "0\r\n\r\n" +
          requestHead("HEAD", tunnelled("/4")) +
          requestHead("GET", "/healthz") +
          requestHead("GET", "/tunnel/unknown/x") +
          requestHead("GET", tunnelled("/5"), ["Connection: close"]) +
          requestHead("GET", tunnelled("/never")),
      );
      const answers: string[] = [];
      for (const method of ["GET", "POST", "POST", "HEAD", "GET", "GET", "GET"]) {
        const response = await tunnel.answerOn(caller, method);
        answers.push(`${statusOf(response)} ${bodyText(response)}`);
      }
      deepEqual(answers.slice(0, 5), [
        "200 GET /1",
        "200 POST /2",
        "200 POST /3",
        "200 ",
        "200 ok",
      ]);
      match(answers[5]!, /^502 .*cluster not available/);
      equal(answers[6], "200 GET /5");
      equal((await within(caller.reader.readToEnd(), "the end")).length, 0);
    });

    await tunnel.step(t, "Connection: close is kept to, HTTP/1.0 always closes", async () => {
      const requests = [
        requestHead("GET", tunnelled("/x"), ["Connection: close"]),
        requestHead("GET", tunnelled("/x"), ["connection: Foo, CLOSE"]),
        requestHead("GET", "/healthz", ["Connection: close"]),
        `GET ${tunnelled("/x")} HTTP/1.0\r\n\r\n`,
        `GET ${tunnelled("/x")} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`,
      ];
      for (const request of requests) {
        await using caller = await tunnel.caller();
        await caller.write(request);
        const response = await tunnel.answerOn(caller);
        equal(statusOf(response), 200, request);
        deepEqual(valuesOf(response, "connection"), ["close"], request);
        equal((await within(caller.reader.readToEnd(), "the end")).length, 0);
      }
    });
  });
});

Deno.test("the credential is read for each request", async (t) => {
  const directory = await Deno.makeTempDir({ prefix: "culvert-test-" });
  const path = `${directory}/token`;
  try {
    await withTunnel(async (tunnel) => {
      const requests = record(tunnel, "/credential");
      const ask = () => tunnel.ask(requestHead("GET", tunnelled("/credential")));
      const assertMissing = async (logged: RegExp): Promise<void> => {
        const askInVain = async () => {
          const response = await ask();
          equal(statusOf(response), 503);
          deepEqual(
            valuesOf(response, "retry-after"),
            [],
            "kubectl would try again, and say nothing",
          );
          equal(JSON.parse(bodyText(response)).error.code, "credentials");
          ok(!bodyText(response).includes(path), "no path may be in it");
        };
        await tunnel.agent.logAfter(askInVain, ({ error }) => logged.test(String(error)));
      };

      await tunnel.step(t, "a file that is missing: 503, and nothing is sent", async () => {
        await assertMissing(/token can't be read/);
        equal(tunnel.target.connections.length, 0);
      });

      await tunnel.step(
        t,
        "a file that has come, and each new version of it, is used at once",
        async () => {
          for (const token of ["first", "second", "third-of-another-length", "forth"]) {
            await Deno.writeTextFile(`${path}.new`, `${token}\n`);
            await Deno.rename(`${path}.new`, path);
            equal(statusOf(await ask()), 200);
            deepEqual(valuesOf(requests.at(-1)!, "authorization"), [`Bearer ${token}`]);
          }
        },
      );

      await tunnel.step(
        t,
        "a file that is gone, empty or no token: 503, not the old token",
        async () => {
          const count = requests.length;
          await Deno.remove(path);
          await assertMissing(/token can't be read/);
          for (const content of ["", "\n", "two words", "a\r\nInjected: yes", "\xe4"]) {
            await Deno.writeTextFile(path, content);
            await assertMissing(/the file/);
          }
          equal(requests.length, count);
        },
      );
    }, { agentArgs: ["-sa-token-path", path] });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("what can't be answered says why, and names nobody", async (t) => {
  await withTunnel(async (tunnel) => {
    const whole = async (request: string): Promise<string> => {
      await using caller = await tunnel.caller();
      await caller.write(request);
      return latin1Text((await untilEnd(caller)).bytes);
    };

    await tunnel.step(t, "an unknown cluster and one without an agent look the same", async () => {
      const wanted = errorText(502, "cluster_not_available", "cluster not available");
      const requests = (cluster: string): string[] => [
        requestHead("GET", `/tunnel/${cluster}/x`, ["Connection: close", ID]),
        requestHead("GET", `/tunnel/${cluster}`, ["Connection: close", ID]),
        requestHead("POST", `/tunnel/${cluster}/x`, [
          "Content-Length: 2",
          "Connection: close",
          ID,
        ]) +
        "hi",
        requestHead("PUT", `/tunnel/${cluster}/x`, [
          ID,
          "Expect: 100-continue",
          "Content-Length: 2",
        ]),
        requestHead("GET", `/tunnel/${cluster}/x`, [
          ID,
          "Connection: Upgrade, close",
          "Upgrade: raw",
        ]),
        `GET /tunnel/${cluster}/x HTTP/1.0\r\n${ID}\r\n\r\n`,
      ];
      const absent = requests("absent");
      for (const other of ["nobody", "%61bsent", "ABSENT", "constructor", "__proto__"]) {
        for (const [index, request] of requests(other).entries()) {
          const answered = await whole(request);
          // The two may be answered in different seconds.
          equal(withoutDate(answered), withoutDate(await whole(absent[index]!)), other);
          match(answered, /^HTTP\/1\.1 502 Bad Gateway\r\n/);
          ok(answered.endsWith(`\r\n\r\n${wanted}`), answered);
        }
      }
    });

    await tunnel.step(t, "HEAD gets the status and no body", async () => {
      const answered = await whole(
        requestHead("HEAD", "/tunnel/nobody/x", ["Connection: close", ID]),
      );
      match(answered, /^HTTP\/1\.1 502 [^]*\r\n\r\n$/);
    });

    await tunnel.step(t, "what is no tunnel is not found", async () => {
      const targets = ["/", "/tunnel", "/tunnel/", "/tunnel//x", "/tunnels/http/x", "//"];
      for (const target of [...targets, "/%74unnel/http/x", "/connect", "/x/../tunnel/http/x"]) {
        const answered = await whole(requestHead("GET", target, ["Connection: close"]));
        match(answered, /^HTTP\/1\.1 404 Not Found\r\n[^]*"code":"no_such_path"/, target);
      }
      equal(tunnel.target.connections.length, 0);
    });

    await tunnel.step(t, "no handler has failed", async () => {
      const log = await tunnel.relay.completeLog();
      deepEqual(log.filter(({ level }) => level === "error"), []);
    });
  }, { absent: ["absent"] });
});

Deno.test("an unreachable target is a 502 to the caller and an address in the agent's log", async () => {
  const target = refusingAddress();
  await using relay = await startRelay({
    clusters: [{ id: CLUSTER, token: TOKEN, targetAddr: target }],
    args: graceArgs,
  });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: TOKEN,
    target,
    args: graceArgs,
  });
  await relay.waitForAgent(CLUSTER);
  const response = await fetch(`${relay.tunnelUrl(CLUSTER)}/x?secret=1`, {
    method: "POST",
    body: "hello",
  });
  equal(response.status, 502);
  equal(await response.text(), errorText(502, "refused", "the target refused the connection"));
  const line = await agent.waitForLog(({ message }) => message === "Request failed");
  deepEqual([line.code, line.target, line.path], ["refused", target, "/x"]);
});

Deno.test("limits of the relay have their statuses", async (t) => {
  await withTunnel(async (tunnel) => {
    await tunnel.step(
      t,
      "a target that does not answer in time: 504, and its request is ended",
      async () => {
        const { caller, connection } = await playing(
          tunnel,
          "/silent",
          holding,
          (caller) => caller.write(requestHead("GET", tunnelled("/silent"))),
        );
        await using _caller = caller;
        const response = await tunnel.answerOn(caller);
        deepEqual([statusOf(response), JSON.parse(bodyText(response)).error.code], [
          504,
          "timeout",
        ]);
        await endOf(connection);
      },
    );

    await tunnel.step(
      t,
      "a body over the limit by its length: 413, and nothing is sent",
      async () => {
        const seen = record(tunnel, "/large");
        const fields = ["Content-Length: 1001", "Connection: close"];
        await using caller = await tunnel.caller();
        await caller.write(requestHead("PUT", tunnelled("/large"), fields));
        equal(statusOf(await tunnel.answerOn(caller)), 413);
        deepEqual(seen, []);
      },
    );

    await tunnel.step(
      t,
      "a body over the limit in chunks: 413, and it never looks whole",
      async () => {
        const { caller, connection } = await playing(
          tunnel,
          "/large-chunks",
          holding,
          async (caller) => {
            const fields = ["Transfer-Encoding: chunked"];
            const head = requestHead("PUT", tunnelled("/large-chunks"), fields);
            await caller.write(head + chunk("x".repeat(1_000)));
          },
        );
        await using _caller = caller;
        await caller.write(chunk("y") + "0\r\n\r\n");
        equal(statusOf(await tunnel.answerOn(caller)), 413);
        await endOf(connection);
        ok(!connection.receivedText.endsWith("0\r\n\r\n"), "the upload must not look whole");
      },
    );

    await tunnel.step(t, "a body of exactly the limit passes", async () => {
      const seen = record(tunnel, "/exact");
      const body = "x".repeat(1_000);
      const fields = [`Content-Length: ${body.length}`];
      equal(statusOf(await tunnel.ask(requestHead("PUT", tunnelled("/exact"), fields), body)), 200);
      deepEqual(seen.map(bodyText), [body]);
    });
  }, { relayArgs: ["-response-timeout", "1s", "-max-body-bytes", "1000"] });
});
