/** Small scripts for the target, and ways to follow what becomes of them. */
import { eventually, within } from "../support/deadline.ts";
import type { RawConnection } from "../support/raw_connection.ts";
import { answer, okWith, type Script, type Tunnel } from "./tunnel.ts";
import { latin1Text, type WireHead, type WireMessage } from "./wire.ts";

/** A plain 200 with the body "hello". */
export const ok200 = latin1Text(okWith("hello"));

/** Plays a script at a path and returns what comes of each request, in order. */
export function record(
  tunnel: Tunnel,
  path: string,
  script: Script = answer(ok200),
): WireMessage[] {
  const requests: WireMessage[] = [];
  tunnel.scripts.set(path, async (exchange) => {
    const request = await exchange.request();
    requests.push(request);
    await script({ ...exchange, request: () => Promise.resolve(request) });
  });
  return requests;
}

/**
 * Has a caller ask for a path, and resolves once its script is being played. The script must end only
 * with its connection, or when its request has been answered.
 */
export async function playing(
  tunnel: Tunnel,
  path: string,
  script: Script,
  start: (caller: RawConnection) => Promise<void>,
): Promise<{ caller: RawConnection; connection: RawConnection; head: WireHead }> {
  const reached = Promise.withResolvers<{ connection: RawConnection; head: WireHead }>();
  tunnel.scripts.set(path, async (exchange) => {
    reached.resolve(exchange);
    await script(exchange);
  });
  const caller = await tunnel.caller();
  await start(caller);
  const { connection, head } = await within(reached.promise, `a request for ${path}`);
  return { caller, connection, head };
}

/** Waits until the agent has ended a connection to the target, in whatever way. */
export async function endOf(connection: RawConnection): Promise<void> {
  await eventually(() => connection.isEnded || connection.isClosed, "the end at the target");
}

/** A script that does nothing until the connection has gone. */
export const holding: Script = async ({ connection }) => {
  await connection.closed;
};

/** A whole chunk. */
export function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}
