/** How a `Deno.Conn` is read: nothing ahead, and nothing held that is not wanted. */
import assert from "node:assert/strict";
import { ConnSocket } from "../../lib/runtime/deno/conn_socket.ts";
import { patterned } from "../protocol/wire.ts";

/** A connection on which reads bring so many bytes, one after the other, and then nothing more. */
class ReadConn {
  readonly #counts: number[];
  readonly #closed = Promise.withResolvers<never>();
  reads = 0;

  constructor(...counts: number[]) {
    this.#counts = counts;
    // Nobody may be reading when it is closed.
    this.#closed.promise.catch(() => {});
  }

  read(buffer: Uint8Array): Promise<number | null> {
    const count = this.#counts[this.reads++];
    if (count === undefined) return this.#closed.promise;
    buffer.set(patterned(count));
    return Promise.resolve(count);
  }

  close(): void {
    this.#closed.reject(new Deno.errors.BadResource("closed"));
  }
}

/** Runs what is to be run behind all promises that are settled. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

Deno.test("ConnSocket begins no read while it is paused", async () => {
  const conn = new ReadConn(100, 100);
  const socket = new ConnSocket(conn as unknown as Deno.Conn);
  let pieces = 0;
  socket.on("data", () => {
    pieces++;
    socket.pause();
  });
  await turn();
  assert.deepEqual([conn.reads, pieces], [1, 1]);
  socket.resume();
  await turn();
  assert.deepEqual([conn.reads, pieces], [2, 2]);
  socket.destroy();
});

Deno.test("ConnSocket hands over no more memory than a large read has filled", async () => {
  const conn = new ReadConn(16 * 1024, 40_000, 100, 16 * 1024, 200, 300);
  const socket = new ConnSocket(conn as unknown as Deno.Conn);
  const pieces: Uint8Array[] = [];
  socket.on("data", (bytes) => pieces.push(bytes));
  await turn();
  const lengths = [16 * 1024, 40_000, 100, 16 * 1024, 200, 300];
  assert.deepEqual(pieces, lengths.map((length) => patterned(length)));
  assert.equal(pieces[1]!.buffer.byteLength, 40_000);
  socket.destroy();
});

/** A connection whose writes take what the test lets them. */
class WriteConn extends ReadConn {
  readonly #takes: PromiseWithResolvers<number>[] = [];

  write(bytes: Uint8Array): Promise<number> {
    const taken = Promise.withResolvers<number>();
    this.#takes.push(taken);
    return taken.promise.then((count) => Math.min(count, bytes.length));
  }

  /** Has the write that waits take so many bytes. */
  async take(count: number): Promise<void> {
    this.#takes.shift()!.resolve(count);
    await turn();
  }
}

Deno.test("ConnSocket.write says when all of its bytes have gone out", async () => {
  const conn = new WriteConn();
  const socket = new ConnSocket(conn as unknown as Deno.Conn);
  const sent: string[] = [];
  socket.write(patterned(100), () => sent.push("first"));
  socket.write(patterned(10), () => sent.push("second"));
  await conn.take(99);
  assert.deepEqual(sent, []);
  await conn.take(1);
  assert.deepEqual(sent, ["first"]);
  socket.destroy();
  await conn.take(10);
  assert.deepEqual(sent, ["first"], "of what was under way at the end nobody knows");
});

Deno.test("ConnSocket reads small pieces into one buffer, and keeps none of them there", async () => {
  const buffers = new Set<ArrayBufferLike>();
  class Watched extends ReadConn {
    override read(buffer: Uint8Array): Promise<number | null> {
      buffers.add(buffer.buffer);
      return super.read(buffer);
    }
  }
  const socket = new ConnSocket(new Watched(100, 200, 5_000, 300) as unknown as Deno.Conn);
  const pieces: Uint8Array[] = [];
  socket.on("data", (bytes) => pieces.push(bytes));
  await turn();
  assert.deepEqual(pieces, [100, 200, 5_000, 300].map((length) => patterned(length)));
  assert.equal(buffers.size, 2, "what is not copied is the listener's");
  socket.destroy();
});
