/** Checks a target's answer to the WebSocket handshake that the relay makes in its caller's place. */
import { handshakeFaults } from "../http1/faults.ts";
import { getField, type RequestHead, type ResponseHead } from "../http1/head.ts";
import type { HandshakeKey } from "../websocket/handshake.ts";

/**
 * Why a target's 101 is not the answer to our handshake (RFC 6455 section 4.1); undefined if it is.
 *
 * @param handshake Undefined for a request that asked for no WebSocket.
 */
export function answerFault(
  { fields }: ResponseHead,
  request: RequestHead,
  handshake: HandshakeKey | undefined,
): string | undefined {
  if (!handshake) return handshakeFaults.noHandshake;
  if (getField(fields, "upgrade")?.toLowerCase() !== "websocket") return handshakeFaults.protocol;
  if (getField(fields, "sec-websocket-accept") !== handshake.accept) return handshakeFaults.accept;
  if (getField(fields, "sec-websocket-extensions") !== undefined) return handshakeFaults.extension;
  const chosen = getField(fields, "sec-websocket-protocol");
  const offered = getField(request.fields, "sec-websocket-protocol")?.split(",") ?? [];
  if (chosen !== undefined && !offered.some((protocol) => protocol.trim() === chosen)) {
    return handshakeFaults.subprotocol;
  }
  return undefined;
}
