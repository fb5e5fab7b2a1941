/** TLS handshakes with a certificate for each hostname, and with HTTP/2 beside HTTP/1.1. */
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { ClientHello } from "../../../net/client_hello.ts";
import type { RequestedName } from "../../../net/exchange.ts";
import type { WebCertificate } from "../web/web_certificates.ts";
import { handshakes, type TlsAcceptor, type TlsEvents } from "./tls_acceptor.ts";

/** Certificates, one of which is shown to a client: by the name that it asks for. */
export interface CertificatesByName {
  for(host: string): WebCertificate | undefined;
  /** The certificate for a client that asks for no name. */
  readonly first: WebCertificate | undefined;
}

/** A name without a certificate fails the handshake, and shows no other certificate's names. */
export class WebTlsAcceptor implements TlsAcceptor {
  readonly #certificates: CertificatesByName;
  readonly #server: Server;

  constructor(certificates: CertificatesByName, handshakeTimeoutMs: number, events: TlsEvents) {
    this.#certificates = certificates;
    const server = createServer({
      minVersion: "TLSv1.2",
      ALPNProtocols: ["h2", "http/1.1"],
      handshakeTimeout: handshakeTimeoutMs,
      allowHalfOpen: true,
      SNICallback: (name, done) => {
        // Deno 2.9.6 asks with an empty name for a client that names none.
        const certificate = name ? certificates.for(name) : certificates.first;
        if (certificate) done(null, certificate.context);
        else done(new Error(noCertificateFor(name)));
      },
    });
    this.#server = handshakes(server, {
      accepted: (socket) => {
        events.accepted(socket, { requestedName: this.#requestedName(socket) });
      },
      failed: events.failed,
    });
  }

  accept(socket: Socket): void {
    this.#server.emit("connection", socket);
  }

  /** Whether a handshake can be completed. */
  canShow({ serverName }: ClientHello): boolean {
    return serverName === undefined || this.#certificates.for(serverName) !== undefined;
  }

  #requestedName(socket: TLSSocket): RequestedName {
    const certificates = this.#certificates;
    const serverName = serverNameOf(socket);
    const shown = serverName === undefined ? certificates.first : certificates.for(serverName);
    return {
      serverName,
      // By name: renewed, it is the same still.
      sharesCertificate: (host) => certificates.for(host)?.name === shown?.name,
    };
  }
}

/** Why a handshake fails that asks for this name. */
export function noCertificateFor(name: string): string {
  return `There is no certificate for ${JSON.stringify(name)}`;
}

/** What a client asked for (RFC 6066 section 3). */
function serverNameOf(socket: TLSSocket): string | undefined {
  // Deno's own types leave it out.
  const { servername } = socket as { readonly servername?: string | false };
  return servername ? servername.toLowerCase().replace(/\.$/, "") : undefined;
}
