/** What a platform that reads requests by itself, such as Deno Deploy or Cloudflare, has to offer. */
import type { Field } from "../http1/head.ts";

/** What a platform lends to an exchange. */
export interface FetchHost {
  /** Whether the platform can complete this handshake. @throws {HeadError} that says why not. */
  checkHandshake?(request: Request): void;
  /**
   * The caller's own `Accept-Encoding`, where the platform puts another in its place; null for a caller
   * that sent none.
   */
  acceptEncoding?(request: Request): string | null;
  /** Has the platform send the body as it is; it may change the answer's fields. */
  keepBody?(fields: Field[], acceptEncoding: string | null): void;
  /** Completes the request's WebSocket handshake, with this subprotocol if there is one. */
  upgrade(protocol: string | undefined): { socket: WebSocket; response: Response };
  /** See `WebSocketTraits`. */
  readonly copiesOnSend: boolean;
  /** See `WebSocketTraits`. */
  readonly cut?: (socket: WebSocket) => void;
  /** Something of this exchange threw: a bug, for the log. */
  readonly fault?: (error: unknown) => void;
  /** Has a body keep its length on the wire, where `Content-Length` alone does not. */
  withLength?(body: ReadableStream<Uint8Array>, bytes: number): ReadableStream<Uint8Array>;
}
