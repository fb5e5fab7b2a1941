/**
 * A listener below HTTP: connections that were let in, with TLS ended, or handed on with TLS
 * untouched by the name in their ClientHello.
 */
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import type { ClientHello } from "../../../net/client_hello.ts";
import type { Peer } from "../../../net/exchange.ts";
import type { BareConnection } from "../../../net/socket_exchange.ts";
import { awaitClientHello } from "./client_hello_socket.ts";
import type { HandshakeFailure, HandshakeFailureReason } from "./handshake_failure.ts";
import type { Bound } from "./listener_monitor.ts";
import { type AcceptedConnection, TcpListener, type TcpListenerOptions } from "./tcp_listener.ts";
import { type ServerTls, SingleTlsAcceptor, type TlsEvents } from "./tls_acceptor.ts";
import { type CertificatesByName, noCertificateFor, WebTlsAcceptor } from "./web_tls_acceptor.ts";

/** A connection whose TLS is for somebody else. */
export interface RawConnection extends BareConnection {
  readonly hello: ClientHello;
}

/** Says who takes a connection before its TLS begins; nobody for one that is opened here. */
export type PassThrough = (hello: ClientHello) => ((connection: RawConnection) => void) | undefined;

/** What a listener is set up with. */
export interface ConnectionListenerOptions extends TcpListenerOptions {
  tls?: ServerTls | undefined;
  /** A certificate for each host, with HTTP/2 beside HTTP/1.1; in place of `tls`. */
  certificates?: CertificatesByName | undefined;
  /** Passes connections on by the name in their ClientHello; not with `tls`. */
  passThrough?: PassThrough | undefined;
  /** Whether `passThrough` may take a connection now; yes unless given. Otherwise none is looked into. */
  passesNow?: (() => boolean) | undefined;
  /** A TLS handshake failed; the connection is closed. */
  handshakeFailed?: ((failure: HandshakeFailure) => void) | undefined;
  /** How long a TLS handshake may take, in milliseconds. Only tests set it. */
  handshakeTimeoutMs?: number | undefined;
}

/** How long a TLS handshake may take, in milliseconds, and how long a ClientHello alone. */
const tlsHandshakeTimeoutMs = 10_000;

/** A fatal alert in a record of its own (RFC 8446 section 6, RFC 6066 section 3). */
const unrecognizedName = new Uint8Array([21, 3, 3, 0, 2, 2, 112]);

/** Takes connections in, with or without TLS. */
export class ConnectionListener {
  readonly #options: ConnectionListenerOptions;
  readonly #accepted: (connection: AcceptedConnection) => void;
  readonly #tcp: TcpListener;
  readonly #tls: SingleTlsAcceptor | undefined;
  readonly #webTls: WebTlsAcceptor | undefined;
  readonly #handshakeTimeoutMs: number;

  /** @param accepted Takes each connection once TLS, if there is any, is ended. */
  constructor(
    options: ConnectionListenerOptions,
    accepted: (connection: AcceptedConnection) => void,
  ) {
    this.#options = options;
    this.#accepted = accepted;
    const { tls, certificates, epochMs = () => Date.now() } = options;
    const handshakeTimeoutMs = options.handshakeTimeoutMs ?? tlsHandshakeTimeoutMs;
    this.#handshakeTimeoutMs = handshakeTimeoutMs;
    const events: TlsEvents = {
      accepted: (socket, peer) =>
        this.#accept(socket, { ...this.#tcp.peerOf(socket, true), ...peer }),
      failed: (failure, socket) => this.#handshakeFailed(failure, socket),
    };
    if (certificates) {
      this.#webTls = new WebTlsAcceptor(certificates, handshakeTimeoutMs, events);
    } else if (tls) this.#tls = new SingleTlsAcceptor(tls, { handshakeTimeoutMs, epochMs }, events);
    this.#tcp = new TcpListener(options, (socket, isPaused) => this.#connected(socket, isPaused));
  }

  /** As {@link TcpListener.listen}. */
  listen(hostname: string, port: number): Promise<Bound> {
    return this.#tcp.listen(hostname, port);
  }

  /** Connections that are open, with those whose handshake is under way. */
  get openConnections(): number {
    return this.#tcp.openConnections;
  }

  /** Connections that were accepted and are there. */
  get connections(): AcceptedConnection[] {
    return this.#tcp.connections;
  }

  /** A connection has proved who it is: it counts for its address no more. */
  trust(connection: AcceptedConnection): void {
    this.#tcp.trust(connection);
  }

  /** Whether an address is a trusted proxy's. */
  trusts(address: string): boolean {
    return this.#tcp.trusts(address);
  }

  /**
   * Has handshakes from now on use another certificate and CA. What is under way goes on, but no
   * request begins any more on a connection whose client another CA has verified. Whether clients
   * must show a certificate stays as it was.
   */
  replaceTls(tls: ServerTls): void {
    const own = this.#tls!;
    if (!own.replace(tls)) return;
    for (const { handler, socket } of this.connections) {
      if (handler && !own.isStillTrusted(socket as TLSSocket)) handler.close();
    }
  }

  /** Takes no new connections, and closes each that is there once it is idle. */
  stopAccepting(): void {
    this.#tcp.stopAccepting();
  }

  /** As {@link TcpListener.drained}. */
  drained(ms: number): Promise<void> {
    return this.#tcp.drained(ms);
  }

  /** Ends everything now. */
  close(): void {
    this.#tcp.close();
  }

  /** @param isPaused Whether the socket does not flow: a PROXY header was read from it. */
  #connected(socket: Socket, isPaused: boolean): void {
    const { passThrough, passesNow } = this.#options;
    const isPassing = passThrough !== undefined && (passesNow?.() ?? true);
    if (this.#webTls || isPassing) this.#routeByName(socket);
    else this.#open(socket);
    // TLS reads what waits in the socket by itself; a socket that flows would lose it.
    if (isPaused && !this.#hasTls) socket.resume();
  }

  get #hasTls(): boolean {
    return this.#tls !== undefined || this.#webTls !== undefined;
  }

  #open(socket: Socket): void {
    const tls = this.#tls ?? this.#webTls;
    if (tls) tls.accept(socket);
    else this.#accept(socket, this.#tcp.peerOf(socket, false));
  }

  /** The connection goes to whoever takes its name, or on into TLS, with all that has come. */
  #routeByName(socket: Socket): void {
    awaitClientHello(socket, this.#handshakeTimeoutMs, {
      read: (hello) => {
        const take = this.#options.passThrough?.(hello);
        if (take) this.#passOn(take, socket, hello);
        else if (this.#webTls?.canShow(hello)) this.#open(socket);
        else this.#refuseName(hello, socket);
      },
      // TLS says why it is none; and where there is no TLS, it is HTTP.
      invalid: () => {
        this.#open(socket);
        if (!this.#hasTls) socket.resume();
      },
      timeout: (bytes) => {
        this.#refuseHello(bytes === 0 ? "silent" : "timeout", "No ClientHello in time", socket);
        socket.destroy();
      },
    });
  }

  #passOn(take: (connection: RawConnection) => void, socket: Socket, hello: ClientHello): void {
    const { peer } = this.#tcp.track(socket, this.#tcp.peerOf(socket, true));
    take({ socket: socket as unknown as ByteSocket, peer, hello });
  }

  #refuseName({ serverName = "" }: ClientHello, socket: Socket): void {
    socket.write(unrecognizedName);
    socket.destroySoon();
    this.#refuseHello("unknown_name", noCertificateFor(serverName), socket);
  }

  #refuseHello(reason: HandshakeFailureReason, detail: string, socket: Socket): void {
    const peer = this.#tcp.peerOf(socket, true).address;
    this.#handshakeFailed({ reason, detail, peer }, socket);
  }

  #handshakeFailed(failure: HandshakeFailure, socket: Socket): void {
    const peer = this.#tcp.sourceOf(socket) ?? failure.peer;
    this.#options.handshakeFailed?.({ ...failure, peer });
  }

  #accept(socket: Socket, peer: Peer): void {
    this.#accepted(this.#tcp.track(socket, peer));
  }
}
