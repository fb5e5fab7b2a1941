/** One DNS message and its answer, by TCP (RFC 7766). */
import { parseTargetAddress } from "../../config/options/address.ts";

const timeoutMs = 5_000;

/** Sends a message to `HOST:PORT`. @throws when there is no answer in time */
export async function dnsExchange(server: string, message: Uint8Array): Promise<Uint8Array> {
  const address = parseTargetAddress(server);
  if (!address) throw new Error(`${server} is not HOST:PORT`);
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    using connection = await Deno.connect({ ...address, transport: "tcp", signal });
    const end = () => {
      try {
        connection.close();
      } catch {
        // It is closed already.
      }
    };
    signal.addEventListener("abort", end);
    try {
      const framed = new Uint8Array(2 + message.length);
      framed.set([message.length >> 8, message.length & 255]);
      framed.set(message, 2);
      const writer = connection.writable.getWriter();
      await writer.write(framed);
      const [high, low] = await readExactly(connection, 2);
      return await readExactly(connection, high! << 8 | low!);
    } finally {
      signal.removeEventListener("abort", end);
    }
  } catch (error) {
    if (signal.aborted) throw new Error(`${server} did not answer in time`);
    throw error;
  }
}

async function readExactly(connection: Deno.Conn, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await connection.read(bytes.subarray(at));
    if (count === null) throw new Error("the name server closed the connection");
    at += count;
  }
  return bytes;
}
