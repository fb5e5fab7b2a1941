/** What a platform throws costs the request in which it does, and nothing else. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { field, HeadError, type ResponseHead } from "../../lib/http1/head.ts";
import type { Channel } from "../../lib/net/channel.ts";
import { FetchExchange } from "../../lib/net/fetch_exchange.ts";
import type { FetchHost } from "../../lib/net/fetch_host.ts";
import { bridge } from "../../lib/net/websocket_bridge.ts";
import { fromWebSocket } from "../../lib/protocol/socket.ts";
import { acceptOf } from "../../lib/websocket/handshake.ts";

const peer = { address: "192.0.2.1", isTls: false };
const quietHost: FetchHost = {
  copiesOnSend: true,
  upgrade() {
    throw new TypeError("Protocol 'v5' not in the request's protocol list");
  },
};

function exchangeOf(init: RequestInit = {}, host = quietHost): Promise<FetchExchange> {
  return FetchExchange.of(new Request("http://relay/tunnel/dev/", init), peer, host);
}

/** A channel that keeps what happens to it. */
class FakeChannel implements Channel {
  readonly canHalfClose = true;
  readonly events: string[] = [];
  listener: Parameters<Channel["listen"]>[0] | undefined;

  listen(events: Parameters<Channel["listen"]>[0]): void {
    this.listener = events;
  }
  write(): boolean {
    return true;
  }
  consumed(): void {}
  end(): void {
    this.events.push("end");
  }
  finish(): void {
    this.events.push("finish");
  }
  fail(): void {
    this.events.push("fail");
  }
  close(): void {
    this.events.push("close");
  }
}

Deno.test("FetchExchange: an answer that no Response can hold is 502, and the target is let go", async () => {
  const cases: readonly (readonly [number, string, string, string])[] = [
    [600, "Odd", "x-a", "1"],
    [199, "Odd", "x-a", "1"],
    [200, "line\nbreak", "x-a", "1"],
    [200, "OK", "x-a", "line\nbreak"],
    [200, "OK", "x-a", "\u0100"],
    [200, "OK", "not a token", "1"],
  ];
  for (const [status, reason, name, value] of cases) {
    const exchange = await exchangeOf();
    const events: string[] = [];
    exchange.onAborted = () => events.push("aborted");
    exchange.onEnd = ({ status, isComplete }) => events.push(`end ${status} ${isComplete}`);
    exchange.respond(status, reason, [field(name, value)], "framed");
    deepEqual(events, [], "whoever responds is not called back in the middle of it");
    ok(exchange.write(new Uint8Array(1)));
    exchange.finish();
    const response = await exchange.response;
    equal(response.status, 502);
    equal((await response.json()).error.code, "protocol");
    deepEqual(events, ["aborted", "end 502 false"], `${status} ${reason} ${name}: ${value}`);
  }
});

Deno.test("FetchExchange: a handshake that the platform refuses leaves the answer open", async () => {
  const headers = { Upgrade: "websocket" };
  const exchange = await exchangeOf({ headers });
  const key = exchange.head.fields.find(({ key }) => key === "sec-websocket-key")!.value;
  const head: ResponseHead = {
    status: 101,
    reason: "Switching Protocols",
    minor: 1,
    fields: [field("upgrade", "websocket"), field("sec-websocket-accept", await acceptOf(key))],
  };
  const fault = exchange.switchProtocols(head, [], new FakeChannel(), new Uint8Array());
  match(fault ?? "", /^The platform can't complete the handshake: TypeError: Protocol 'v5'/);
  equal(exchange.isAnswered, false);
  exchange.answer(502, "Bad Gateway", [], new Uint8Array());
  equal((await exchange.response).status, 502);
});

Deno.test("FetchExchange: a consumer that throws breaks its own request off, and it is told of", async () => {
  const faults: unknown[] = [];
  const host = { ...quietHost, fault: (error: unknown) => faults.push(error) };
  const exchange = await exchangeOf({ method: "POST", body: "content" }, host);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  exchange.onEnd = ({ isComplete }) => resolve(isComplete);
  exchange.readBody({
    data() {
      throw new Error("a bug");
    },
    end() {},
  });
  equal(await promise, false);
  deepEqual(faults.map(String), ["Error: a bug"]);
  equal((await exchange.response).status, 502);
});

Deno.test("FetchExchange: a WebSocket handshake is a GET", async () => {
  const headers = { Upgrade: "WebSocket" };
  await rejects(exchangeOf({ method: "POST", headers }), (error) => {
    ok(error instanceof HeadError);
    equal(error.status, 400);
    return true;
  });
});

/** A WebSocket whose verbs throw, as workerd's do after it has closed. */
class ThrowingSocket extends EventTarget {
  readyState = 1;
  binaryType = "";
  bufferedAmount = 0;
  readonly tried: string[] = [];

  send(): void {
    this.tried.push("send");
    throw new TypeError("Can't call WebSocket send() after close().");
  }
  close(...how: unknown[]): void {
    this.tried.push(`close ${how.join(" ")}`.trim());
    throw new TypeError("Invalid WebSocket close code.");
  }
}

Deno.test("bridge: a caller's socket that throws ends that connection alone", () => {
  for (const message of ["from the target", ""]) {
    const socket = new ThrowingSocket();
    const channel = new FakeChannel();
    let closed = 0;
    bridge(socket as unknown as WebSocket, channel, {
      rest: new Uint8Array(),
      closed: () => closed++,
    });
    const text = new TextEncoder().encode(message);
    // One text message of the target's, and then its Close.
    channel.listener!.data(new Uint8Array([0x81, text.length, ...text]));
    channel.listener!.data(new Uint8Array([0x88, 2, 3, 232]));
    deepEqual([closed, channel.events], [1, ["fail"]]);
    equal(socket.tried[0], "send");
  }
});

Deno.test("bridge: a close that the platform takes in no form is left at that", () => {
  const socket = new ThrowingSocket();
  const channel = new FakeChannel();
  let closed = 0;
  bridge(socket as unknown as WebSocket, channel, {
    rest: new Uint8Array(),
    closed: () => closed++,
  });
  channel.listener!.data(new Uint8Array([0x88, 2, 3, 243]));
  deepEqual([closed, channel.events], [1, ["finish"]]);
  deepEqual(socket.tried, ["close 1011", "close 3011", "close"]);
});

Deno.test("fromWebSocket: an agent's socket that throws ends the session, and throws nothing", () => {
  for (const verb of ["send", "close"] as const) {
    const ends: unknown[] = [];
    const socket = fromWebSocket(new ThrowingSocket() as unknown as WebSocket);
    socket.listen({
      message() {},
      text() {},
      drained() {},
      closed: (code) => ends.push(code),
    });
    if (verb === "send") socket.send(new Uint8Array(1));
    else socket.close(1000, "x".repeat(200));
    deepEqual(ends, [1006], verb);
  }
});
