/**
 * The parts of Cloudflare's platform that the relay uses, as types. (Its own package of types replaces
 * the globals of the whole program, which those of Deno would contradict.)
 */

/** Where a named object's requests go. */
export interface ObjectStub {
  /** Has the object answer; fails when the object ended before it did. */
  fetch(request: Request): Promise<Response>;
}

/** A binding to a class of Durable Objects. */
export interface ObjectNamespace {
  getByName(name: string): ObjectStub;
}

/** One end of a pair that a Worker answers a handshake with. */
export interface PairedSocket extends WebSocket {
  /** Begins with events; this end is open from then on. */
  accept(): void;
}

/** What the relay takes from the global scope of workerd. */
interface Platform {
  readonly WebSocketPair: new () => { readonly 0: WebSocket; readonly 1: PairedSocket };
  readonly FixedLengthStream: new (bytes: number) => TransformStream<Uint8Array, Uint8Array>;
}

/** The global scope, inside workerd. */
export const platform = globalThis as unknown as Platform;
