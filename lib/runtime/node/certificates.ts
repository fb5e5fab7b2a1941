/** Certificates that are in use: when they expire, and whom they lead to. */
import { X509Certificate } from "node:crypto";
import { certificateDetails } from "./certificate_names.ts";
import { isSignedBy } from "./certificate_signature.ts";

/** What is to be known of a file's certificates while they are in use. */
export interface CertificateFacts {
  /** The subject of the certificate that expires first. */
  readonly subject: string;
  /** When that certificate expires, in milliseconds since 1970. */
  readonly notAfterMs: number;
  /** When it becomes valid. */
  readonly notBeforeMs: number;
}

/**
 * Tells which of the certificates in a PEM expires first.
 *
 * @param isChain Whether all of them are needed. Of a CA's file those that have expired already are
 *   left out as long as others are valid: an old one may well stay there.
 */
export function factsOf(
  pem: string,
  isChain: boolean,
  nowMs: number,
): CertificateFacts | undefined {
  const all = readCertificates(pem).map((certificate) => ({
    subject: nameOf(certificate),
    notAfterMs: Date.parse(certificate.validTo),
    notBeforeMs: Date.parse(certificate.validFrom),
  }));
  const valid = all.filter(({ notAfterMs }) => notAfterMs > nowMs);
  const sorted = (isChain || valid.length === 0 ? all : valid)
    .sort((one, other) => one.notAfterMs - other.notAfterMs);
  return isChain || valid.length > 0 ? sorted[0] : sorted.at(-1);
}

/**
 * What logs call a certificate: its subject, or its names where the subject is empty, as cert-manager
 * makes it for a server (RFC 5280 4.1.2.6).
 */
function nameOf({ subject, subjectAltName }: X509Certificate): string {
  // Deno 2.9.6 leaves out an empty subject, which the types call a string.
  const text: string | undefined = subject || subjectAltName;
  return text === undefined ? "no name" : text.replaceAll("\n", ", ");
}

/** The certificates in a PEM that this runtime can read. */
export function readCertificates(pem: string): X509Certificate[] {
  return blocksOf(pem).flatMap((block) => attempt(() => new X509Certificate(block)) ?? []);
}

/**
 * Whether a peer's certificate leads to one of the CAs by signatures, and is valid by its dates.
 *
 * For one that a handshake has verified before: what it may be used for is not looked at again.
 *
 * @param chain The peer's certificate, and in any order what came with it.
 */
export function leadsTo(
  cas: readonly X509Certificate[],
  chain: readonly X509Certificate[],
  nowMs: number,
): boolean {
  const seen = new Set<X509Certificate>();
  let certificate = chain[0];
  while (certificate && !seen.has(certificate) && isCurrent(certificate, nowMs)) {
    // What `node:tls` makes of others is no proof: see `verified_tls.ts`.
    if (certificateDetails(certificate.raw).version !== 3) return false;
    seen.add(certificate);
    const current = certificate;
    if (cas.some((ca) => isCurrent(ca, nowMs) && isIssued(current, ca))) return true;
    certificate = chain.find((other) => other.ca && !seen.has(other) && isIssued(current, other));
  }
  return false;
}

/** Whether each certificate of a chain is signed with the next one's key, and valid by its dates. */
export function isLinked(chain: readonly X509Certificate[], nowMs: number): boolean {
  return chain.every((certificate, index) => {
    const issuer = chain[index + 1];
    return isCurrent(certificate, nowMs) && certificateDetails(certificate.raw).version === 3 &&
      (issuer === undefined || (issuer.ca && isIssued(certificate, issuer)));
  });
}

function isCurrent({ validFrom, validTo }: X509Certificate, nowMs: number): boolean {
  return Date.parse(validFrom) <= nowMs && nowMs < Date.parse(validTo);
}

function isIssued(certificate: X509Certificate, by: X509Certificate): boolean {
  return certificate.checkIssued(by) && isSignedBy(certificate.raw, by.raw);
}

function blocksOf(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
}

/** What was made, or nothing: the runtime's own words for what is wrong help no user. */
function attempt<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}
