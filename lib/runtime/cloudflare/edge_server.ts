/** The relay's edge app inside a Durable Object. */
import { type Field, field, getField, HeadError } from "../../http1/head.ts";
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
    host: { upgrade, copiesOnSend: false, withLength, checkHandshake, acceptEncoding, keepBody },
  });
}

/**
 * A WebSocket request that one Worker passes to another, as miniflare and edge admission do, becomes a
 * GET without a body. Its header fields still show that it had one.
 */
function checkHandshake({ headers }: Request): void {
  if (headers.has("content-length") || headers.has("transfer-encoding")) {
    throw new HeadError(400, "A WebSocket handshake is a GET request without a body");
  }
}

/** Cloudflare puts its own in the field's place, and keeps the caller's beside the request. */
function acceptEncoding(request: Request): string | null {
  const { cf } = request as Request & { readonly cf?: { readonly clientAcceptEncoding?: unknown } };
  const own = cf?.clientAcceptEncoding;
  if (typeof own !== "string") return request.headers.get("accept-encoding");
  return own === "" ? null : own;
}

/**
 * For a caller that accepts gzip or br, Cloudflare compresses bodies by their `Content-Type`, and holds
 * back what it has not compressed yet: a watch's events or a log's lines would come in heaps. It leaves
 * a body alone that says `no-transform` (RFC 9111 section 5.2.2.6), and miniflare one that has a
 * coding of its own, for which "identity" stands.
 */
function keepBody(fields: Field[], acceptEncoding: string | null): void {
  if (acceptEncoding === null || getField(fields, "content-encoding") !== undefined) return;
  if (!/\b(?:gzip|br|zstd)\b|\*/i.test(acceptEncoding)) return;
  const directives = fields.filter(({ key }) => key === "cache-control");
  if (!directives.some(({ value }) => /\bno-transform\b/i.test(value))) {
    fields.push(field("Cache-Control", "no-transform"));
  }
  fields.push(field("Content-Encoding", "identity"));
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
