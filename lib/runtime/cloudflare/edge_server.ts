/** The relay's edge app inside a Durable Object. */
import { type FetchApp, serveFetch } from "../../net/fetch_server.ts";
import { platform } from "./platform.ts";

/** Has the app answer a request. `fault` is told when it threw: a bug, for the log. */
export function serveInWorker(
  request: Request,
  app: FetchApp,
  fault: (error: unknown) => void,
): Promise<Response> {
  return serveFetch(request, {
    app,
    fault,
    peer: peerOf(request),
    host: { upgrade, copiesOnSend: false, withLength },
  });
}

/** Who asks, as the platform says; a caller can't set this header itself. */
export function peerOf(request: Request): { address: string; isTls: boolean } {
  return {
    address: request.headers.get("cf-connecting-ip") ?? "",
    isTls: request.url.startsWith("https:"),
  };
}

function upgrade(protocol: string | undefined): { socket: WebSocket; response: Response } {
  const { 0: webSocket, 1: socket } = new platform.WebSocketPair();
  socket.accept();
  const headers = new Headers();
  if (protocol !== undefined) headers.set("Sec-WebSocket-Protocol", protocol);
  const init = { status: 101, webSocket, headers };
  return { socket, response: new Response(null, init) };
}

/** Without this, workerd would drop `Content-Length` and send chunks. */
function withLength(body: ReadableStream<Uint8Array>, bytes: number): ReadableStream<Uint8Array> {
  const { readable, writable } = new platform.FixedLengthStream(bytes);
  body.pipeTo(writable).catch(() => {
    // Either end broke, and the other has been told by the pipe.
  });
  return readable;
}
