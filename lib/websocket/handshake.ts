/** The opening handshake (RFC 6455 section 4): how it is told, and what proves that it was understood. */
import { listHas, type RequestHead } from "../http1/head.ts";

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** A `Sec-WebSocket-Key` and the `Sec-WebSocket-Accept` that proves that it was read. */
export interface HandshakeKey {
  readonly key: string;
  readonly accept: string;
}

/** A new key of 16 random bytes. */
export async function createHandshakeKey(): Promise<HandshakeKey> {
  const key = base64(crypto.getRandomValues(new Uint8Array(16)));
  return { key, accept: await acceptOf(key) };
}

/** What a server answers to a key (RFC 6455 section 4.2.2, item 5.4). */
export async function acceptOf(key: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(key + guid));
  return base64(new Uint8Array(digest));
}

/** Whether a request asks for a WebSocket, in whatever version. */
export function asksForWebSocket(
  { method, fields }: Pick<RequestHead, "method" | "fields">,
): boolean {
  return method === "GET" && listHas(fields, "connection", "upgrade") &&
    listHas(fields, "upgrade", "websocket");
}

/**
 * What is wrong with the key or the version of a request that asks for a WebSocket (RFC 6455 section
 * 4.2.1), in words for a 400; undefined if nothing is.
 *
 * @param get A header's first value, by its name in lower case.
 */
export function handshakeFault(
  get: (name: string) => string | null | undefined,
): string | undefined {
  if (!/^[+/0-9A-Za-z]{22}==$/.test(get("sec-websocket-key") ?? "")) {
    return "Sec-WebSocket-Key must be 16 bytes in base64";
  }
  return get("sec-websocket-version") === "13" ? undefined : "Sec-WebSocket-Version must be 13";
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
