/**
 * Certificates and keys, looked at when a program starts and when their files change: with a wrong
 * one every handshake would fail later, and only the log would say so.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { ConfigError } from "../../config/config_error.ts";

/** A PEM file and the option that names it, without its dashes. */
export interface PemFile {
  readonly option: string;
  readonly path: string;
  readonly pem: string;
}

/**
 * Checks that a certificate and a key can be read and belong together.
 *
 * @throws {ConfigError} that says which of them is wrong
 */
export function checkKeyPair(chain: PemFile, key: PemFile): void {
  const [block = ""] = certificatesOf(chain);
  const certificate = attempt(() => new X509Certificate(block));
  if (!certificate) throw fault(chain, "whose first certificate is damaged");
  const privateKey = attempt(() => createPrivateKey(key.pem));
  if (!privateKey) throw fault(key, "whose private key is damaged");
  if (certificate.checkPrivateKey(privateKey)) return;
  throw fault(key, `which is not the key of the certificate in --${chain.option}`);
}

/**
 * Checks that at least one certificate of a CA's file can be read. Others may be of kinds that this
 * runtime doesn't know, as in a system's bundle; nobody is trusted because of them.
 *
 * @throws {ConfigError} when there is none
 */
export function checkCa(file: PemFile): void {
  const isReadable = (block: string) => attempt(() => new X509Certificate(block)) !== undefined;
  if (!certificatesOf(file).some(isReadable)) throw fault(file, "whose certificates are damaged");
}

/** What is to be known of a file's certificates while they are in use. */
export interface CertificateFacts {
  /** Of the certificate that expires first. */
  readonly subject: string;
  /** When that is, in milliseconds since 1970. */
  readonly notAfterMs: number;
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
 * Whether a client's certificate leads to one of the CAs, and is valid by its dates.
 *
 * For one that a handshake has verified before: what it may be used for is not looked at again.
 *
 * @param chain The client's certificate, and in any order what came with it.
 */
export function leadsTo(
  cas: readonly X509Certificate[],
  chain: readonly X509Certificate[],
  nowMs: number,
): boolean {
  const seen = new Set<X509Certificate>();
  let certificate = chain[0];
  while (certificate && !seen.has(certificate) && isCurrent(certificate, nowMs)) {
    seen.add(certificate);
    const current = certificate;
    if (cas.some((ca) => isCurrent(ca, nowMs) && isIssued(current, ca))) return true;
    certificate = chain.find((other) => other.ca && !seen.has(other) && isIssued(current, other));
  }
  return false;
}

function isCurrent({ validFrom, validTo }: X509Certificate, nowMs: number): boolean {
  return Date.parse(validFrom) <= nowMs && nowMs < Date.parse(validTo);
}

function isIssued(certificate: X509Certificate, by: X509Certificate): boolean {
  return certificate.checkIssued(by) && certificate.verify(by.publicKey);
}

/** @throws {ConfigError} for a file that ends in the middle of a certificate. */
function certificatesOf(file: PemFile): string[] {
  const blocks = blocksOf(file.pem);
  const begun = file.pem.match(/-----BEGIN CERTIFICATE-----/g)?.length ?? 0;
  if (begun > Math.max(1, blocks.length)) throw fault(file, "which ends within a certificate");
  return blocks;
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

function fault({ option, path }: PemFile, what: string): ConfigError {
  return new ConfigError(`Option --${option} names ${JSON.stringify(path)}, ${what}`);
}
