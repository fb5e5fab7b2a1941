/** One GET over a connection of its own, its path sent byte for byte. */
import { ByteReader } from "../support/byte_reader.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";

/** Sends the request and reads the answer to its end; closes the connection. */
export async function exchangeOver(
  connection: Deno.Conn,
  path: string,
  headers: Readonly<Record<string, string>>,
): Promise<{ status: number; body: string }> {
  using _closing = connection;
  const fields = { host: "e2e.test", accept: "application/json", connection: "close", ...headers };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  const writer = connection.writable.getWriter();
  await writer.write(new TextEncoder().encode(`GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`));
  const chunks = connection.readable.getReader();
  const response = await readResponse(new ByteReader(async () => (await chunks.read()).value));
  return { status: statusOf(response), body: new TextDecoder().decode(response.body) };
}
