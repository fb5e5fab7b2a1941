/**
 * Certificates, private keys and CA bundles: from a PEM file to what a TLS handshake can use.
 *
 * Whatever takes such a file takes it through here, when the program starts and when the file has
 * changed: with material that is broken or not supported, every handshake would fail later, and only
 * the log would say so.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { ConfigError } from "../../config/config_error.ts";
import {
  certificateBlocks,
  holdsPrivateKey,
  type PemBlock,
  PemError,
  privateKeyBlock,
} from "../../config/pem.ts";
import { loadCa } from "../deno/load_ca.ts";
import { type CertificateDetails, certificateDetails } from "./certificate_names.ts";
import { selfHandshake } from "./self_handshake.ts";

/** A PEM file, and what names it. */
export interface PemSource {
  /** How messages name the file's option: "Option --tls-cert". */
  readonly origin: string;
  readonly path: string;
  /** The file's text as it is. */
  readonly text: string;
}

/** What is to be known of the certificate that a peer is shown. */
export interface Leaf {
  readonly subject: string;
  /** The DNS names in its subjectAltName. */
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** A certificate chain and its private key, with which a handshake has succeeded. */
export interface KeyPair {
  /** The chain alone, the leaf first. */
  readonly certPem: string;
  /** The private key alone. */
  readonly keyPem: string;
  readonly leaf: Leaf;
  /** One line each, about what works here but not for everybody. */
  readonly warnings: readonly string[];
}

/** CA certificates that TLS can load. */
export interface CaBundle {
  /** The certificates alone. */
  readonly caPem: string;
  readonly warnings: readonly string[];
}

/** What a key pair is shown to: clients, of a server, or servers, of a client. */
export type KeyPairUse = "server" | "client";

/**
 * Reads a certificate chain and its key, and completes a handshake with them.
 *
 * One file may hold both.
 *
 * @throws {ConfigError} that names the file, and says what is wrong with it and what would be right
 */
export async function loadKeyPair(
  chain: PemSource,
  key: PemSource,
  use: KeyPairUse,
): Promise<KeyPair> {
  const blocks = inFile(chain, () => certificateBlocks(chain.text));
  const certificates = blocks.map((block, index) => {
    const certificate = parsed(block);
    if (certificate) return certificate;
    throw fault(chain, `whose ${ordinalOf(index)} certificate is damaged`);
  });
  const keyBlock = inFile(key, () => privateKeyBlock(key.text));
  const privateKey = attempt(() => createPrivateKey(keyBlock.pem));
  if (!privateKey) throw fault(key, "whose private key is damaged");
  const [first] = certificates as [X509Certificate];
  requirePair({ chain, certificates, key, privateKey });
  refuseVersion1(chain, certificates);
  const details = certificateDetails(first.raw);
  const pair = { certPem: blocks.map(({ pem }) => pem).join(""), keyPem: keyBlock.pem };
  try {
    await selfHandshake({ cert: pair.certPem, key: pair.keyPem });
  } catch (error) {
    throw fault(
      chain,
      `with which no TLS handshake succeeds: ${
        whyUnusable(privateKey, details) ??
          (error as Error).message
      }`,
    );
  }
  return {
    ...pair,
    leaf: leafOf(first, details),
    warnings: warningsOf(chain, first, details, use),
  };
}

/**
 * Reads CA certificates, and loads them as a TLS client does.
 *
 * @throws {ConfigError} that names the file and the certificate, and says what is wrong with it
 */
export function loadCaBundle(file: PemSource): CaBundle {
  const blocks = inFile(file, () => certificateBlocks(file.text));
  const damage = damageOf(blocks);
  if (damage !== undefined) throw fault(file, damage);
  const warnings = holdsPrivateKey(file.text)
    ? [`${aboutOf(file)} which holds a private key too: it is not used, and is safer elsewhere`]
    : [];
  return { caPem: blocks.map(({ pem }) => pem).join(""), warnings };
}

/** What is wrong with the text of CA certificates, as a relative clause; undefined if they can be loaded. */
export function caFault(text: string): string | undefined {
  try {
    return damageOf(certificateBlocks(text));
  } catch (error) {
    if (!(error instanceof PemError)) throw error;
    return error.message;
  }
}

function damageOf(blocks: readonly PemBlock[]): string | undefined {
  const loadable = blocks.map(isLoadable);
  const damaged = loadable.indexOf(false);
  if (damaged === -1) return undefined;
  return !loadable.includes(true)
    ? "whose certificates are damaged"
    : `whose ${ordinalOf(damaged)} certificate of ${blocks.length} is damaged`;
}

const version1 = "is X.509 version 1, which TLS clients and servers refuse: reissue it with " +
  "extensions, as with openssl x509 -req -extfile";

/** A root of version 1 does no harm behind the others: whoever verifies them has that CA already. */
function refuseVersion1(chain: PemSource, certificates: readonly X509Certificate[]): void {
  const index = certificates.findIndex((certificate, index) => {
    const isRoot = index > 0 && certificate.subject === certificate.issuer;
    return !isRoot && certificateDetails(certificate.raw).version !== 3;
  });
  if (index !== -1) throw fault(chain, `whose ${ordinalOf(index)} certificate ${version1}`);
}

function isLoadable(block: PemBlock): boolean {
  const isRead = attempt(() => certificateDetails(block.der)) !== undefined &&
    parsed(block) !== undefined;
  return isRead && attempt(() => (loadCa(block.pem), true)) === true;
}

/** @throws {ConfigError} for a key that is not the first certificate's. */
function requirePair({ chain, certificates, key, privateKey }: {
  readonly chain: PemSource;
  readonly certificates: readonly X509Certificate[];
  readonly key: PemSource;
  readonly privateKey: KeyObject;
}): void {
  // It throws for kinds of keys that it doesn't know.
  const isOwn = (certificate: X509Certificate) =>
    attempt(() => certificate.checkPrivateKey(privateKey)) === true;
  const index = certificates.findIndex(isOwn);
  if (index === 0) return;
  if (index > 0) {
    throw fault(
      chain,
      `whose first certificate is ${subjectOf(certificates[0]!)}, but the key's is the ` +
        `${ordinalOf(index)}, ${subjectOf(certificates[index]!)}: put that one first, then those ` +
        "of the CAs that issued it",
    );
  }
  const unsupported = unsupportedKey(privateKey);
  if (unsupported !== undefined) throw fault(key, `whose key is ${unsupported}`);
  throw fault(key, `which is not the key of the certificate in ${nameOf(chain)}`);
}

/** Kinds of keys that every TLS of today takes. */
const supportedKeys = "use ECDSA with P-256 or P-384, Ed25519, or RSA of 2048 bits or more";
const supportedCurves: readonly string[] = ["prime256v1", "secp384r1", "secp521r1"];
const minRsaBits = 2048;

/** What is wrong with a kind of key; undefined when nothing is known to be. */
function unsupportedKey({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject) {
  const { namedCurve, modulusLength } = asymmetricKeyDetails ?? {};
  if (asymmetricKeyType === "rsa-pss") {
    return `RSA-PSS, which TLS here does not take: ${supportedKeys}`;
  }
  if (asymmetricKeyType === "dsa") return `DSA, which TLS does not take: ${supportedKeys}`;
  if (modulusLength !== undefined && modulusLength < minRsaBits) {
    return `RSA of ${modulusLength} bits, which is too short: ${supportedKeys}`;
  }
  if (namedCurve !== undefined && !supportedCurves.includes(namedCurve)) {
    return `on the curve ${namedCurve}, which TLS does not take: ${supportedKeys}`;
  }
  return undefined;
}

/** Extensions that may be critical, as TLS libraries know what they mean (RFC 5280 section 4.2). */
const knownExtensions: readonly string[] = [
  ...["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.32"],
  ...["2.5.29.35", "2.5.29.37"],
];

/** Why a handshake fails, as far as it shows; undefined leaves it to the runtime's words. */
function whyUnusable(key: KeyObject, { criticalExtensions }: CertificateDetails) {
  const unsupported = unsupportedKey(key);
  if (unsupported !== undefined) return `its key is ${unsupported}`;
  const unknown = criticalExtensions.find((oid) => !knownExtensions.includes(oid));
  if (unknown === undefined) return undefined;
  return `its extension ${unknown} is critical, so that whoever does not know it refuses the ` +
    "certificate: issue it without that, or not critical";
}

function leafOf(certificate: X509Certificate, { dnsNames, ipAddresses }: CertificateDetails): Leaf {
  return {
    subject: subjectOf(certificate),
    dnsNames,
    ipAddresses,
    notBefore: new Date(certificate.validFrom),
    notAfter: new Date(certificate.validTo),
  };
}

/** RFC 5280 section 4.2.1.12. */
const purposeOf = {
  server: { oid: "1.3.6.1.5.5.7.3.1", name: "serverAuth", peers: "clients" },
  client: { oid: "1.3.6.1.5.5.7.3.2", name: "clientAuth", peers: "relays" },
} as const;
const anyPurpose = "2.5.29.37.0";

function warningsOf(
  chain: PemSource,
  certificate: X509Certificate,
  { dnsNames, ipAddresses, purposes }: CertificateDetails,
  use: KeyPairUse,
): string[] {
  const warnings: string[] = [];
  const { oid, name, peers } = purposeOf[use];
  if (purposes.length > 0 && !purposes.includes(oid) && !purposes.includes(anyPurpose)) {
    warnings.push(
      `${aboutOf(chain)} whose certificate is for other uses (extendedKeyUsage without ${name}): ` +
        `${peers} refuse it`,
    );
  }
  if (use === "client") return warnings;
  if (dnsNames.length + ipAddresses.length === 0) {
    warnings.push(
      `${aboutOf(chain)} whose certificate has no name in a subjectAltName: clients do not look ` +
        "at its CN, and refuse it",
    );
  }
  if (certificate.ca) {
    warnings.push(
      `${aboutOf(chain)} whose certificate is a CA's (basicConstraints CA:TRUE): agents and ` +
        "relays refuse it as a server's; make it with CA:FALSE",
    );
  }
  return warnings;
}

/** The holder's name, in one line. */
export function subjectOf({ subject }: X509Certificate): string {
  return subject ? subject.replaceAll("\n", ", ") : "one without a subject";
}

function parsed({ der }: PemBlock): X509Certificate | undefined {
  const certificate = attempt(() => new X509Certificate(der));
  // Our own reader has to understand it too.
  return certificate && attempt(() => certificateDetails(der)) && certificate;
}

const ordinals = ["first", "second", "third"] as const;

function ordinalOf(index: number): string {
  return ordinals[index] ?? `${index + 1}th`;
}

function inFile<T>(file: PemSource, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof PemError)) throw error;
    throw fault(file, error.message);
  }
}

/** What was made, or nothing: the runtime's own words for what is wrong help no user. */
function attempt<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

function fault(file: PemSource, what: string): ConfigError {
  return new ConfigError(`${aboutOf(file)} ${what}`);
}

function aboutOf({ origin, path }: PemSource): string {
  return `${origin} names ${JSON.stringify(path)},`;
}

function nameOf({ origin }: PemSource): string {
  return origin.replace(/^Option /, "");
}
