/** The relay's edge app under `Deno.serve`, as on Deno Deploy. */
import { HeadError } from "../../http1/head.ts";
import { type FetchApp, serveFetch } from "../../net/fetch_server.ts";
import { handshakeFault } from "../../websocket/handshake.ts";
import { cutSocket } from "./cut_socket.ts";

/** A handler for `Deno.serve`. `fault` is told when the app threw: a bug, for the log. */
export function denoHandler(
  app: FetchApp,
  fault: (error: unknown) => void,
): (request: Request, info: Deno.ServeHandlerInfo) => Promise<Response> {
  return function handle(request, { remoteAddr }) {
    const address = "hostname" in remoteAddr ? remoteAddr.hostname : "";
    return serveFetch(request, {
      app,
      fault,
      peer: { address, isTls: request.url.startsWith("https:") },
      host: {
        copiesOnSend: true,
        checkHandshake,
        upgrade: (protocol) => upgrade(request, protocol),
        cut: cutSocket,
      },
    });
  };
}

/** RFC 6455 section 4.2.1; `Deno.upgradeWebSocket` throws for some of it, and ignores the rest. */
function checkHandshake({ headers }: Request): void {
  const connection = headers.get("connection")?.toLowerCase().split(",") ?? [];
  if (!connection.some((option) => option.trim() === "upgrade")) {
    throw new HeadError(400, "A WebSocket handshake has Connection: Upgrade");
  }
  const fault = handshakeFault((name) => headers.get(name));
  if (fault !== undefined) throw new HeadError(400, fault);
}

/**
 * Deno finds a subprotocol only in a list with a blank behind each comma, which RFC 6455 does not ask
 * for and Kubernetes' clients for Python and JavaScript don't send; so it is added to the answer.
 */
function upgrade(
  request: Request,
  protocol: string | undefined,
): ReturnType<typeof Deno.upgradeWebSocket> {
  const upgraded = Deno.upgradeWebSocket(request);
  if (protocol !== undefined) upgraded.response.headers.set("Sec-WebSocket-Protocol", protocol);
  return upgraded;
}
