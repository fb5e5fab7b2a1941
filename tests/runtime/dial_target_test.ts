/** A plain connection to the target that is paused: it holds what has come, and reads nothing ahead. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
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
