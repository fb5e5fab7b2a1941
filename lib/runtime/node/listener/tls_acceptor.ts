/** TLS handshakes with one certificate and, for mutual TLS, a CA of clients' certificates. */
import { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import {
  createServer,
  type DetailedPeerCertificate,
  type SecureContextOptions,
  type Server,
  type TLSSocket,
} from "node:tls";
import { messageOf } from "../../../message_of.ts";
import type { Peer } from "../../../net/exchange.ts";
import { certificateNames } from "../certificate_names.ts";
import { leadsTo, readCertificates } from "../certificates.ts";
import { guarded, guardSocket } from "../guarded_socket.ts";
import { type HandshakeFailure, handshakeFailure } from "./handshake_failure.ts";
import { addressOf } from "./tcp_listener.ts";

/** Certificate, key and, for mutual TLS, the CA that callers' certificates must come from; PEM. */
export interface ServerTls {
  cert: string;
  key: string;
  clientCa?: string | undefined;
}

/** What a TLS handshake tells of a peer. */
export type HandshakePeer = Pick<Peer, "certificate" | "requestedName">;

/** What becomes of handshakes. */
export interface TlsEvents {
  accepted(socket: TLSSocket, peer: HandshakePeer): void;
  /** The connection is closed. */
  failed(failure: HandshakeFailure, socket: Socket): void;
}

/** Does the handshakes of connections that others have accepted. */
export interface TlsAcceptor {
  /** Begins a handshake on a connection of which nothing was read. */
  accept(socket: Socket): void;
}

/** Certificates that a client may show, as OpenSSL has it with some to spare. */
const maxChainLength = 12;

/** Shows one certificate to everybody. */
export class SingleTlsAcceptor implements TlsAcceptor {
  readonly #server: Server;
  readonly #events: TlsEvents;
  readonly #isMutual: boolean;
  readonly #epochMs: () => number;
  #clientCaPem: string;
  /** Read when they are first needed, and when they change. */
  #clientCas: readonly X509Certificate[] | undefined;

  constructor(
    tls: ServerTls,
    { handshakeTimeoutMs, epochMs }: { handshakeTimeoutMs: number; epochMs: () => number },
    events: TlsEvents,
  ) {
    this.#events = events;
    this.#epochMs = epochMs;
    this.#isMutual = tls.clientCa !== undefined;
    this.#clientCaPem = tls.clientCa ?? "";
    const options = {
      ...contextOf(tls),
      ...(tls.clientCa ? { requestCert: true, rejectUnauthorized: true } : {}),
      ALPNProtocols: ["http/1.1"],
      handshakeTimeout: handshakeTimeoutMs,
      allowHalfOpen: true,
    };
    this.#server = handshakes(createServer(options), {
      accepted: (socket) => this.#accepted(socket),
      failed: events.failed,
    });
  }

  accept(socket: Socket): void {
    this.#server.emit("connection", socket);
  }

  /**
   * Has handshakes from now on use another certificate and CA. Whether clients must show a
   * certificate stays as it was.
   *
   * @returns whether the CA has changed: what {@link isStillTrusted} says may be another thing now
   */
  replace(tls: ServerTls): boolean {
    this.#server.setSecureContext(contextOf(tls));
    const { clientCa = "" } = tls;
    if (clientCa === this.#clientCaPem) return false;
    this.#clientCaPem = clientCa;
    this.#clientCas = readCertificates(clientCa);
    return true;
  }

  /**
   * A resumed session stands on a certificate that was verified when it began. Deno 2.9.6 keeps
   * sessions for the whole process, and a new context or server resumes those of the old CA; so it
   * is verified again, by the CA of now.
   */
  isStillTrusted(socket: TLSSocket): boolean {
    this.#clientCas ??= readCertificates(this.#clientCaPem);
    return leadsTo(this.#clientCas, chainOf(socket), this.#epochMs());
  }

  #accepted(socket: TLSSocket): void {
    if (!this.#isMutual) return this.#events.accepted(socket, {});
    let certificate;
    try {
      if (socket.isSessionReused() && !this.isStillTrusted(socket)) {
        throw new Error("The session's certificate is no longer trusted");
      }
      const { raw } = socket.getPeerCertificate();
      const expiresMs = Date.parse(new X509Certificate(raw).validTo);
      certificate = { names: certificateNames(raw), expiresMs };
    } catch (error) {
      const detail = messageOf(error);
      const failure = { reason: "bad_certificate", detail, peer: addressOf(socket) } as const;
      this.#events.failed(failure, socket);
      socket.destroy();
      return;
    }
    this.#events.accepted(socket, { certificate });
  }
}

/** Reports how the handshakes of a server end. */
export function handshakes(
  server: Server,
  { accepted, failed }: {
    readonly accepted: (socket: TLSSocket) => void;
    readonly failed: TlsEvents["failed"];
  },
): Server {
  server.on("secureConnection", (socket) => guarded(socket, () => accepted(guardSocket(socket))));
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    guarded(socket, () => {
      const failure = handshakeFailure(error, socket);
      // After a timeout the connection is still open, and nobody else would close it.
      socket.destroy();
      failed(failure, socket);
    });
  });
  return server;
}

/** What of a listener's TLS can change while it runs, and what has to be said again then. */
function contextOf({ cert, key, clientCa }: ServerTls): SecureContextOptions {
  return { cert, key, ...(clientCa ? { ca: clientCa } : {}), minVersion: "TLSv1.2" };
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
