/** An HTTP listener for containers: connections below, a Hono app above. */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { HeadLimits } from "../../http1/head.ts";
import type { ByteSocket } from "../../net/byte_socket.ts";
import type { Exchange, Peer } from "../../net/exchange.ts";
import { type ConnectionTimeouts, HttpConnection } from "../../net/http_connection.ts";
import { peerBehindProxy } from "../../net/proxied_peer.ts";
import type { RawExchange } from "../../net/raw_exchange.ts";
import { maxMessageBytes } from "../../protocol/frame.ts";
import type { MessageSocket } from "../../protocol/socket.ts";
import type { WebSocketAnswer } from "../../relay/env.ts";
import { acceptWebSocket } from "./accept_websocket.ts";
import { type AppFetch, HttpDispatcher } from "./http_dispatcher.ts";
import { type H2Abuse, H2Connection } from "./http2/h2_connection.ts";
import {
  ConnectionListener,
  type ConnectionListenerOptions,
} from "./listener/connection_listener.ts";
import type { Bound } from "./listener/listener_monitor.ts";
import type { AcceptedConnection, ConnectionHandler } from "./listener/tcp_listener.ts";
import type { ServerTls } from "./listener/tls_acceptor.ts";

/** How a listener is set up. */
export interface HttpServerOptions extends ConnectionListenerOptions {
  /** Takes requests. */
  fetch: AppFetch;
  limits: HeadLimits;
  timeouts: ConnectionTimeouts;
  /** An HTTP/2 connection was ended because of what its client did. */
  abused?: (how: H2Abuse, peer: string) => void;
  /** A request that was not valid HTTP was refused. */
  refused?: (status: number, reason: string, peer: string) => void;
  /** A handler threw: a bug, for the log. */
  fault: (error: unknown) => void;
}

/** A listener, and HTTP on its connections. */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #listener: ConnectionListener;
  readonly #dispatcher: HttpDispatcher;
  #isLeaving = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#dispatcher = new HttpDispatcher(options.fetch, options.fault);
    this.#listener = new ConnectionListener(options, (accepted) => this.#accept(accepted));
  }

  /**
   * Binds the address. @returns the address that was bound, which has the port that 0 stood for.
   *
   * @throws Node's system error, with `code` EADDRINUSE and the like.
   */
  listen(hostname: string, port: number): Promise<Bound> {
    return this.#listener.listen(hostname, port);
  }

  /** Connections that are open, with those whose handshake is under way. */
  get openConnections(): number {
    return this.#listener.openConnections;
  }

  /** As {@link ConnectionListener.replaceTls}. */
  replaceTls(tls: ServerTls): void {
    this.#listener.replaceTls(tls);
  }

  /** Goes on, but each connection closes after its next response, which says so. */
  leave(): void {
    this.#isLeaving = true;
    for (const { handler } of this.#listener.connections) handler?.leave();
  }

  /** Takes no new connections, and closes each that is there once it is idle. */
  stopAccepting(): void {
    this.#listener.stopAccepting();
  }

  /**
   * Waits until all connections have ended, so that each caller has what was written to it.
   *
   * @param ms The longest wait; what is left after it is for `close`.
   */
  drained(ms: number): Promise<void> {
    return this.#listener.drained(ms);
  }

  /** Ends everything now. */
  close(): void {
    this.#listener.close();
  }

  #accept(accepted: AcceptedConnection): void {
    const { socket, peer } = accepted;
    if (peer.requestedName && (socket as TLSSocket).alpnProtocol === "h2") {
      const abused = (how: H2Abuse) => this.#options.abused?.(how, peer.address);
      const options = { ...this.#connectionOptions(accepted, refuseWebSocket), abused };
      return this.#serve(accepted, new H2Connection(socket as TLSSocket, options));
    }
    const accept = (exchange: RawExchange, answer?: WebSocketAnswer) =>
      upgrade(exchange, socket, answer);
    const options = this.#connectionOptions(accepted, accept);
    this.#serve(accepted, new HttpConnection(socket as unknown as ByteSocket, options));
  }

  #serve(accepted: AcceptedConnection, handler: ConnectionHandler): void {
    accepted.handler = handler;
    accepted.onExpired = () => accepted.handler?.close();
    if (this.#isLeaving) handler.leave();
  }

  /** What connections of both versions of HTTP are set up with. */
  #connectionOptions<E extends Exchange>(
    accepted: AcceptedConnection,
    acceptWebSocket: (exchange: E, answer?: WebSocketAnswer) => Promise<MessageSocket>,
  ) {
    const { peer } = accepted;
    const isProxy = this.#listener.trusts(peer.address);
    return {
      peer,
      limits: this.#options.limits,
      timeouts: this.#options.timeouts,
      handle: (exchange: E) => {
        if (isProxy) exchange.peer = this.#behindProxy(exchange);
        this.#dispatcher.dispatch(exchange, (answer) => acceptWebSocket(exchange, answer));
      },
      refused: (status: number, reason: string) =>
        this.#options.refused?.(status, reason, peer.address),
      closed: () => {
        accepted.handler = undefined;
        // It is over, or was let in by what is above HTTP.
        this.#listener.trust(accepted);
      },
      nowMs: () => performance.now(),
    };
  }

  #behindProxy({ peer, head }: Exchange): Peer {
    return peerBehindProxy(peer, head.fields, this.#options.proxies!.ranges);
  }
}

/** Makes a request's connection a WebSocket. */
function upgrade(
  exchange: RawExchange,
  socket: Socket,
  answer?: WebSocketAnswer,
): Promise<MessageSocket> {
  // A socket that is already closed would report nothing more.
  if (socket.destroyed) throw new Error("The connection ended before the WebSocket handshake");
  const { head: rest } = exchange.detach(101);
  return acceptWebSocket(socket, exchange.head, { ...answer, rest, maxMessageBytes });
}

/** RFC 8441 is not supported: browsers open WebSockets over HTTP/1.1 then. */
function refuseWebSocket(): Promise<MessageSocket> {
  return Promise.reject(new Error("A WebSocket needs HTTP/1.1"));
}
