/** The client's side of the opening handshake (RFC 6455 section 4). */

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

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
