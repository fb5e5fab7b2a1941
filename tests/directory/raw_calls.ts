/** Calls that need exact bytes: to a relay's internal listener, one connection each. */
import { openConnection, type RawConnection } from "../support/raw_connection.ts";
import { type RawMessage, readResponse, statusOf } from "../support/raw_http.ts";

/** Sends a request of these lines and reads the answer. */
export async function call(
  address: string,
  requestLine: string,
  fields: readonly string[] = [],
  body = "",
): Promise<RawMessage & { status: number; text: string }> {
  await using connection = await openCall(address, requestLine, fields, body);
  const response = await readResponse(connection.reader, requestLine.split(" ", 1)[0]!);
  const text = new TextDecoder().decode(response.body);
  return { ...response, status: statusOf(response), text };
}

/** Sends a request and leaves the answer to the test. */
export async function openCall(
  address: string,
  requestLine: string,
  fields: readonly string[] = [],
  body = "",
): Promise<RawConnection> {
  const connection = await openConnection(address);
  const lines = [`${requestLine} HTTP/1.1`, `Host: ${address}`, ...fields, "", body];
  await connection.write(lines.join("\r\n"));
  return connection;
}

/** The `code` in a relay's own answer. */
export function codeIn(text: string): string {
  return (JSON.parse(text) as { error: { code: string } }).error.code;
}
