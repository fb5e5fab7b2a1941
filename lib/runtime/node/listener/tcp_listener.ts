/** A TCP listener: which connections it lets in, who is at their other end, and how they end. */
import { createServer, type Server, type Socket } from "node:net";
import type { AddressRanges } from "../../../domain/address_ranges.ts";
import { isolated } from "../../../faults.ts";
import { Linked, LinkedList } from "../../../linked_list.ts";
import {
  ConnectionLimit,
  type ConnectionLimits,
  type MetConnectionLimit,
} from "../../../net/connection_limit.ts";
import type { Peer } from "../../../net/exchange.ts";
import type { ProxySource } from "../../../net/proxy_header.ts";
import { guarded, guardSocket } from "../guarded_socket.ts";
import { socketBelow } from "./handshake_failure.ts";
import { type Bound, ListenerMonitor } from "./listener_monitor.ts";
import { awaitProxyHeader, type ProxyHeaderFault } from "./proxy_header_socket.ts";

/** Proxies that are believed when they say for whom they ask. */
export interface TrustedProxies {
  readonly ranges: AddressRanges;
  /** Whether each of their connections begins with a header of the PROXY protocol. */
  readonly sendHeader: boolean;
}

/** What a TCP listener is set up with. */
export interface TcpListenerOptions {
  connections: ConnectionLimits;
  /** Addresses whose connections are reset at once, before TLS; none unless given. */
  refuses?: ((address: string) => boolean) | undefined;
  /** Proxies in front; absent for none. */
  proxies?: TrustedProxies | undefined;
  /** A trusted proxy's connection did not begin with a PROXY header, and was closed. */
  proxyHeaderRefused?: ((fault: ProxyHeaderFault, peer: string) => void) | undefined;
  /** A connection was reset at once, as there are too many. */
  turnedAway?: ((limit: MetConnectionLimit, peer: string) => void) | undefined;
  /** It accepted nothing any more, and was opened anew (see `listener_monitor.ts`). */
  deafened?: (() => void) | undefined;
  /** Milliseconds since 1970, for certificates' ends; tests have another one. */
  epochMs?: (() => number) | undefined;
  /** How often connections and the listener are looked at; tests have another one. */
  sweepMs?: number | undefined;
  /** Processes that accept connections at the same address, this one included; one unless given. */
  sharers?: number | undefined;
}

/** How often connections are checked against their deadlines, and listeners, in milliseconds. */
const defaultSweepMs = 1_000;
/** Idle time after which the system probes whether a connection's peer is still there. */
const tcpKeepAliveMs = 30_000;

/** What serves a connection until that is over or handed over. */
export interface ConnectionHandler {
  checkDeadline(nowMs: number): void;
  /** Has it close after its next response. */
  leave(): void;
  /** Has it close once it is idle. */
  close(): void;
  abort(): void;
}

/** A connection as long as its socket is there. */
export class AcceptedConnection extends Linked<AcceptedConnection> {
  readonly socket: Socket;
  readonly peer: Peer;
  /** Nothing once it is over or was handed over. */
  handler: ConnectionHandler | undefined;
  /** The client's certificate has ended. With a new one it may come again. */
  onExpired: () => void = () => {};

  constructor(socket: Socket, peer: Peer) {
    super();
    this.socket = socket;
    this.peer = peer;
  }
}

/** Accepts connections, counts them, and follows each to its end. */
export class TcpListener {
  readonly #options: TcpListenerOptions;
  readonly #server: Server;
  readonly #open: ConnectionLimit;
  readonly #accepted = new LinkedList<AcceptedConnection>();
  /** Whom proxies' headers name, by the TCP socket: TLS lies between header and request. */
  readonly #sources = new WeakMap<Socket, ProxySource>();
  readonly #epochMs: () => number;
  readonly #connected: (socket: Socket, hasReadHeader: boolean) => void;
  #bound: Bound | undefined;
  #monitor: ListenerMonitor | undefined;
  #sweep: ReturnType<typeof setInterval> | undefined;
  #onEmpty: () => void = () => {};

  /**
   * @param connected Takes each connection that is let in, with nothing read from it but a PROXY
   *   header; after that, the socket is paused.
   */
  constructor(
    options: TcpListenerOptions,
    connected: (socket: Socket, hasReadHeader: boolean) => void,
  ) {
    this.#options = options;
    this.#connected = connected;
    this.#epochMs = options.epochMs ?? (() => Date.now());
    this.#open = new ConnectionLimit(options.connections);
    this.#server = createServer(
      { allowHalfOpen: true, noDelay: true },
      (socket) => guarded(socket, () => this.#accept(guardSocket(socket))),
    );
  }

  /**
   * Binds the address. @returns the address that was bound, which has the port that 0 stood for.
   *
   * @throws Node's system error, with `code` EADDRINUSE and the like.
   */
  async listen(hostname: string, port: number): Promise<Bound> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    // It stays: when the listener is opened anew and can't be, that is tried again.
    this.#server.on("error", reject);
    this.#listen({ port, ...(hostname === "" ? {} : { host: hostname }) }, resolve);
    await promise;
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") throw new Error("No TCP address was bound");
    this.#bound = { hostname: bound.address, port: bound.port };
    const monitor = this.#monitor = new ListenerMonitor(this.#bound, this.#sharers);
    this.#server.on("connection", () => monitor.accepted());
    this.#sweep = setInterval(() => {
      this.#checkConnections();
      isolated("process", () => this.#checkListener());
    }, this.#options.sweepMs ?? defaultSweepMs);
    return this.#bound;
  }

  /** Connections that are open, with those whose handshake is under way. */
  get openConnections(): number {
    return this.#open.size;
  }

  /** Connections that were accepted and are there. */
  get connections(): AcceptedConnection[] {
    return this.#accepted.toArray();
  }

  /** Takes no new connections, and closes each that is there once it is idle. */
  stopAccepting(): void {
    this.#stopListening();
    for (const { handler } of this.connections) handler?.close();
  }

  /**
   * Waits until all connections have ended, so that each caller has what was written to it.
   *
   * @param ms The longest wait; what is left after it is for `close`.
   */
  async drained(ms: number): Promise<void> {
    if (this.#accepted.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#onEmpty = resolve;
    await promise;
    clearTimeout(timer);
  }

  /** Ends everything now. */
  close(): void {
    this.#stopListening();
    clearInterval(this.#sweep);
    for (const { handler, socket } of this.connections) {
      if (handler) handler.abort();
      else socket.destroy();
    }
  }

  /** Follows a connection as long as its socket is there. */
  track(socket: Socket, peer: Peer): AcceptedConnection {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, tcpKeepAliveMs);
    const accepted = new AcceptedConnection(socket, peer);
    this.#accepted.add(accepted);
    socket.once("close", () => {
      this.#accepted.remove(accepted);
      if (this.#accepted.size === 0) this.#onEmpty();
      this.#restWhenIdle();
    });
    return accepted;
  }

  /** Who is at the other end: the client for whom a proxy's header speaks, if there was one. */
  peerOf(socket: Socket, isTls: boolean): Peer {
    const source = this.#sources.get(socketBelow(socket));
    return {
      address: source?.address ?? addressOf(socket),
      isTls: isTls || source?.isTls === true,
    };
  }

  /** The client that a proxy's header named; undefined without one. */
  sourceOf(socket: Socket): string | undefined {
    return this.#sources.get(socketBelow(socket))?.address;
  }

  /** Whether an address is a trusted proxy's. */
  trusts(address: string): boolean {
    return this.#options.proxies?.ranges.has(address) ?? false;
  }

  /** A connection has proved who it is: it counts for its address no more. */
  trust({ socket }: AcceptedConnection): void {
    this.#open.trust(keyOf(socket));
  }

  /** The listener's call to itself asks for nothing. */
  #accept(socket: Socket): void {
    if (!this.#monitor) return this.#letIn(socket);
    this.#monitor.identify(socket, (isOwn) => {
      if (isOwn) socket.destroy();
      else guarded(socket, () => this.#letIn(socket));
    });
  }

  /** Counts a new connection, or resets it at once if there are too many. */
  #letIn(socket: Socket): void {
    // It was reset before it was accepted: nobody is there any more, and nothing tells who was.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const address = addressOf(socket);
    if (this.#options.refuses?.(address)) return void socket.resetAndDestroy();
    const key = keyOf(socket);
    const limit = this.#open.add(key, address);
    if (limit !== undefined) {
      this.#options.turnedAway?.(limit, address);
      socket.resetAndDestroy();
      return;
    }
    socket.once("close", () => this.#open.remove(key));
    if (this.#options.proxies?.sendHeader && this.trusts(address)) {
      this.#readProxyHeader(socket, address);
    } else this.#connected(socket, false);
  }

  /** Reads the PROXY header of a trusted proxy. From anybody else it is neither a valid request nor TLS. */
  #readProxyHeader(socket: Socket, address: string): void {
    awaitProxyHeader(socket, {
      read: (source) => {
        this.#sources.set(socket, source);
        this.#connected(socket, true);
      },
      failed: (fault) => {
        socket.resetAndDestroy();
        this.#options.proxyHeaderRefused?.(fault, address);
      },
    });
  }

  #stopListening(): void {
    this.#server.close();
    this.#monitor?.close();
    this.#monitor = undefined;
    this.#restWhenIdle();
  }

  /** Connections may outlive their listener; after the last one there is nothing to look at. */
  #restWhenIdle(): void {
    if (!this.#monitor && this.#accepted.size === 0) clearInterval(this.#sweep);
  }

  #checkListener(): void {
    if (!this.#monitor || !this.#bound) return;
    if (this.#monitor.look()) {
      this.#options.deafened?.();
      this.#server.close();
    }
    const { hostname: host, port } = this.#bound;
    if (!this.#server.listening) this.#listen({ host, port });
  }

  #listen(address: { readonly host?: string; readonly port: number }, done?: () => void): void {
    const shared = this.#sharers > 1 ? { reusePort: true } : {};
    this.#server.listen({ ...address, ...shared }, done);
  }

  get #sharers(): number {
    return this.#options.sharers ?? 1;
  }

  #checkConnections(): void {
    const nowMs = performance.now();
    const epochMs = this.#epochMs();
    for (const accepted of this.connections) {
      guarded(accepted.socket, () => {
        accepted.handler?.checkDeadline(nowMs);
        const { certificate } = accepted.peer;
        if (certificate && certificate.expiresMs <= epochMs) accepted.onExpired();
      });
    }
  }
}

/** A socket's peer, an IPv4 address in its own form. */
export function addressOf(socket: Socket): string {
  return (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
}

/** A connection's two ends, which are the same on its TLS and its TCP socket. */
function keyOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
