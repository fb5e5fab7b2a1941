/**
 * The part of the npm package `ws` that the version 1 peers use, with types of its own: the package
 * ships none.
 */
import { WebSocket, WebSocketServer } from "ws";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

/** A WebSocket of either end. */
export interface WsSocket {
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: number;
  /** Bytes handed over and not yet written to the TCP socket. */
  readonly bufferedAmount: number;
  /** Sends one message; `sent` is called once it has been written to the TCP socket. */
  send(message: Uint8Array, options: { binary: true }, sent: (error?: Error) => void): void;
  /** Stops reading the TCP socket. */
  pause(): void;
  resume(): void;
  close(code?: number, reason?: string): void;
  terminate(): void;
  on(event: "open", listener: () => void): void;
  on(event: "message", listener: (message: Uint8Array, isBinary: boolean) => void): void;
  on(event: "close", listener: (code: number, reason: Uint8Array) => void): void;
  on(event: "error", listener: (error: Error) => void): void;
  on(
    event: "unexpected-response",
    listener: (request: unknown, response: IncomingMessage) => void,
  ): void;
}

/** Options of a WebSocket client. */
export interface WsClientOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly perMessageDeflate: false;
  /** Longest message accepted, in bytes; a longer one fails the connection with 1009. */
  readonly maxPayload: number;
}

/** Options of a WebSocket server without a listener of its own. */
export interface WsServerOptions {
  readonly noServer: true;
  readonly perMessageDeflate: false;
  /** Longest message accepted, in bytes; a longer one fails the connection with 1009. */
  readonly maxPayload: number;
}

/** A WebSocket server that is handed its upgrades. */
export interface WsServer {
  handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Uint8Array,
    accepted: (socket: WsSocket) => void,
  ): void;
  close(): void;
}

/** Dials a WebSocket. */
export const WsClient: new (url: string, options: WsClientOptions) => WsSocket = WebSocket;

/** Accepts WebSockets. */
export const WsAcceptor: new (options: WsServerOptions) => WsServer = WebSocketServer;
