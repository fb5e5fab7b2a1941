/** Requests through a relay at the edge, on every platform: what a caller and its target see. */
import assert from "node:assert/strict";
import { eventually, untilSteady, within } from "../support/deadline.ts";
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { readRequest, readResponse, statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { callerToken, clusterId, type EdgeTunnel, homes, startEdgeTunnel } from "./homes.ts";

const gzipped = new Uint8Array(
  await new Response(
    new Blob(["compressed by the target"]).stream().pipeThrough(new CompressionStream("gzip")),
  ).arrayBuffer(),
);

/** Bytes that say where they are, so that a piece lost, doubled or moved shows. */
function pattern(bytes: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(bytes / 4);
  for (let index = 0; index < words.length; index++) words[index] = index * 2654435761;
  return new Uint8Array(words.buffer);
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** A request to /watch. */
interface Watch {
  send(text: string): void;
  isGone: boolean;
}

/** Waits until a target has lost its caller. workerd notices with the next bytes. */
async function untilGone(watch: Watch): Promise<void> {
  await eventually(() => {
    watch.send("more");
    return watch.isGone;
  }, "the target to lose its caller");
}

/** What the target has been up to. */
class Target implements AsyncDisposable {
  readonly server: Deno.HttpServer<Deno.NetAddr>;
  /** Requests to /watch, each with what it sends to its caller. */
  readonly watches: Watch[] = [];
  /** What came in requests to /upload so far. */
  uploaded = "";
  flooded = 0;

  constructor() {
    const options = { hostname: "127.0.0.1", port: 0, onListen() {} };
    this.server = Deno.serve(options, (request) => this.#answer(request));
  }

  get address(): string {
    return `127.0.0.1:${this.server.addr.port}`;
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    switch (pathname) {
      case "/echo":
        return new Response(request.body, { headers: { "X-Length": lengthOf(request) } });
      case "/seen": {
        const { method, headers } = request;
        return Response.json({ method, search, headers: [...headers] });
      }
      case "/cookies": {
        const headers = new Headers([["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"]]);
        return new Response("biscuits", { status: 418, headers });
      }
      case "/empty":
        return new Response(null, { status: 204 });
      case "/cached":
        return new Response(null, { status: 304, headers: { ETag: '"1"' } });
      case "/gzip":
        return new Response(gzipped, { headers: { "Content-Encoding": "gzip" } });
      case "/big":
        return new Response(pattern(16 * 1024 * 1024));
      case "/digest":
        return new Response(await digest(await request.bytes()));
      case "/watch":
        return this.#watch();
      case "/upload":
        return await this.#upload(request);
      case "/flood":
        return this.#flood();
      default:
        return new Response("no such thing", { status: 404 });
    }
  }

  #watch(): Response {
    const watch = { send: (_text: string) => {}, isGone: false };
    this.watches.push(watch);
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        watch.send = (text) => {
          if (!watch.isGone) controller.enqueue(new TextEncoder().encode(text));
        };
      },
      cancel() {
        watch.isGone = true;
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  }

  async #upload(request: Request): Promise<Response> {
    const decoder = new TextDecoder();
    for await (const piece of request.body!) this.uploaded += decoder.decode(piece);
    return new Response("thanks");
  }

  #flood(): Response {
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        this.flooded += 65_536;
        controller.enqueue(new Uint8Array(65_536));
      },
    });
    return new Response(body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.shutdown();
  }
}

function lengthOf({ headers }: Request): string {
  return headers.get("content-length") ?? headers.get("transfer-encoding") ?? "none";
}

type Case = readonly [string, (tunnel: EdgeTunnel, target: Target) => Promise<void>];

const cases: readonly Case[] = [
  ["a request reaches the target without the caller's credential", async (tunnel) => {
    const response = await tunnel.fetch("/seen?a=%2F&b=c%20d", {
      headers: { "X-Own": "1", Cookie: "c=1", "X_Real_IP": "1.2.3.4" },
    });
    const { method, search, headers } = await response.json();
    assert.deepEqual([method, search], ["GET", "?a=%2F&b=c%20d"]);
    const seen = new Headers(headers);
    assert.deepEqual([seen.get("x-own"), seen.get("cookie")], ["1", "c=1"]);
    assert.equal(seen.get("authorization"), null);
    assert.equal(seen.get("x_real_ip"), null);
    assert.equal(seen.get("x-forwarded-prefix"), `/tunnel/${clusterId}`);
    assert.equal(seen.get("x-forwarded-host"), tunnel.relay.address);
  }],
  ["a request that impersonates is refused", async (tunnel) => {
    const response = await tunnel.fetch("/seen", { headers: { "Impersonate-User": "nobody" } });
    const { error, message } = await response.json();
    assert.deepEqual([response.status, error.code], [403, "impersonation_not_allowed"]);
    assert.match(message, /its entry can say "impersonation": "forward"/);
  }],
  ["status, repeated fields and body reach the caller", async (tunnel) => {
    const response = await tunnel.fetch("/cookies");
    assert.equal(response.status, 418);
    assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
    assert.equal(response.headers.get("content-length"), "8");
    assert.equal(await response.text(), "biscuits");
  }],
  ["answers without a body: HEAD, 204, 304", async (tunnel) => {
    const head = await tunnel.fetch("/cookies", { method: "HEAD" });
    assert.deepEqual([head.status, await head.text()], [418, ""]);
    const empty = await tunnel.fetch("/empty");
    assert.deepEqual([empty.status, await empty.text()], [204, ""]);
    const cached = await tunnel.fetch("/cached", { headers: { "If-None-Match": '"1"' } });
    assert.deepEqual([cached.status, cached.headers.get("etag"), await cached.text()], [
      304,
      '"1"',
      "",
    ]);
  }],
  ["a body keeps its length, and one without a length stays without", async (tunnel) => {
    const known = await tunnel.fetch("/echo", { method: "POST", body: "twelve bytes" });
    assert.equal(known.headers.get("x-length"), "12");
    assert.equal(await known.text(), "twelve bytes");
    const body = new Blob(["a stream"]).stream();
    const unknown = await tunnel.fetch("/echo", { method: "PUT", body });
    assert.equal(unknown.headers.get("x-length"), "chunked");
    assert.equal(await unknown.text(), "a stream");
    const none = await tunnel.fetch("/echo", { method: "DELETE" });
    assert.equal(none.headers.get("x-length"), "none");
    assert.equal(await none.text(), "");
  }],
  ["an encoded body stays as it is", async (tunnel) => {
    const response = await tunnel.fetch("/gzip", { headers: { "Accept-Encoding": "gzip" } });
    // This fetch decodes it, and so would fail for what was encoded twice or not at all.
    assert.equal(await response.text(), "compressed by the target");
  }],
  ["large bodies arrive byte for byte, both ways", async (tunnel) => {
    const content = pattern(16 * 1024 * 1024);
    const expected = await digest(content);
    const up = await tunnel.fetch("/digest", { method: "POST", body: content });
    assert.equal(await up.text(), expected);
    const down = await tunnel.fetch("/big");
    assert.equal(await digest(new Uint8Array(await down.arrayBuffer())), expected);
    const both = await tunnel.fetch("/echo", {
      method: "POST",
      body: new Blob([content]).stream(),
    });
    assert.equal(await digest(new Uint8Array(await both.arrayBuffer())), expected);
  }],
  ["an answer streams: each piece as it comes", async (tunnel, target) => {
    const response = await tunnel.fetch("/watch");
    const reader = response.body!.getReader();
    for (const text of ["one", "two", "three"]) {
      target.watches.at(-1)!.send(text);
      const { value } = await within(reader.read(), `"${text}"`);
      assert.equal(new TextDecoder().decode(value), text);
    }
    await reader.cancel();
    await untilGone(target.watches.at(-1)!);
  }],
  ["a request's body streams: each piece as it comes", async (tunnel, target) => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const answer = tunnel.fetch("/upload", { method: "POST", body: readable });
    const writer = writable.getWriter();
    let sent = "";
    for (const text of ["one", "two", "three"]) {
      sent += text;
      await writer.write(new TextEncoder().encode(text));
      await eventually(() => target.uploaded === sent, () => `${sent}, not ${target.uploaded}`);
    }
    await writer.close();
    assert.equal(await (await answer).text(), "thanks");
  }],
  ["a caller that goes away is gone for the target", async (tunnel, target) => {
    const controller = new AbortController();
    const response = await tunnel.fetch("/watch", { signal: controller.signal });
    const watch = target.watches.at(-1)!;
    watch.send("something");
    await response.body!.getReader().read();
    controller.abort();
    await untilGone(watch);
  }],
  [
    "a caller that crashed is gone for the target, though nothing is sent",
    async (tunnel, target) => {
      const before = target.watches.length;
      await using connection = await openConnection(tunnel.relay.address);
      const head = ["GET /tunnel/edge/watch HTTP/1.1", "Host: relay"];
      await connection.write(
        [...head, `Authorization: Bearer ${callerToken}`, "", ""].join("\r\n"),
      );
      await eventually(() => target.watches.length > before, "the request at the target");
      const watch = target.watches.at(-1)!;
      watch.send("something");
      await within(connection.reader.readUntil("something"), "its first bytes");
      connection.reset();
      await eventually(() => watch.isGone, "the target to lose its caller");
    },
  ],
  ["a caller that does not read stops its target", async (tunnel, target) => {
    const response = await tunnel.fetch("/flood");
    const reader = response.body!.getReader();
    await reader.read();
    const stopped = await untilSteady(() => target.flooded, "the flood");
    assert.ok(stopped < 64 * 1024 * 1024, `${stopped} bytes are under way`);
    const other = await tunnel.fetch("/echo", { method: "POST", body: "meanwhile" });
    assert.equal(await other.text(), "meanwhile");
    await reader.cancel();
  }],
  ["SPDY is refused with what to do instead", async (tunnel) => {
    await using connection = await openConnection(tunnel.relay.address);
    const head = ["GET /tunnel/edge/exec HTTP/1.1", "Host: relay", "Connection: Upgrade"];
    head.push("Upgrade: SPDY/3.1", `Authorization: Bearer ${callerToken}`, "", "");
    await connection.write(head.join("\r\n"));
    const answer = await within(readResponse(connection.reader), "the refusal");
    assert.equal(statusOf(answer), 501);
    assert.match(new TextDecoder().decode(answer.body), /KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true/);
  }],
];

for (const home of homes) {
  Deno.test(`${home.name}: requests`, async (t) => {
    await using target = new Target();
    await using tunnel = await startEdgeTunnel(home, target.address);
    for (const [name, run] of cases) await t.step(name, () => run(tunnel, target));
  });

  Deno.test(`${home.name}: a cut answer never looks whole`, async (t) => {
    const heads = {
      "with a length": "Content-Length: 1000",
      chunked: "Transfer-Encoding: chunked",
    };
    let connection: RawConnection | undefined;
    await using target = await startRawTarget(async (opened) => {
      connection = opened;
      const request = await readRequest(opened.reader);
      const kind = request.startLine.includes("chunked") ? "chunked" : "with a length";
      await opened.write(`HTTP/1.1 200 OK\r\n${heads[kind]}\r\n\r\n`);
      await opened.write(kind === "chunked" ? "5\r\nhello\r\n" : "hello");
    });
    await using tunnel = await startEdgeTunnel(home, target.address);
    for (const kind of Object.keys(heads)) {
      await t.step(kind, async () => {
        const response = await tunnel.fetch(`/${kind.replaceAll(" ", "-")}`);
        assert.equal(response.status, 200);
        const reader = response.body!.getReader();
        const { value } = await within(reader.read(), "what came of it");
        assert.equal(new TextDecoder().decode(value), "hello");
        connection!.destroy();
        const next = within(reader.read(), "the end");
        if (kind === "chunked" && home.hidesCuts) assert.equal((await next).done, true);
        else await assert.rejects(next, (error: Error) => error.name !== "DeadlineError");
      });
    }
  });

  Deno.test(`${home.name}: who may not come in`, async (t) => {
    await using target = new Target();
    await using tunnel = await startEdgeTunnel(home, target.address);
    const base = `http://${tunnel.relay.address}`;
    const ask = async (path: string, token: string | undefined) => {
      const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
      const response = await fetch(base + path, { headers });
      const text = await response.text();
      const code = text.startsWith("{") ? JSON.parse(text).error.code : text.trim();
      return `${response.status} ${code}`;
    };
    const expected: [string, string | undefined, string][] = [
      [`/tunnel/${clusterId}/seen`, undefined, "401 caller_unknown"],
      [`/tunnel/${clusterId}/seen`, "edge-agent-token-0123456789", "401 caller_unknown"],
      ["/tunnel/other/seen", callerToken, "403 caller_forbidden"],
      ["/tunnel/none/seen", callerToken, "403 caller_forbidden"],
      ["/tunnel/edge-empty/seen", callerToken, "502 cluster_not_available"],
      ["/tunnel/edge-unknown/seen", callerToken, "502 cluster_not_available"],
      ["/healthz", undefined, "200 ok"],
    ];
    for (const [path, token, answer] of expected) {
      await t.step(`${path} ${token ?? "nothing"}`, async () => {
        assert.equal(await ask(path, token), answer);
      });
    }
    await t.step("metrics and readiness are not for everybody", async () => {
      for (const path of ["/metrics", "/readyz", "/"]) {
        assert.match(await ask(path, undefined), /^404 /, path);
      }
    });
    await t.step("an agent without its token", async () => {
      assert.match(await ask("/connect", "not-an-agent-token-0123"), /^401 /);
    });
  });
}

Deno.test("deno serve: a body with GET, which is not handed over, is refused", async () => {
  await using target = new Target();
  await using tunnel = await startEdgeTunnel(homes[0]!, target.address);
  await using connection = await openConnection(tunnel.relay.address);
  const head = ["GET /tunnel/edge/echo HTTP/1.1", "Host: relay", "Content-Length: 4"];
  head.push(`Authorization: Bearer ${callerToken}`, "", "body");
  await connection.write(head.join("\r\n"));
  const answer = await within(readResponse(connection.reader), "the answer");
  assert.equal(statusOf(answer), 501);
});
