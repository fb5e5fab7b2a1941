/** Connections to the target that are paused: they hold what has come, and read nothing ahead. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { ConnSocket } from "../../lib/runtime/deno/conn_socket.ts";
import { dialTarget } from "../../lib/runtime/node/dial_target.ts";

/** A server that answers whatever comes with more than anybody reads at once. */
async function talkativeServer(): Promise<{ port: number } & AsyncDisposable> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.once("data", () => socket.write(new Uint8Array(1024 * 1024)));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Lets this process read all that is ready on its sockets: another connection's answer comes behind. */
async function readAllThatIsReady(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.write("?");
  await once(socket, "data");
  socket.destroy();
  await once(socket, "close");
}

Deno.test("dialTarget's connection reads nothing more once it is paused, and goes on when resumed", async () => {
  await using server = await talkativeServer();
  const options = { hostname: "127.0.0.1", port: server.port, timeoutMs: 5_000, isTls: false };
  const target = await dialTarget(options, new AbortController().signal);
  const socket = target as unknown as Socket;
  using _ = { [Symbol.dispose]: () => target.destroy() };
  const first = Promise.withResolvers<number>();
  let received = 0;
  const whole = Promise.withResolvers<void>();
  target.on("data", (bytes) => {
    if (received === 0) {
      target.pause();
      first.resolve(bytes.length);
    }
    received += bytes.length;
    if (received === 1024 * 1024) whole.resolve();
  });
  target.write(new Uint8Array(1));
  const length = await first.promise;
  for (let turns = 0; turns < 3; turns++) await readAllThatIsReady(server.port);
  assert.deepEqual([socket.bytesRead, received], [length, length]);
  target.resume();
  await whole.promise;
});

Deno.test("ConnSocket begins no read while it is paused", async () => {
  let reads = 0;
  const closed = Promise.withResolvers<never>();
  // Ended without an unhandled rejection when nobody reads any more.
  closed.promise.catch(() => {});
  const conn = {
    read(buffer: Uint8Array): Promise<number | null> {
      reads++;
      return reads <= 2 ? Promise.resolve(buffer.length) : closed.promise;
    },
    close: () => closed.reject(new Deno.errors.BadResource("closed")),
  };
  const socket = new ConnSocket(conn as unknown as Deno.Conn);
  let told = Promise.withResolvers<void>();
  let pieces = 0;
  socket.on("data", () => {
    pieces++;
    socket.pause();
    told.resolve();
  });
  await told.promise;
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual([reads, pieces], [1, 1]);
  told = Promise.withResolvers();
  socket.resume();
  await told.promise;
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual([reads, pieces], [2, 2]);
  socket.destroy();
});
