/** A relay with a web listener, and requests to it by hostname. */
import { addressOf, type RunningRelay, startRelay } from "../support/programs.ts";
import { openConnection } from "../support/raw_connection.ts";
import { type RawMessage, readResponse } from "../support/raw_http.ts";
import { within } from "../support/deadline.ts";

/** The token of the one cluster's agents. */
export const token = "services-token-0123456789";

/** A relay and where its web listener is. */
export interface WebRelay {
  readonly relay: RunningRelay;
  readonly webAddress: string;
}

/** Starts a relay with services, given as the text of a file that the test may change. */
export async function startWebRelay(
  services: string,
  { cluster = {}, args = [] }: { cluster?: object; args?: readonly string[] } = {},
): Promise<WebRelay> {
  const relay = await startRelay({
    clusters: [{ id: "dev", token, targetAddr: "127.0.0.1:1", ...cluster }],
    args: ["-services", services, "-web-addr", "127.0.0.1:0", ...args],
  });
  return { relay, webAddress: await addressOf(relay, "web") };
}

/** The answer to a request for a host, with the bytes of its path as they are. */
export async function get(
  address: string,
  host: string,
  path = "/",
  lines: readonly string[] = [],
  method = "GET",
): Promise<RawMessage> {
  await using connection = await openConnection(address);
  const head = [`${method} ${path} HTTP/1.1`, `Host: ${host}`, ...lines, "", ""];
  await connection.write(head.join("\r\n"));
  return await within(readResponse(connection.reader, method), `${method} ${host}${path}`);
}

/** The body as text. */
export function textOf({ body }: RawMessage): string {
  return new TextDecoder().decode(body);
}
