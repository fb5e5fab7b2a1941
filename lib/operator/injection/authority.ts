/** A small certificate authority: one self-signed CA, and certificates for servers that it issues. */
import { BitString, Integer, OctetString, Utf8String } from "asn1js";
import {
  AltName,
  AttributeTypeAndValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  Extension,
  ExtKeyUsage,
  GeneralName,
  id_AuthorityKeyIdentifier,
  id_BasicConstraints,
  id_ExtKeyUsage,
  id_KeyUsage,
  id_SubjectAltName,
  id_SubjectKeyIdentifier,
} from "pkijs";
import { encodePem } from "../../config/pem.ts";

/** A certificate and its key, in PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** When a certificate is valid, in milliseconds since 1970. */
export interface Validity {
  readonly fromMs: number;
  readonly toMs: number;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256" };
const commonNameId = "2.5.4.3";
const serverAuthId = "1.3.6.1.5.5.7.3.1";
/** Values of KeyUsage (RFC 5280 section 4.2.1.3), and how many bits of the byte are unused. */
const signsCertificates = { bits: 0x06, unused: 1 };
const signs = { bits: 0x80, unused: 7 };
/** The tags of GeneralName's choices (RFC 5280 section 4.2.1.6). */
const dnsName = 2;
const ipAddress = 7;

/** Makes a CA. Each has a name of its own, so that nobody takes one for another. */
export async function makeAuthority(validity: Validity): Promise<KeyPair> {
  const keys = await generateKeys();
  const serial = crypto.getRandomValues(new Uint8Array(16));
  const name = `culvert webhook CA ${serial.subarray(0, 6).toHex()}`;
  const constraints = new BasicConstraints({ cA: true, pathLenConstraint: 0 });
  const certificate = await signed({
    ...{ serial, validity, subject: name, issuer: name, publicKey: keys.publicKey },
    extensions: [
      extension(id_BasicConstraints, constraints.toSchema().toBER(false), true),
      extension(id_KeyUsage, keyUsage(signsCertificates), true),
      extension(
        id_SubjectKeyIdentifier,
        new OctetString({ valueHex: await identifierOf(keys.publicKey) }).toBER(false),
        false,
      ),
    ],
    signingKey: keys.privateKey,
  });
  return await pairOf(certificate, keys.privateKey);
}

/**
 * Issues a server's certificate.
 *
 * @param names DNS names and IPv4 addresses under which clients reach it.
 */
export async function issue(
  authority: KeyPair,
  names: readonly string[],
  validity: Validity,
): Promise<KeyPair> {
  const keys = await generateKeys();
  const issuer = Certificate.fromBER(derOf(authority.cert));
  const altNames = new AltName({ altNames: names.map(generalName) });
  const usage = new ExtKeyUsage({ keyPurposes: [serverAuthId] });
  const keyIdentifier = new OctetString({
    valueHex: await identifierOf(await issuer.getPublicKey()),
  });
  const authorityIdentifier = new AuthorityKeyIdentifier({ keyIdentifier });
  const certificate = await signed({
    serial: crypto.getRandomValues(new Uint8Array(16)),
    validity,
    subject: "culvert webhook",
    issuer: commonName(issuer),
    publicKey: keys.publicKey,
    extensions: [
      extension(id_KeyUsage, keyUsage(signs), true),
      extension(id_ExtKeyUsage, usage.toSchema().toBER(false), false),
      extension(id_SubjectAltName, altNames.toSchema().toBER(false), false),
      extension(id_AuthorityKeyIdentifier, authorityIdentifier.toSchema().toBER(false), false),
    ],
    signingKey: await crypto.subtle.importKey("pkcs8", derOf(authority.key), algorithm, false, [
      "sign",
    ]),
  });
  return await pairOf(certificate, keys.privateKey);
}

/** What is to be known of a certificate. */
export interface CertificateFacts {
  readonly fromMs: number;
  readonly toMs: number;
  /** DNS names and IPv4 addresses, sorted. */
  readonly names: readonly string[];
}

/** Reads a certificate; undefined for what is none. */
export function factsOf(pem: string): CertificateFacts | undefined {
  const certificate = read(pem);
  if (!certificate) return undefined;
  const altNames = certificate.extensions?.find(({ extnID }) => extnID === id_SubjectAltName)
    ?.parsedValue as AltName | undefined;
  return {
    fromMs: certificate.notBefore.value.getTime(),
    toMs: certificate.notAfter.value.getTime(),
    names: (altNames?.altNames ?? []).map(nameText).sort(),
  };
}

/** Whether a CA has issued a certificate. Dates do not count. */
export async function isIssuedBy(pem: string, authorityPem: string): Promise<boolean> {
  const [certificate, issuer] = [read(pem), read(authorityPem)];
  if (!certificate || !issuer) return false;
  try {
    return certificate.issuer.isEqual(issuer.subject) && await certificate.verify(issuer);
  } catch {
    // A key or an algorithm that WebCrypto does not know.
    return false;
  }
}

/** Whether a key is that of a certificate. */
export async function isPair({ cert, key }: KeyPair): Promise<boolean> {
  const certificate = read(cert);
  if (!certificate) return false;
  try {
    const own = await crypto.subtle.importKey("pkcs8", derOf(key), algorithm, true, ["sign"]);
    const [one, other] = await Promise.all([
      crypto.subtle.exportKey("jwk", own),
      crypto.subtle.exportKey("jwk", await certificate.getPublicKey()),
    ]);
    return one.x === other.x && one.y === other.y;
  } catch {
    return false;
  }
}

/** The certificates in a PEM, one by one. */
export function certificatesIn(pem: string): string[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => `${block}\n`);
}

function read(pem: string): Certificate | undefined {
  try {
    return Certificate.fromBER(derOf(pem));
  } catch {
    return undefined;
  }
}

function nameText({ type, value }: GeneralName): string {
  return type === ipAddress
    ? new Uint8Array((value as OctetString).valueBlock.valueHexView).join(".")
    : String(value);
}

interface CertificateParts {
  readonly serial: Uint8Array<ArrayBuffer>;
  readonly validity: Validity;
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: CryptoKey;
  readonly extensions: Extension[];
  readonly signingKey: CryptoKey;
}

async function signed(parts: CertificateParts): Promise<Certificate> {
  const certificate = new Certificate();
  // Counted from 0: this is version 3.
  certificate.version = 2;
  // Positive, and never 0 (RFC 5280 section 4.1.2.2).
  parts.serial[0] = 0x40 | (parts.serial[0]! & 0x3f);
  certificate.serialNumber = new Integer({ valueHex: parts.serial.buffer });
  certificate.subject.typesAndValues.push(nameAttribute(parts.subject));
  certificate.issuer.typesAndValues.push(nameAttribute(parts.issuer));
  certificate.notBefore.value = new Date(parts.validity.fromMs);
  certificate.notAfter.value = new Date(parts.validity.toMs);
  certificate.extensions = parts.extensions;
  await certificate.subjectPublicKeyInfo.importKey(parts.publicKey);
  await certificate.sign(parts.signingKey, "SHA-256");
  return certificate;
}

function nameAttribute(value: string): AttributeTypeAndValue {
  return new AttributeTypeAndValue({ type: commonNameId, value: new Utf8String({ value }) });
}

function commonName({ subject }: Certificate): string {
  const found = subject.typesAndValues.find(({ type }) => type === commonNameId);
  return String(found?.value.valueBlock.value ?? "");
}

function extension(extnID: string, extnValue: ArrayBuffer, critical: boolean): Extension {
  return new Extension({ extnID, critical, extnValue });
}

function keyUsage({ bits, unused }: typeof signs): ArrayBuffer {
  return new BitString({ valueHex: new Uint8Array([bits]).buffer, unusedBits: unused })
    .toBER(false);
}

function generalName(name: string): GeneralName {
  const parts = name.split(".").map(Number);
  const isAddress = parts.length === 4 && parts.every((part) => part >= 0 && part <= 255);
  if (!isAddress) return new GeneralName({ type: dnsName, value: name });
  const value = new OctetString({ valueHex: new Uint8Array(parts).buffer });
  return new GeneralName({ type: ipAddress, value });
}

/** What names a key in extensions: a digest of it, which need not be secure. */
async function identifierOf(publicKey: CryptoKey): Promise<ArrayBuffer> {
  return await crypto.subtle.digest("SHA-1", await crypto.subtle.exportKey("raw", publicKey));
}

async function generateKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

async function pairOf(certificate: Certificate, privateKey: CryptoKey): Promise<KeyPair> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", privateKey);
  return {
    cert: encodePem("CERTIFICATE", new Uint8Array(certificate.toSchema(true).toBER(false))),
    key: encodePem("PRIVATE KEY", new Uint8Array(pkcs8)),
  };
}

function derOf(pem: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromBase64(pem.replace(/-----[A-Z ]+-----/g, ""));
}
