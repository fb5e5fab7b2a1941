/** Our WebSocket beside the `ws` package's: what either end gets from the other, and what both refuse. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import fc from "fast-check";
import { encodeClose, encodeFrame, maxControlBytes, Opcode } from "../../lib/websocket/frame.ts";
import { MessageReader } from "../../lib/websocket/message_reader.ts";
import { checkAsync } from "../protocol/property.ts";
import { within } from "../support/deadline.ts";
import {
  type Accept,
  acceptOurs,
  acceptWs,
  type Dial,
  dialOurs,
  dialWs,
  type End,
  listen,
} from "../support/websocket_ends.ts";

/** What arrives at an end, in words. */
class Arrivals {
  readonly seen: string[] = [];
  readonly closed: Promise<void>;

  constructor({ socket }: End) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    socket.listen({
      message: (bytes) => this.seen.push(`binary ${digest(bytes)}`),
      text: (text) => this.seen.push(`text ${text}`),
      closed: (code, reason) => {
        this.seen.push(`closed ${code} ${reason}`);
        resolve();
      },
      drained() {},
    });
  }
}

/** Length and content of a message, in few characters. */
function digest(bytes: Uint8Array): string {
  let sum = 0;
  for (const byte of bytes) sum = (Math.imul(sum, 31) + byte) | 0;
  return `${bytes.length} ${sum}`;
}

const lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000, 1_000_000];

function patterned(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at * 7 + (at >> 8));
}

const pairs: [string, Dial, Accept][] = [
  ["ours to ours", dialOurs, acceptOurs],
  ["ws to ours", dialWs, acceptOurs],
  ["ours to ws", dialOurs, acceptWs],
];

for (const [name, dial, accept] of pairs) {
  Deno.test(`a WebSocket carries messages of every length both ways, and its close (${name})`, async () => {
    const listener = await listen(createServer(), accept);
    const connection = connect({ host: "127.0.0.1", port: listener.port });
    await once(connection, "connect");
    const client = await dial(connection, new URL(`ws://127.0.0.1:${listener.port}/`));
    const server = await within(listener.accepted, "the server's end");
    const [atClient, atServer] = [new Arrivals(client), new Arrivals(server)];
    for (const end of [client, server]) {
      for (const length of lengths) end.socket.send(patterned(length));
      end.socket.sendText("grüße, 世界");
    }
    client.socket.close(4321, "done with it");
    await within(Promise.all([atClient.closed, atServer.closed]), "both ends to close");
    const sent = lengths.map((length) => `binary ${digest(patterned(length))}`);
    sent.push("text grüße, 世界");
    assert.deepEqual(atServer.seen, [...sent, "closed 4321 done with it"]);
    // The closing side may have ended before the last of the other's has come.
    assert.deepEqual(atClient.seen.slice(0, -1), sent.slice(0, atClient.seen.length - 1));
    await Promise.all([client.end(), server.end()]);
    await listener.close();
  });
}

/** A connection whose handshake was accepted, as raw bytes. */
class RawClient implements AsyncDisposable {
  readonly arrivals: Arrivals;
  readonly #socket: Socket;
  readonly #end: End;
  readonly #close: () => Promise<void>;
  readonly #answer: Uint8Array[] = [];

  private constructor(socket: Socket, end: End, close: () => Promise<void>) {
    this.#socket = socket;
    this.#end = end;
    this.#close = close;
    this.arrivals = new Arrivals(end);
    socket.on("data", (bytes: Uint8Array) => this.#answer.push(bytes));
  }

  static async connect(accept: Accept): Promise<RawClient> {
    const listener = await listen(createServer(), accept);
    const socket = connect({ host: "127.0.0.1", port: listener.port });
    socket.on("error", () => {});
    socket.write(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    const end = await within(listener.accepted, "the server's end");
    await once(socket, "readable");
    const head = new TextDecoder().decode(socket.read());
    assert.match(head, /^HTTP\/1\.1 101 .*s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/s);
    return new RawClient(socket, end, () => listener.close());
  }

  write(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** The code of the Close that the server sent, once its end is over. */
  async closeCode(): Promise<number | undefined> {
    await within(this.arrivals.closed, "the server's end to be over");
    if (!this.#socket.closed) {
      const closed = once(this.#socket, "close");
      this.#socket.end();
      await within(closed, "the connection to close");
    }
    let code: number | undefined;
    const reader = new MessageReader({ sender: "server", maxMessageBytes: 1_000_000 }, {
      text() {},
      binary() {},
      ping() {},
      close: (sent) => code = sent,
    });
    for (const bytes of this.#answer) reader.receive(bytes);
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.#end.end();
    await this.#close();
  }
}

const mask = new Uint8Array([0x37, 0xfa, 0x21, 0x3d]);

/** A client's frame; the first byte is as given, whatever that means. */
function clientFrame(first: number, payload: Uint8Array): Uint8Array {
  const frame = encodeFrame(Opcode.Binary, payload, mask);
  frame[0] = first;
  return frame;
}

/** What a server at the other end makes of bytes: messages, and the code that it closes with. */
async function outcome(accept: Accept, bytes: Uint8Array, cuts: readonly number[]) {
  await using client = await RawClient.connect(accept);
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut > at) client.write(bytes.slice(at, cut));
    at = Math.max(at, cut);
    await new Promise(setImmediate);
  }
  // Whatever is wrong with them, this is the end.
  client.write(encodeFrame(Opcode.Close, encodeClose(1000, ""), mask));
  const code = await client.closeCode();
  return { code, messages: client.arrivals.seen.filter((line) => !line.startsWith("closed")) };
}

const fault = fc.constantFrom(0x00, 0x01, 0x02, 0x03, 0x08, 0x0b, 0x10, 0x40, 0x70);
const anyFrame = fc.record({
  first: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(0x82, 0x81, 0x89, 0x8a, 0x02, 0x01, 0x80, 0x00) },
    { weight: 1, arbitrary: fault.map((bits) => 0x80 ^ bits) },
  ),
  payload: fc.oneof(
    fc.uint8Array({ maxLength: maxControlBytes }),
    fc.string({ unit: "binary", maxLength: 40 }).map((text) => new TextEncoder().encode(text)),
    fc.uint8Array({ minLength: 126, maxLength: 300 }),
  ),
});

Deno.test("a server's end makes of any frames what the ws package makes of them", async () => {
  await checkAsync(
    fc.asyncProperty(
      fc.array(anyFrame, { maxLength: 6 }),
      fc.array(fc.nat(400), { maxLength: 3 }),
      async (frames, cuts) => {
        const bytes = new Uint8Array(
          frames.flatMap(({ first, payload }) => [...clientFrame(first, payload)]),
        );
        const sorted = cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b);
        const ours = await outcome(acceptOurs, bytes, sorted);
        const theirs = await outcome(acceptWs, bytes, sorted);
        assert.deepEqual(ours, theirs);
      },
    ),
    { numRuns: 60 },
  );
});

const refused: [string, Uint8Array, number][] = [
  ["a frame that is not masked", new Uint8Array([0x82, 1, 65]), 1002],
  ["a reserved bit", clientFrame(0xc2, patterned(1)), 1002],
  ["an unknown opcode", clientFrame(0x83, patterned(1)), 1002],
  ["a continuation of nothing", clientFrame(0x80, patterned(1)), 1002],
  ["a fragmented Ping", clientFrame(0x09, patterned(1)), 1002],
  ["a Ping of 126 bytes", clientFrame(0x89, patterned(126)), 1002],
  ["text that is not UTF-8", clientFrame(0x81, new Uint8Array([0xc3, 0x28])), 1007],
  ["a length over the limit", new Uint8Array([0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 1]), 1009],
  ["a length of 2^63", new Uint8Array([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1009],
];

for (const [what, bytes, code] of refused) {
  Deno.test(`a server's end closes for ${what} with ${code}, and tells its owner`, async () => {
    await using client = await RawClient.connect(acceptOurs);
    client.write(bytes);
    assert.equal(await client.closeCode(), code);
    assert.match(client.arrivals.seen.join(), new RegExp(`^closed ${code} .+`));
  });
}
