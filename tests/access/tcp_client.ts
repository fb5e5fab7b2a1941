/** A TCP client for tests. */
import { within } from "../support/deadline.ts";

/** Sends bytes, half-closes, and reads to the end. */
export async function exchange(port: number, bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const writing = (async () => {
    for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
    await conn.closeWrite();
  })();
  // Where the connection breaks, reading says so first.
  writing.catch(() => {});
  const got = await readAll(conn);
  await writing;
  return got;
}

/** Reads to the end. */
export async function readAll(conn: Deno.TcpConn, timeoutMs = 60_000): Promise<Uint8Array> {
  const whole = new Response(readable(conn)).arrayBuffer();
  return new Uint8Array(await within(whole, "the end of the bytes", timeoutMs));
}

function readable(conn: Deno.TcpConn): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      const piece = new Uint8Array(65_536);
      const length = await conn.read(piece);
      if (length === null) controller.close();
      else controller.enqueue(piece.subarray(0, length));
    },
  });
}
