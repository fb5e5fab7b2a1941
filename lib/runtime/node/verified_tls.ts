/**
 * TLS as a client, by `node:tls`: the one place where a peer is found to be who it should be.
 *
 * Under Deno 2.9.6 `node:tls` alone does not prove that. It believes a chain with an X.509 version 1
 * certificate in it by the issuers' names, and does not have a server with such a certificate show
 * that it has the key (denoland/deno#36248); it takes a URI in a subjectAltName for further names, and
 * a CN for a name. So each connection made here goes to its user only when `node:tls` accepts the
 * peer, and when signatures, dates, versions and names are right by what the DER says.
 */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import {
  connect,
  type ConnectionOptions,
  type DetailedPeerCertificate,
  type TLSSocket,
} from "node:tls";
import { dateFault, faultLine, type TlsAdvice, type TlsFault } from "../tls_advice.ts";
import {
  canonicalAddress,
  type CertificateDetails,
  certificateDetails,
} from "./certificate_names.ts";
import { isLinked, leadsTo, readCertificates } from "./certificates.ts";

/** Whom a client expects, and what it shows. */
export interface TlsClient {
  /** The name or address that the peer's certificate must hold. */
  readonly name: string;
  /** PEM of the CAs that count; absent for public CAs. */
  readonly ca?: string | undefined;
  /** The client's own certificate and key, PEM, for peers that ask for one. */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly alpn?: readonly string[] | undefined;
  readonly advice: TlsAdvice;
}

/** A peer that is not who it should be. The message is one line that says what would be right. */
export class UntrustedPeerError extends Error {
  override readonly name = "UntrustedPeerError";
  readonly fault: TlsFault;

  constructor(fault: TlsFault, what: string, advice: TlsAdvice) {
    super(faultLine(fault, what, advice));
    this.fault = fault;
  }
}

/**
 * Shakes hands over a connection, and returns the TLS in it when the peer is the one that is expected.
 * Nothing but the handshake is sent before.
 *
 * @param below A connection that is established; it ends when this fails.
 * @throws {UntrustedPeerError}
 * @throws {Error} what the system or TLS says, or the signal's reason
 */
export async function secure(
  below: Duplex,
  client: TlsClient,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const socket = connect({ ...optionsOf(client), socket: below, rejectUnauthorized: false });
  // They stay: an error that comes while nobody else listens must not end the process.
  socket.on("error", () => {});
  below.on("error", () => {});
  readSafely(socket);
  try {
    await established(socket, below, signal);
    const fault = faultOf(socket, client);
    if (fault) throw fault;
    return socket;
  } catch (error) {
    socket.destroy();
    below.destroy();
    throw error;
  }
}

/**
 * For clients that connect by themselves with `node:tls`: the same demands, as options.
 *
 * They have to wait for `secureConnect` before they write.
 *
 * @param client Without a name, for clients that connect to several servers: each must have a
 *   certificate for the host that it was connected to by.
 */
export function verifyingOptions(
  client: Omit<TlsClient, "name"> & { readonly name?: string | undefined },
): ConnectionOptions {
  const { servername, ...options } = optionsOf({ ...client, name: client.name ?? "" });
  return {
    ...options,
    ...client.name === undefined ? {} : { servername },
    rejectUnauthorized: true,
    checkServerIdentity: (host, certificate) => {
      const name = client.name ?? host;
      return certificateFault(chainOf(certificate as DetailedPeerCertificate), { ...client, name });
    },
  };
}

function optionsOf({ name, ca, cert, key, alpn }: TlsClient): ConnectionOptions {
  return {
    minVersion: "TLSv1.2",
    // A name indication must not be an address (RFC 6066 section 3).
    servername: isIP(name) ? "" : name,
    // Names are looked at in `certificateFault`.
    checkServerIdentity: () => undefined,
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
  };
}

/**
 * Node reads the peer's certificates in a callback of its own, where a chain with a damaged one would
 * end the process.
 */
export function readSafely(socket: TLSSocket): void {
  const read = socket.getPeerCertificate.bind(socket) as (detailed?: boolean) => unknown;
  socket.getPeerCertificate = ((detailed?: boolean) => {
    try {
      return read(detailed);
    } catch {
      return {};
    }
  }) as TLSSocket["getPeerCertificate"];
}

function established(socket: TLSSocket, below: Duplex, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const abort = (): void => reject(signal.reason);
  const closed = (): void => reject(closedError());
  signal.addEventListener("abort", abort);
  socket.once("secureConnect", resolve);
  for (const end of [socket, below]) end.on("error", reject).on("close", closed);
  if (signal.aborted) abort();
  return promise.finally(() => {
    signal.removeEventListener("abort", abort);
    socket.off("secureConnect", resolve);
    for (const end of [socket, below]) end.off("error", reject).off("close", closed);
  });
}

function closedError(): Error {
  const message = "the peer ended the connection within the TLS handshake";
  return Object.assign(new Error(message), { code: "ECONNRESET" });
}

/** What is wrong with the peer of a handshake that is over. */
function faultOf(socket: TLSSocket, client: TlsClient): UntrustedPeerError | undefined {
  const chain = chainOf(socket.getPeerCertificate(true));
  const fault = certificateFault(chain, client);
  if (fault || socket.authorized === true) return fault;
  // The runtime says the same of all of these. With public CAs it alone knows which there are.
  const [leaf] = chain;
  if (leaf && client.ca !== undefined) {
    return new UntrustedPeerError(
      "usage",
      `a trusted CA issued its certificate ${
        ofSubject(leaf)
      }, which its extendedKeyUsage or a rule ` +
        "of a CA in its chain (extendedKeyUsage, pathLenConstraint, nameConstraints) forbids here",
      client.advice,
    );
  }
  return new UntrustedPeerError(
    "unknownCa",
    `its certificate is not accepted (${socket.authorizationError})`,
    client.advice,
  );
}

/** Certificates that a peer may show, as OpenSSL has it with some to spare. */
const maxChainLength = 12;

/** The certificates that a peer showed, its own first; none when one of them is damaged. */
export function chainOf(first: DetailedPeerCertificate | undefined): X509Certificate[] {
  const chain: X509Certificate[] = [];
  try {
    for (let one = first; one?.raw && chain.length < maxChainLength;) {
      chain.push(new X509Certificate(one.raw));
      // A self-signed certificate is its own issuer; and Deno names the first one twice.
      const issuer: DetailedPeerCertificate = one.issuerCertificate;
      one = issuer === one ? undefined : issuer;
    }
    return chain;
  } catch {
    return [];
  }
}

/** What is wrong with a chain, the dates first: whatever else a verifier says may come from them. */
export function certificateFault(
  chain: readonly X509Certificate[],
  { name, ca, advice }: TlsClient,
  nowMs = Date.now(),
): UntrustedPeerError | undefined {
  const fault = (kind: TlsFault, what: string) => new UntrustedPeerError(kind, what, advice);
  const [leaf] = chain;
  const details = leaf && detailsOf(leaf);
  if (!leaf || !details) {
    return fault("unknownCa", "its certificates are damaged, or it shows none");
  }
  const dates = dateFault(datesOf(leaf), nowMs);
  if (dates !== undefined) return fault("dates", dates);
  if (details.version !== 3) {
    return fault("version1", `its certificate ${ofSubject(leaf)} is X.509 version 1`);
  }
  // Deno shows the public CAs to nobody who may not ask for the system's: `node:tls` knows whether the
  // last certificate leads to one.
  const isProven = ca === undefined
    ? isLinked(chain, nowMs)
    : leadsTo(readCertificates(ca), chain, nowMs);
  if (!isProven) return unknownCa(leaf, chain, nowMs, fault);
  if (leaf.ca) {
    return fault(
      "caAsServer",
      `its certificate ${ofSubject(leaf)} is a CA's (basicConstraints CA:TRUE)`,
    );
  }
  if (details.dnsNames.length + details.ipAddresses.length === 0) {
    return fault("nameless", `its certificate ${ofSubject(leaf)} has no subjectAltName`);
  }
  if (holdsName(details, name)) return undefined;
  const names = [...details.dnsNames, ...details.ipAddresses].slice(0, 8).map(printable).join(", ");
  return fault("otherName", `${name} is not in the cert's altnames, which are ${names}`);
}

type MakeFault = (kind: TlsFault, what: string) => UntrustedPeerError;

/** No CA of those that count has signed the chain; one that is over may have. */
function unknownCa(
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  nowMs: number,
  fault: MakeFault,
): UntrustedPeerError {
  for (const issuer of chain.slice(1)) {
    const dates = dateFault(datesOf(issuer), nowMs);
    if (dates !== undefined) return fault("dates", `of its CA ${ofSubject(issuer)}: ${dates}`);
    if (detailsOf(issuer)?.version === 1 && issuer.subject !== issuer.issuer) {
      return fault("version1", `its CA's certificate ${ofSubject(issuer)} is X.509 version 1`);
    }
  }
  const issuer = leaf.subject === leaf.issuer
    ? "is self-signed"
    : `is issued by ${printable(lineOf(leaf.issuer))}, which is not a trusted CA`;
  return fault("unknownCa", `its certificate ${ofSubject(leaf)} ${issuer}`);
}

/** Whether a certificate is for a name (RFC 6125), or an address. */
export function holdsName(
  { dnsNames, ipAddresses }: CertificateDetails,
  name: string,
): boolean {
  const address = canonicalAddress(name);
  if (address !== undefined) return ipAddresses.includes(address);
  const labels = labelsOf(name);
  return dnsNames.some((one) => {
    const [first, ...rest] = labelsOf(one);
    const isWildcard = first === "*" && rest.length >= 2;
    const own = isWildcard ? labels.slice(1) : labels;
    const others = isWildcard ? rest : [first, ...rest];
    return own.length === others.length && own.every((label, index) => label === others[index]);
  });
}

function labelsOf(name: string): string[] {
  return name.toLowerCase().replace(/\.$/, "").split(".");
}

function datesOf({ validFrom, validTo }: X509Certificate) {
  return { notBeforeMs: Date.parse(validFrom), notAfterMs: Date.parse(validTo) };
}

function detailsOf({ raw }: X509Certificate): CertificateDetails | undefined {
  try {
    return certificateDetails(raw);
  } catch {
    return undefined; // It is damaged, and so believed by nobody.
  }
}

function ofSubject({ subject }: X509Certificate): string {
  return subject ? `(${printable(lineOf(subject))})` : "(without a subject)";
}

function lineOf(names: string): string {
  return names.replaceAll("\n", ", ");
}

/** What a peer says of itself goes to the log in one line. */
function printable(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, "?").slice(0, 200);
}
