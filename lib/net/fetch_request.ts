/** Reads the head of a `Request`, and how its body is framed towards the target. */
import type { Framing } from "../http1/body.ts";
import { type Field, field, HeadError, type RequestHead } from "../http1/head.ts";
import { createHandshakeKey, type HandshakeKey } from "../websocket/handshake.ts";
import { type BodySource, nextPiece } from "./fetch_body.ts";
import type { FetchHost } from "./fetch_host.ts";

/** A request as far as it has to be known before its answer begins. */
export interface FetchedRequest {
  readonly head: RequestHead;
  readonly framing: Framing;
  /** Undefined for a request without a body. */
  readonly body: BodySource | undefined;
  /** The caller's own `Accept-Encoding`; null where it sent none, or the platform leaves it as it is. */
  readonly acceptEncoding: string | null;
  /** Undefined for a request that asks for no WebSocket. */
  readonly handshake: HandshakeKey | undefined;
}

/** Fields that speak of the caller's hop; the target's handshake is one of our own. */
const handshakeFields = new Set([
  "connection",
  "upgrade",
  "sec-websocket-key",
  "sec-websocket-version",
  // Frames with extensions are none that a bridge could pass on.
  "sec-websocket-extensions",
]);

/**
 * Reads a request.
 *
 * @throws {HeadError} for a request that the platform can't hand over whole.
 */
export async function readRequest(request: Request, host: FetchHost): Promise<FetchedRequest> {
  checkIdentity(request);
  const handshake = await handshakeOf(request, host);
  const { framing, body } = await framingOf(request);
  const acceptEncoding = host.acceptEncoding?.(request) ?? null;
  const head = headOf(request, {
    handshake,
    framing,
    acceptEncoding: host.acceptEncoding && acceptEncoding,
  });
  return { head, framing, body, acceptEncoding, handshake };
}

async function handshakeOf(request: Request, host: FetchHost): Promise<HandshakeKey | undefined> {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") return undefined;
  if (request.method !== "GET") throw new HeadError(400, "A WebSocket handshake is a GET request");
  host.checkHandshake?.(request);
  return await createHandshakeKey();
}

/**
 * Platforms join the lines of a repeated field by a comma and a blank (Fetch standard, "combine"), so
 * two groups look like one whose name has these.
 *
 * @throws {HeadError} for what might be read as another identity than the caller's.
 */
function checkIdentity({ headers }: Request): void {
  for (const [name, value] of headers) {
    if (!name.startsWith("impersonate-") || !value.includes(", ")) continue;
    const message =
      "Impersonate-* with a comma and a blank, or several times, is not supported on this platform";
    throw new HeadError(400, message);
  }
}

/** What a head has beside the request's own fields. */
interface HeadParts extends Pick<FetchedRequest, "handshake" | "framing"> {
  /** The caller's own, null for none; undefined where the platform leaves it as it is. */
  readonly acceptEncoding: string | null | undefined;
}

function headOf(
  request: Request,
  { handshake, framing, acceptEncoding }: HeadParts,
): RequestHead {
  const fields: Field[] = [];
  for (const [name, value] of request.headers) {
    if (handshakeFields.has(name) || name === "transfer-encoding") continue;
    if (acceptEncoding !== undefined && name === "accept-encoding") continue;
    fields.push(field(name, value));
  }
  if (typeof acceptEncoding === "string") fields.push(field("accept-encoding", acceptEncoding));
  // Over HTTP/2 the authority stands in the URL alone.
  if (!request.headers.has("host")) fields.push(field("host", new URL(request.url).host));
  const upgrade = request.headers.get("upgrade");
  if (upgrade !== null) fields.push(field("connection", "Upgrade"), field("upgrade", upgrade));
  if (handshake) {
    fields.push(field("sec-websocket-version", "13"), field("sec-websocket-key", handshake.key));
  }
  if (framing.kind === "chunked") fields.push(field("transfer-encoding", "chunked"));
  return { method: request.method, target: targetOf(request.url), minor: 1, fields };
}

/** Path and query as the platform has them: a `URL` would normalise them once more. */
export function targetOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const target = start === -1 ? "/" : url.slice(start);
  const fragment = target.indexOf("#");
  return fragment === -1 ? target : target.slice(0, fragment);
}

/**
 * How the body is framed towards the target. A platform does not say whether there is one, if it came
 * without a length, as it may over HTTP/2.
 */
async function framingOf(request: Request): Promise<Pick<FetchedRequest, "framing" | "body">> {
  const length = request.headers.get("content-length");
  if (request.body === null) {
    const isDeclared = (length !== null && length !== "0") ||
      request.headers.has("transfer-encoding");
    if (!isDeclared) return { framing: { kind: "none" }, body: undefined };
    throw new HeadError(501, `A body with ${request.method} is not supported on this platform`);
  }
  if (length !== null) {
    if (!/^\d{1,15}$/.test(length)) throw new HeadError(400, "Content-Length is not a number");
    const bytes = Number(length);
    if (bytes === 0) return { framing: { kind: "none" }, body: undefined };
    const reader = request.body.getReader();
    return { framing: { kind: "length", bytes }, body: { reader, first: undefined } };
  }
  const reader = request.body.getReader();
  let first = await nextPiece(reader);
  while (first?.value?.length === 0) first = await nextPiece(reader);
  // Deno hands over a stream for each request that may have a body, and an empty one stands for none.
  const isChunked = request.headers.has("transfer-encoding");
  if (first?.done && !isChunked) return { framing: { kind: "none" }, body: undefined };
  return { framing: { kind: "chunked" }, body: { reader, first: first?.value } };
}
