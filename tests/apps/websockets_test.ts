/** Our WebSocket beside Python's `websockets` (Debian's python3-websockets), at either end. */
import { deepEqual, equal } from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { acceptOurs, dialOurs, type End, listen } from "../support/websocket_ends.ts";
import { within } from "../support/deadline.ts";

/**
 * Sends each message back once a Ping is answered, binary ones in fragments of 1,000 bytes, until it
 * is told to close.
 */
const echo = `
import asyncio, sys, websockets

def fragments(message):
    return [message[at:at + 1000] for at in range(0, len(message), 1000)]

async def echo(socket):
    async for message in socket:
        if message == "close":
            return await socket.close(4321, "as asked")
        await (await socket.ping())
        await socket.send(fragments(message) if isinstance(message, bytes) and message else message)

async def main():
    options = {"compression": None, "max_size": 2 ** 24}
    if len(sys.argv) > 1:
        async with websockets.connect(sys.argv[1], **options) as socket:
            await echo(socket)
    else:
        async with websockets.serve(echo, "127.0.0.1", 0, **options) as server:
            print(server.sockets[0].getsockname()[1], flush=True)
            await asyncio.Future()

asyncio.run(main())
`;

/** Runs the Python side. */
class Echo implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;

  constructor(...args: string[]) {
    this.#process = new Deno.Command("/usr/bin/python3", {
      args: ["-c", echo, ...args],
      stdout: "piped",
    }).spawn();
  }

  /** The port of the server, which it prints. */
  async port(): Promise<number> {
    const reader = this.#process.stdout.getReader();
    const { value } = await within(reader.read(), "Python's server to listen");
    reader.releaseLock();
    return Number(new TextDecoder().decode(value));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stdout.cancel();
    try {
      this.#process.kill();
    } catch {
      // It has ended by itself.
    }
    await this.#process.status;
  }
}

const lengths = [0, 1, 125, 126, 999, 1_000, 1_001, 65_535, 65_536, 1_000_000];

function patterned(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at * 7 + (at >> 8));
}

/** Has messages of every length echoed, then asks the other side to close. */
async function converse({ socket, end }: End): Promise<void> {
  const seen: (Uint8Array | string)[] = [];
  let pings = 0;
  const { promise: closed, resolve } = Promise.withResolvers<string>();
  socket.listen({
    message: (bytes) => seen.push(bytes),
    text: (text) => seen.push(text),
    control: () => pings++,
    closed: (code, reason) => resolve(`${code} ${reason}`),
    drained() {},
  });
  for (const length of lengths) socket.send(patterned(length));
  socket.sendText("grüße, 世界");
  socket.sendText("close");
  equal(await within(closed, "Python's side to close"), "4321 as asked");
  deepEqual(seen.slice(0, -1), lengths.map(patterned));
  equal(seen.at(-1), "grüße, 世界");
  equal(pings, lengths.length + 1);
  await end();
}

Deno.test("our client converses with Python's server", async () => {
  await using server = new Echo();
  const port = await server.port();
  const connection = connect({ host: "127.0.0.1", port });
  await once(connection, "connect");
  await converse(await dialOurs(connection, new URL(`ws://127.0.0.1:${port}/`)));
});

Deno.test("our server converses with Python's client", async () => {
  const listener = await listen(createServer(), acceptOurs);
  await using _client = new Echo(`ws://127.0.0.1:${listener.port}/`);
  await converse(await within(listener.accepted, "Python's client to connect"));
  await listener.close();
});
