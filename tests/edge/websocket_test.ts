/** WebSockets through a relay at the edge, on every platform. */
import assert from "node:assert/strict";
import { DeadlineError, within } from "../support/deadline.ts";
import { callerToken, type EdgeTunnel, homes, startEdgeTunnel } from "./homes.ts";

/** How a target ends a connection when it is sent this text. */
const closeCommand = "close ";
/** How a target is asked for a message of so many bytes. */
const bigCommand = "big ";

/** A target that echoes, and speaks the subprotocol "second" if it is offered. */
function startEcho(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    if (request.headers.get("upgrade") === null) return new Response("no upgrade");
    const offered = request.headers.get("sec-websocket-protocol") ?? "";
    const protocol = offered.includes("second") ? "second" : "";
    const { socket, response } = Deno.upgradeWebSocket(request, { protocol });
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      const numberBehind = (command: string) =>
        typeof data === "string" && data.startsWith(command)
          ? Number(data.slice(command.length))
          : undefined;
      const code = numberBehind(closeCommand);
      const bytes = numberBehind(bigCommand);
      if (code !== undefined) socket.close(code, "as asked");
      else socket.send(bytes === undefined ? data : new Uint8Array(bytes));
    });
    return response;
  });
}

/** How a caller of Kubernetes hands over its token, as browsers and kubectl's WebSocket do. */
const bearer = `base64url.bearer.authorization.k8s.io.${
  btoa(callerToken).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")
}`;

/** A caller's WebSocket and what came on it. */
class Caller {
  readonly socket: WebSocket;
  readonly closed: Promise<CloseEvent>;
  readonly #messages: (string | ArrayBuffer)[] = [];
  #arrived: () => void = () => {};

  constructor({ url }: EdgeTunnel, path: string, protocols: string[] = []) {
    this.socket = new WebSocket(`${url.replace("http", "ws")}${path}`, [...protocols, bearer]);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", ({ data }) => {
      this.#messages.push(data);
      this.#arrived();
    });
    this.closed = new Promise((resolve) => {
      this.socket.addEventListener("close", resolve);
    });
  }

  async open(): Promise<this> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.socket.addEventListener("open", () => resolve());
    this.socket.addEventListener("error", () => reject(new Error("The handshake failed")));
    await within(promise, "the handshake");
    return this;
  }

  async next(): Promise<string | ArrayBuffer> {
    if (this.#messages.length === 0) {
      await within(new Promise<void>((resolve) => this.#arrived = resolve), "a message");
    }
    return this.#messages.shift()!;
  }

  async end(): Promise<CloseEvent> {
    return await within(this.closed, "the close");
  }
}

type Case = readonly [string, (tunnel: EdgeTunnel) => Promise<void>];

const cases: readonly Case[] = [
  ["text and binary messages of every length's form come back", async (tunnel) => {
    const caller = await new Caller(tunnel, "/echo").open();
    caller.socket.send("grüße");
    assert.equal(await caller.next(), "grüße");
    for (const length of [0, 1, 125, 126, 65_535, 65_536, 1024 * 1024]) {
      const bytes = new Uint8Array(length).map((_, index) => index * 31);
      caller.socket.send(bytes);
      assert.deepEqual(new Uint8Array(await caller.next() as ArrayBuffer), bytes);
    }
    caller.socket.close(1000, "done");
    assert.equal((await caller.end()).code, 1000);
  }],
  ["many messages keep their order", async (tunnel) => {
    const caller = await new Caller(tunnel, "/echo").open();
    for (let index = 0; index < 500; index++) caller.socket.send(`message ${index}`);
    for (let index = 0; index < 500; index++) {
      assert.equal(await caller.next(), `message ${index}`);
    }
    caller.socket.close();
    await caller.end();
  }],
  ["the target chooses the subprotocol", async (tunnel) => {
    const caller = await new Caller(tunnel, "/echo", ["first", "second"]).open();
    assert.equal(caller.socket.protocol, "second");
    caller.socket.close();
    await caller.end();
  }],
  ["the target's close reaches the caller with its code", async (tunnel) => {
    for (const code of [1000, 4001]) {
      const caller = await new Caller(tunnel, "/echo").open();
      caller.socket.send(`${closeCommand}${code}`);
      const end = await caller.end();
      assert.deepEqual([end.code, end.reason], [code, "as asked"]);
    }
  }],
  [
    "a message of the target's that is too long closes, and nothing of it arrives",
    async (tunnel) => {
      const caller = await new Caller(tunnel, "/echo").open();
      caller.socket.send(`${bigCommand}${1024 * 1024 + 1}`);
      const end = await caller.end();
      assert.deepEqual([end.code, end.reason], [1009, "A message is over 1048576 bytes"]);
      await assert.rejects(within(caller.next(), "nothing", 50), DeadlineError);
    },
  ],
  ["a caller's long message is one message to the target", async (tunnel) => {
    const caller = await new Caller(tunnel, "/echo").open();
    const bytes = 2 * 1024 * 1024;
    // The echo, as long, is what comes to grief: it tells how long the message was.
    caller.socket.send(new Uint8Array(bytes));
    assert.equal((await caller.end()).code, 1009);
  }],
  ["a target that does not upgrade says so", async (tunnel) => {
    const response = await tunnel.fetch("/echo");
    assert.equal(await response.text(), "no upgrade");
  }],
];

for (const home of homes) {
  Deno.test(`${home.name}: WebSocket`, async (t) => {
    await using target = startEcho();
    await using tunnel = await startEdgeTunnel(home, `127.0.0.1:${target.addr.port}`);
    for (const [name, run] of cases) await t.step(name, () => run(tunnel));
  });
}
