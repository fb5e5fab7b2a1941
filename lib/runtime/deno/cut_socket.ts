/**
 * Ends a server's WebSocket of Deno's whose peer does not answer a Close.
 *
 * After `close()`, Deno 2.9.6 waits for the peer's Close without a limit, and a `WebSocket` has no
 * other verb: each peer that stays silent would keep a connection and its memory for good. What Deno
 * does end is an open socket whose peer answers no Ping in time. So the socket is declared open once
 * more, with a time for that answer which no peer can keep. The parts it takes are private; where a
 * version or a platform has others, the socket is left to the system's limits. So is one with bytes
 * that its peer does not read: Deno ends it behind those.
 */

/** How long a Ping and its answer may take, in seconds; half of it each. */
const idleTimeoutSeconds = 0.002;
/** The standard's numbers for the states of a WebSocket. */
const open = 1;
const closing = 2;

/** Ends the connection within milliseconds, where that is possible. */
export function cutSocket(socket: WebSocket): void {
  if (socket.readyState !== open && socket.readyState !== closing) return;
  const state = partOf(socket, "[[readyState]]");
  const timeout = partOf(socket, "[[idleTimeout]]");
  const watch = partOf(WebSocket.prototype, "[[serverHandleIdleTimeout]]");
  if (!state || !timeout || !watch) return;
  const parts = socket as unknown as Record<symbol, unknown>;
  const begin = parts[watch];
  if (typeof begin !== "function") return;
  parts[state] = open;
  parts[timeout] = idleTimeoutSeconds;
  begin.call(socket);
}

function partOf(object: object, name: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find(({ description }) => description === name);
}
