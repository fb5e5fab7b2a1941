/** HTTP/1.1 listeners for containers: `node:net` and `node:tls` below, a Hono app above. */
import { createServer, type Server, type Socket } from "node:net";
import {
  createServer as createTlsServer,
  type DetailedPeerCertificate,
  type SecureContextOptions,
  type Server as TlsServer,
  type TLSSocket,
} from "node:tls";
import { X509Certificate } from "node:crypto";
import { dateField } from "../../http1/date.ts";
import { type Field, field, type HeadLimits } from "../../http1/head.ts";
import { maxMessageBytes } from "../../protocol/frame.ts";
import type { MessageSocket } from "../../protocol/socket.ts";
import { AppRequest } from "../../net/app_request.ts";
import type { ByteSocket } from "../../net/byte_socket.ts";
import {
  ConnectionLimit,
  type ConnectionLimits,
  type MetConnectionLimit,
} from "../../net/connection_limit.ts";
import type { Exchange, Peer, RequestedName } from "../../net/exchange.ts";
import type { RawExchange } from "../../net/raw_exchange.ts";
import { type ConnectionTimeouts, HttpConnection } from "../../net/http_connection.ts";
import { peerBehindProxy } from "../../net/proxied_peer.ts";
import type { ProxySource } from "../../net/proxy_header.ts";
import type { AddressRanges } from "../../domain/address_ranges.ts";
import { certificateNames } from "./certificate_names.ts";
import { leadsTo, readCertificates } from "./certificates.ts";
import { type Bound, ListenerMonitor } from "./listener_monitor.ts";
import {
  type HandshakeFailure,
  handshakeFailure,
  type HandshakeFailureReason,
  socketBelow,
} from "./handshake_failure.ts";
import { awaitProxyHeader, type ProxyHeaderFault } from "./proxy_header_socket.ts";
import { acceptWebSocket, type WebSocketAnswer } from "./accept_websocket.ts";
import { isolated } from "../../faults.ts";
import { Linked, LinkedList } from "../../linked_list.ts";
import { guarded, guardSocket } from "./guarded_socket.ts";
import { type H2Abuse, H2Connection } from "./http2/h2_connection.ts";
import { awaitClientHello } from "./web/client_hello_socket.ts";
import type { ClientHello } from "../../net/client_hello.ts";
import type { WebCertificate } from "./web/web_certificates.ts";

/** What a listener lends to its app with each request. */
export interface NodeBindings {
  exchange: Exchange;
  readonly acceptWebSocket: AcceptWebSocket;
  alreadyAnswered: Response;
}

/** Completes a WebSocket's handshake. */
type AcceptWebSocket = (answer?: WebSocketAnswer) => Promise<MessageSocket>;

/** An app: Hono's `fetch`. */
export type AppFetch = (request: Request, bindings: NodeBindings) => Response | Promise<Response>;

/** Certificate, key and, for mutual TLS, the CA that callers' certificates must come from; PEM. */
export interface ServerTls {
  cert: string;
  key: string;
  clientCa?: string | undefined;
}

/** Proxies that are believed when they say for whom they ask. */
export interface TrustedProxies {
  readonly ranges: AddressRanges;
  /** Whether each of their connections begins with a header of the PROXY protocol. */
  readonly sendHeader: boolean;
}

/** Certificates, one of which is shown to a client: by the name that it asks for. */
export interface CertificatesByName {
  for(host: string): WebCertificate | undefined;
  /** For a client that asks for no name. */
  readonly first: WebCertificate | undefined;
}

/** A connection of which nothing has been read. */
export interface BareConnection {
  readonly socket: ByteSocket;
  readonly peer: Peer;
}

/** A connection whose TLS is for somebody else. */
export interface RawConnection extends BareConnection {
  readonly hello: ClientHello;
}

/** Says who takes a connection before its TLS begins; nobody for one that is opened here. */
export type PassThrough = (hello: ClientHello) => ((connection: RawConnection) => void) | undefined;

/** How a listener is set up. */
export interface HttpServerOptions {
  /** Takes requests. */
  fetch: AppFetch;
  /** In place of `fetch`: takes connections as they are, once TLS has let them in. */
  bare?: ((connection: BareConnection) => void) | undefined;
  /** Addresses whose connections are reset at once, before TLS; none unless given. */
  refuses?: ((address: string) => boolean) | undefined;
  tls?: ServerTls | undefined;
  /** In place of `tls`: a certificate for each host, with HTTP/2 beside HTTP/1.1. */
  certificates?: CertificatesByName | undefined;
  /** Passes connections on by the name in their ClientHello; not with `tls`. */
  passThrough?: PassThrough | undefined;
  /** Whether `passThrough` may take a connection now; yes unless given. Otherwise none is looked into. */
  passesNow?: (() => boolean) | undefined;
  /** An HTTP/2 connection was ended because of what its client did. */
  abused?: (how: H2Abuse, peer: string) => void;
  limits: HeadLimits;
  timeouts: ConnectionTimeouts;
  connections: ConnectionLimits;
  /** Proxies in front; absent for none. */
  proxies?: TrustedProxies | undefined;
  /** A trusted proxy's connection did not begin with a PROXY header, and was closed. */
  proxyHeaderRefused?: (fault: ProxyHeaderFault, peer: string) => void;
  /** A connection was reset at once, as there are too many. */
  turnedAway?: (limit: MetConnectionLimit, peer: string) => void;
  /** A TLS handshake failed; the connection is closed. */
  handshakeFailed?: (failure: HandshakeFailure) => void;
  /** A request that was not valid HTTP was refused. */
  refused?: (status: number, reason: string, peer: string) => void;
  /** It accepted nothing any more, and was opened anew (see `listener_watch.ts`). */
  deafened?: () => void;
  /** A handler threw: a bug, for the log. */
  fault: (error: unknown) => void;
  /** Milliseconds since 1970, for certificates' ends; tests have another one. */
  epochMs?: () => number;
  /** For a TLS handshake, in milliseconds; tests have another one. */
  handshakeTimeoutMs?: number;
  /** How often connections and the listener are looked at; tests have another one. */
  sweepMs?: number;
}

/** How often connections are checked against their deadlines, and listeners, in milliseconds. */
const defaultSweepMs = 1_000;
/** For a TLS handshake, in milliseconds, and for a ClientHello alone. */
const tlsHandshakeTimeoutMs = 10_000;
/** Idle time after which the system probes whether a connection's peer is still there. */
const tcpKeepAliveMs = 30_000;

/** A fatal alert in a record of its own (RFC 8446 section 6, RFC 6066 section 3). */
const unrecognizedName = new Uint8Array([21, 3, 3, 0, 2, 2, 112]);

/** Certificates that a client may show, as OpenSSL has it with some to spare. */
const maxChainLength = 12;

/** Returned by handlers that answer through the exchange. It is compared, never sent. */
const alreadyAnswered = new Response(null);

/** No literal, for the reason that `ExchangeForwarder` gives. */
class Bindings implements NodeBindings {
  readonly exchange: Exchange;
  readonly acceptWebSocket: AcceptWebSocket;
  readonly alreadyAnswered = alreadyAnswered;

  constructor(exchange: Exchange, acceptWebSocket: AcceptWebSocket) {
    this.exchange = exchange;
    this.acceptWebSocket = acceptWebSocket;
  }
}

/** A connection of either version of HTTP. */
interface Connection {
  checkDeadline(nowMs: number): void;
  leave(): void;
  close(): void;
  abort(): void;
}

/** A connection as long as its socket is there. */
class Accepted extends Linked<Accepted> {
  readonly socket: Socket;
  /** Nothing once it is over or was handed over. */
  connection: Connection | undefined;
  /** Milliseconds since 1970 at which the client's certificate ends; infinite without one. */
  untilMs = Infinity;

  constructor(socket: Socket) {
    super();
    this.socket = socket;
  }
}

/** A listener and its connections. */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #server: Server;
  /** Shakes hands on what `#server` accepts; it listens nowhere itself. */
  readonly #tls: TlsServer | undefined;
  readonly #open: ConnectionLimit;
  readonly #accepted = new LinkedList<Accepted>();
  readonly #epochMs: () => number;
  readonly #handshakeTimeoutMs: number;
  #clientCaPem: string;
  /** Read when they are first needed, and when they change. */
  #clientCas: readonly X509Certificate[] | undefined;
  /** Whom proxies' headers name, by the TCP socket: TLS lies between header and request. */
  readonly #sources = new WeakMap<Socket, ProxySource>();
  #bound: Bound | undefined;
  #monitor: ListenerMonitor | undefined;
  #sweep: ReturnType<typeof setInterval> | undefined;
  #onEmpty: () => void = () => {};
  #isLeaving = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#epochMs = options.epochMs ?? (() => Date.now());
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? tlsHandshakeTimeoutMs;
    this.#clientCaPem = options.tls?.clientCa ?? "";
    this.#open = new ConnectionLimit(options.connections);
    if (options.certificates) this.#tls = this.#createWebTls(options.certificates);
    else this.#tls = options.tls && this.#createTls(options.tls);
    this.#server = createServer(
      { allowHalfOpen: true, noDelay: true },
      (socket) => guarded(socket, () => this.#letIn(guardSocket(socket))),
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
    this.#server.listen({ port, ...(hostname === "" ? {} : { host: hostname }) }, resolve);
    await promise;
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") throw new Error("No TCP address was bound");
    this.#bound = { hostname: bound.address, port: bound.port };
    const monitor = this.#monitor = new ListenerMonitor(this.#bound);
    this.#server.on("connection", () => monitor.accepted());
    this.#sweep = setInterval(() => {
      this.#checkDeadlines();
      isolated("process", () => this.#checkListener());
    }, this.#options.sweepMs ?? defaultSweepMs);
    return this.#bound;
  }

  /** Goes on, but each connection closes after its next answer, which says so. */
  leave(): void {
    this.#isLeaving = true;
    for (const { connection } of this.#accepted.toArray()) connection?.leave();
  }

  /** Takes no new connections, and closes each that is there once it is idle. */
  stopAccepting(): void {
    this.#stopListening();
    for (const { connection } of this.#accepted.toArray()) connection?.close();
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
    for (const { connection, socket } of this.#accepted.toArray()) {
      if (connection) connection.abort();
      else socket.destroy();
    }
  }

  #stopListening(): void {
    this.#server.close();
    this.#monitor?.close();
    this.#monitor = undefined;
    this.#restWhenIdle();
  }

  /** Bare connections outlive their listener; after the last one there is nothing to look at. */
  #restWhenIdle(): void {
    const isIdle = !this.#monitor && this.#accepted.size === 0;
    if (isIdle && this.#options.bare) clearInterval(this.#sweep);
  }

  #checkListener(): void {
    if (!this.#monitor || !this.#bound) return;
    if (this.#monitor.look()) {
      this.#options.deafened?.();
      this.#server.close();
    }
    const { hostname: host, port } = this.#bound;
    if (!this.#server.listening) this.#server.listen({ host, port });
  }

  /** Connections that are open, with those whose handshake is under way. */
  get openConnections(): number {
    return this.#open.size;
  }

  /** Counts a new connection, or resets it at once if there are too many. */
  #letIn(socket: Socket): void {
    // It was reset before it was accepted: nobody is there any more, and nothing tells who was.
    if (socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    const address = addressOf(socket);
    const { bare, refuses } = this.#options;
    // The listener's look at itself asks for nothing.
    if (bare && this.#monitor?.isOwn(socket.remotePort)) return void socket.destroy();
    if (refuses?.(address)) return void socket.resetAndDestroy();
    const key = keyOf(socket);
    const limit = this.#open.add(key, address);
    if (limit !== undefined) {
      if (!this.#monitor?.isOwn(socket.remotePort)) this.#options.turnedAway?.(limit, address);
      socket.resetAndDestroy();
      return;
    }
    socket.once("close", () => this.#open.remove(key));
    if (this.#options.proxies?.sendHeader && this.#trusts(address)) {
      this.#letInBehindHeader(socket, address);
    } else this.#begin(socket);
  }

  /** From anybody but a trusted proxy, a PROXY header is no valid request, and no TLS either. */
  #letInBehindHeader(socket: Socket, address: string): void {
    awaitProxyHeader(socket, {
      read: (source) => {
        this.#sources.set(socket, source);
        this.#begin(socket);
        // TLS reads what waits in the socket by itself; a socket that flows would lose it.
        if (!this.#tls) socket.resume();
      },
      failed: (fault) => {
        const isOwn = this.#monitor?.isOwn(socket.remotePort);
        socket.resetAndDestroy();
        if (!isOwn) this.#options.proxyHeaderRefused?.(fault, address);
      },
    });
  }

  #begin(socket: Socket): void {
    const { certificates, passThrough, passesNow } = this.#options;
    const isPassing = passThrough !== undefined && (passesNow?.() ?? true);
    if (certificates || isPassing) this.#routeByName(socket);
    else this.#beginHttp(socket);
  }

  #beginHttp(socket: Socket): void {
    if (this.#tls) this.#tls.emit("connection", socket);
    else this.#accept(socket, this.#peerOf(socket, false));
  }

  /** The connection goes to whoever takes its name, or on into TLS, with all that has come. */
  #routeByName(socket: Socket): void {
    const { certificates, passThrough } = this.#options;
    awaitClientHello(socket, this.#handshakeTimeoutMs, {
      read: (hello) => {
        const take = passThrough?.(hello);
        if (take) this.#passOn(take, socket, hello);
        else if (certificates && hasCertificate(certificates, hello)) this.#beginHttp(socket);
        else this.#refuseName(hello, socket);
      },
      // TLS says why it is none; and where there is no TLS, it is HTTP.
      invalid: () => {
        this.#beginHttp(socket);
        if (!this.#tls) socket.resume();
      },
      timeout: (bytes) => {
        this.#refuseHello(bytes === 0 ? "silent" : "timeout", "No ClientHello in time", socket);
        socket.destroy();
      },
    });
  }

  #refuseName({ serverName = "" }: ClientHello, socket: Socket): void {
    socket.write(unrecognizedName);
    socket.destroySoon();
    this.#refuseHello("unknown_name", noCertificateFor(serverName), socket);
  }

  #refuseHello(reason: HandshakeFailureReason, detail: string, socket: Socket): void {
    if (this.#monitor?.isOwn(socket.remotePort)) return;
    const peer = this.#peerOf(socket, true).address;
    this.#options.handshakeFailed?.({ reason, detail, peer });
  }

  #passOn(take: (connection: RawConnection) => void, socket: Socket, hello: ClientHello): void {
    const peer = this.#peerOf(socket, true);
    this.#track(socket);
    take({ socket: socket as unknown as ByteSocket, peer, hello });
  }

  /** Who is at the other end: the client for whom a proxy's header speaks, if there was one. */
  #peerOf(socket: Socket, isTls: boolean): Peer {
    const source = this.#sources.get(socketBelow(socket));
    return {
      address: source?.address ?? addressOf(socket),
      isTls: isTls || source?.isTls === true,
    };
  }

  #trusts(address: string): boolean {
    return this.#options.proxies?.ranges.has(address) ?? false;
  }

  /**
   * Has handshakes from now on use another certificate and CA. What is under way goes on, but no
   * request begins any more on a connection whose client another CA has verified. Whether clients
   * must show a certificate stays as it was.
   */
  replaceTls(tls: ServerTls): void {
    this.#tls!.setSecureContext(contextOf(tls));
    const { clientCa = "" } = tls;
    if (clientCa === this.#clientCaPem) return;
    this.#clientCaPem = clientCa;
    this.#clientCas = readCertificates(clientCa);
    for (const { connection, socket } of this.#accepted.toArray()) {
      if (connection && !this.#isStillTrusted(socket as TLSSocket)) connection.close();
    }
  }

  #createTls(tls: ServerTls): TlsServer {
    return this.#withEvents(
      createTlsServer({
        ...contextOf(tls),
        ...(tls.clientCa ? { requestCert: true, rejectUnauthorized: true } : {}),
        ALPNProtocols: ["http/1.1"],
        handshakeTimeout: this.#handshakeTimeoutMs,
        allowHalfOpen: true,
      }),
      (socket) => this.#acceptTls(socket),
    );
  }

  /** A name without a certificate fails the handshake, and shows no other certificate's names. */
  #createWebTls(certificates: CertificatesByName): TlsServer {
    return this.#withEvents(
      createTlsServer({
        minVersion: "TLSv1.2",
        ALPNProtocols: ["h2", "http/1.1"],
        handshakeTimeout: this.#handshakeTimeoutMs,
        allowHalfOpen: true,
        SNICallback: (name, done) => {
          // Deno 2.9.6 asks with an empty name for a client that names none.
          const certificate = name ? certificates.for(name) : certificates.first;
          if (certificate) done(null, certificate.context);
          else done(new Error(noCertificateFor(name)));
        },
      }),
      (socket) => this.#acceptWeb(socket, certificates),
    );
  }

  #withEvents(server: TlsServer, accept: (socket: TLSSocket) => void): TlsServer {
    server.on("secureConnection", (socket) => guarded(socket, () => accept(guardSocket(socket))));
    server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
      guarded(socket, () => this.#refuseHandshake(error, socket));
    });
    return server;
  }

  #refuseHandshake(error: Error, socket: TLSSocket): void {
    // After a timeout the connection is still open, and nobody else would close it.
    socket.destroy();
    const client = this.#sources.get(socketBelow(socket))?.address;
    const failure = handshakeFailure(error, socket);
    if (this.#monitor?.isOwn(failure.peerPort)) return;
    this.#options.handshakeFailed?.({ ...failure, peer: client ?? failure.peer });
  }

  #acceptTls(socket: TLSSocket): void {
    const peer = this.#peerOf(socket, true);
    if (this.#options.tls?.clientCa === undefined) {
      this.#accept(socket, peer);
      return;
    }
    try {
      if (socket.isSessionReused() && !this.#isStillTrusted(socket)) {
        throw new Error("The session's certificate is not trusted any more");
      }
      const { raw } = socket.getPeerCertificate();
      const expiresMs = Date.parse(new X509Certificate(raw).validTo);
      const certificate = { names: certificateNames(raw), expiresMs };
      this.#accept(socket, { ...peer, certificate }).untilMs = expiresMs;
    } catch (error) {
      socket.destroy();
      const detail = error instanceof Error ? error.message : String(error);
      const failure = { reason: "bad_certificate", detail, peer: peer.address } as const;
      this.#options.handshakeFailed?.(failure);
    }
  }

  /**
   * A resumed session stands on a certificate that was verified when it began. Deno 2.9.6 keeps
   * sessions for the whole process, and a new context or server resumes those of the old CA; so it
   * is verified again, by the CA of now.
   */
  #isStillTrusted(socket: TLSSocket): boolean {
    this.#clientCas ??= readCertificates(this.#clientCaPem);
    return leadsTo(this.#clientCas, chainOf(socket), this.#epochMs());
  }

  #acceptWeb(socket: TLSSocket, certificates: CertificatesByName): void {
    const serverName = nameAskedFor(socket);
    const shown = serverName === undefined ? certificates.first : certificates.for(serverName);
    const requestedName: RequestedName = {
      serverName,
      // By name: renewed, it is the same still.
      sharesCertificate: (host) => certificates.for(host)?.name === shown?.name,
    };
    const peer = { ...this.#peerOf(socket, true), requestedName };
    if (socket.alpnProtocol !== "h2") {
      this.#accept(socket, peer);
      return;
    }
    const accepted = this.#track(socket);
    const abused = (how: H2Abuse) => this.#options.abused?.(how, peer.address);
    const options = { ...this.#connectionOptions(accepted, peer, cannotUpgrade), abused };
    this.#serve(accepted, new H2Connection(socket, options));
  }

  #accept(socket: Socket, peer: Peer): Accepted {
    const accepted = this.#track(socket);
    const { bare } = this.#options;
    if (bare) {
      // Until its target is connected, nobody takes what it sends.
      socket.pause();
      bare({ socket: socket as unknown as ByteSocket, peer });
      return accepted;
    }
    const accept = (exchange: RawExchange, answer?: WebSocketAnswer) =>
      this.#acceptWebSocket(exchange, socket, answer);
    const options = this.#connectionOptions(accepted, peer, accept);
    this.#serve(accepted, new HttpConnection(socket as unknown as ByteSocket, options));
    return accepted;
  }

  /** Knows of a connection as long as its socket is there. */
  #track(socket: Socket): Accepted {
    socket.setNoDelay(true);
    socket.setKeepAlive(true, tcpKeepAliveMs);
    const accepted = new Accepted(socket);
    this.#accepted.add(accepted);
    socket.once("close", () => {
      this.#accepted.remove(accepted);
      if (this.#accepted.size === 0) this.#onEmpty();
      this.#restWhenIdle();
    });
    return accepted;
  }

  #serve(accepted: Accepted, connection: Connection): void {
    accepted.connection = connection;
    if (this.#isLeaving) connection.leave();
  }

  /** What connections of both versions of HTTP are set up with. */
  #connectionOptions<E extends Exchange>(
    accepted: Accepted,
    peer: Peer,
    acceptWebSocket: (exchange: E, answer?: WebSocketAnswer) => Promise<MessageSocket>,
  ) {
    const key = keyOf(accepted.socket);
    const isProxy = this.#trusts(peer.address);
    return {
      peer,
      limits: this.#options.limits,
      timeouts: this.#options.timeouts,
      handle: (exchange: E) => {
        if (isProxy) exchange.peer = this.#behindProxy(exchange);
        this.#handle(exchange, (answer) => acceptWebSocket(exchange, answer));
      },
      refused: (status: number, reason: string) =>
        this.#options.refused?.(status, reason, peer.address),
      closed: () => {
        accepted.connection = undefined;
        // It is over, or was let in by what is above HTTP.
        this.#open.trust(key);
      },
      nowMs: () => performance.now(),
    };
  }

  #behindProxy({ peer, head }: Exchange): Peer {
    return peerBehindProxy(peer, head.fields, this.#options.proxies!.ranges);
  }

  #checkDeadlines(): void {
    const now = performance.now();
    const epochMs = this.#epochMs();
    for (const { connection, untilMs, socket } of this.#accepted.toArray()) {
      // With a new certificate its client may come again.
      if (this.#options.bare && untilMs <= epochMs) socket.resetAndDestroy();
      if (!connection) continue;
      guarded(socket, () => {
        connection.checkDeadline(now);
        // With a new certificate its client may come again.
        if (untilMs <= epochMs) connection.close();
      });
    }
  }

  #handle(exchange: Exchange, acceptWebSocket: AcceptWebSocket): void {
    const bindings = new Bindings(exchange, acceptWebSocket);
    try {
      const request = new AppRequest(exchange) as unknown as Request;
      const response = this.#options.fetch(request, bindings);
      if (response === alreadyAnswered) return;
      Promise.resolve(response).then((response) => send(exchange, response)).catch((error) =>
        this.#failed(exchange, error)
      );
    } catch (error) {
      this.#failed(exchange, error);
    }
  }

  #failed(exchange: Exchange, error: unknown): void {
    this.#options.fault(error);
    if (exchange.isAnswered) exchange.abort();
    else exchange.answer(500, "Internal Server Error", [dateField()], new Uint8Array(0));
  }

  #acceptWebSocket(
    exchange: RawExchange,
    socket: Socket,
    answer: WebSocketAnswer = {},
  ): Promise<MessageSocket> {
    // Of a socket that is closed already, nothing more would be heard.
    if (socket.destroyed) throw new Error("The connection ended before the WebSocket handshake");
    const { head: rest } = exchange.detach(101);
    return acceptWebSocket(socket, exchange.head, { ...answer, rest, maxMessageBytes });
  }
}

/** What of a listener's TLS can change while it runs, and what has to be said again then. */
function contextOf({ cert, key, clientCa }: ServerTls): SecureContextOptions {
  return { cert, key, ...(clientCa ? { ca: clientCa } : {}), minVersion: "TLSv1.2" };
}

function hasCertificate(certificates: CertificatesByName, { serverName }: ClientHello): boolean {
  return serverName === undefined || certificates.for(serverName) !== undefined;
}

function noCertificateFor(name: string): string {
  return `No certificate is for ${JSON.stringify(name)}`;
}

/** What a client asked for (RFC 6066 section 3). */
function nameAskedFor({ servername }: TLSSocket): string | undefined {
  return servername ? servername.toLowerCase().replace(/\.$/, "") : undefined;
}

/** RFC 8441 is not supported: browsers open WebSockets over HTTP/1.1 then. */
function cannotUpgrade(): Promise<MessageSocket> {
  return Promise.reject(new Error("A WebSocket needs HTTP/1.1"));
}

/** The certificates that a client showed, its own first. */
function chainOf(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (certificate?.raw && chain.length < maxChainLength) {
    chain.push(new X509Certificate(certificate.raw));
    // A self-signed certificate is its own issuer; and Deno names the first one twice.
    const issuer: DetailedPeerCertificate = certificate.issuerCertificate;
    certificate = issuer === certificate ? undefined : issuer;
  }
  return chain;
}

function addressOf(socket: Socket): string {
  return (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
}

/** A connection's two ends, which are the same on its TLS and its TCP socket. */
function keyOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/** Sends a handler's own answer; those are small and have come whole. */
async function send(exchange: Exchange, response: Response): Promise<void> {
  if (response === alreadyAnswered) return;
  const body = new Uint8Array(await response.arrayBuffer());
  const fields: Field[] = [];
  for (const [name, value] of response.headers) fields.push(field(name, value));
  fields.push(dateField());
  exchange.answer(response.status, response.statusText || reasonOf(response.status), fields, body);
}

const reasons: Record<number, string> = {
  200: "OK",
  401: "Unauthorized",
  403: "Forbidden",
  429: "Too Many Requests",
  404: "Not Found",
  426: "Upgrade Required",
  503: "Service Unavailable",
};

function reasonOf(status: number): string {
  return reasons[status] ?? "";
}
