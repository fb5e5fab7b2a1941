/**
 * The names in a certificate, read from its DER bytes (RFC 5280).
 *
 * Not from Node's `subjectaltname`: that is one text, and Deno 2.9.6 writes a name as it is. A URI
 * "x://y, DNS:admin" would read as two names, so whoever may choose one name could choose any.
 */
import { isIP } from "node:net";
import { type Element, elements, oidText, tags, text, wholeOf } from "./der.ts";

/** Kinds of text that a subject's name may be: UTF8String, PrintableString, IA5String. */
const textTags: readonly number[] = [tags.utf8String, 0x13, 0x16];
/** GeneralName (RFC 5280 section 4.2.1.6): dNSName, uniformResourceIdentifier and iPAddress. */
const dnsNameTag = 0x82;
const ipAddressTag = 0x87;
const nameTags: readonly number[] = [dnsNameTag, 0x86];
const commonName = "2.5.4.3";
const subjectAltName = "2.5.29.17";
const extendedKeyUsage = "2.5.29.37";
/** The index of the subject in TBSCertificate: after version, serial, algorithm, issuer and validity. */
const subjectIndex = 5;

/**
 * Reads a verified certificate's names.
 *
 * @param der The whole certificate, as the TLS handshake brought it.
 * @returns Common names, then DNS names and URIs of the subjectAltName, without repeats.
 * @throws {RangeError} for bytes that are no certificate.
 */
export function certificateNames(der: Uint8Array): readonly string[] {
  const members = membersOf(der);
  const subject = members[isVersioned(members) ? subjectIndex : subjectIndex - 1];
  const names = [
    ...(subject ? commonNames(der, subject) : []),
    ...alternativeNames(der, members).filter(({ tag }) => nameTags.includes(tag))
      .map((name) => text(der, name)),
  ];
  return [...new Set(names)];
}

/** What a certificate says about itself, beyond what Node reads of it. */
export interface CertificateDetails {
  /** 1, 2 or 3 (RFC 5280 section 4.1.2.1). */
  readonly version: number;
  /** The DNS names in the subjectAltName, unchanged. */
  readonly dnsNames: readonly string[];
  /** The IP addresses in the subjectAltName, each in its shortest form. */
  readonly ipAddresses: readonly string[];
  /** OIDs of extensions that may not be ignored. */
  readonly criticalExtensions: readonly string[];
  /** OIDs of the extendedKeyUsage; none where there is no such extension, which allows every use. */
  readonly purposes: readonly string[];
}

/** Reads a certificate. @throws {RangeError} for bytes that are no certificate. */
export function certificateDetails(der: Uint8Array): CertificateDetails {
  const members = membersOf(der);
  const names = alternativeNames(der, members);
  return {
    version: versionOf(der, members),
    dnsNames: names.filter(({ tag }) => tag === dnsNameTag).map((name) => text(der, name)),
    ipAddresses: names.filter(({ tag }) => tag === ipAddressTag)
      .flatMap(({ start, end }) => ipAddressOf(der.subarray(start, end)) ?? []),
    criticalExtensions: extensionsOf(der, members).filter(({ isCritical }) => isCritical)
      .map(({ oid }) => oid),
    purposes: listIn(der, members, extendedKeyUsage).map((purpose) => oidText(der, purpose)),
  };
}

/** An address in its shortest form (RFC 5952); undefined for what is none. */
export function canonicalAddress(address: string): string | undefined {
  if (isIP(address) === 4) return address;
  // A URL's host has that form.
  return isIP(address) === 6 ? URL.parse(`http://[${address}]`)?.hostname.slice(1, -1) : undefined;
}

function ipAddressOf(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return undefined;
  const groups = Array.from({ length: 8 }, (_, index) => {
    return ((bytes[index * 2]! << 8) | bytes[index * 2 + 1]!).toString(16);
  });
  return canonicalAddress(groups.join(":"));
}

/** TBSCertificate's members. */
function membersOf(der: Uint8Array): Element[] {
  const [certificate] = elements(der, wholeOf(der));
  const [body] = certificate ? elements(der, certificate) : [];
  if (!body) throw new RangeError("Not a certificate");
  return elements(der, body);
}

/** Version 1 certificates begin with the serial number instead of `[0]` version. */
function isVersioned(members: readonly Element[]): boolean {
  return members[0]?.tag === tags.version;
}

function versionOf(der: Uint8Array, members: readonly Element[]): number {
  if (!isVersioned(members)) return 1;
  const [number] = elements(der, members[0]!);
  if (number?.tag !== tags.integer || number.end - number.start !== 1) {
    throw new RangeError("The version is invalid");
  }
  return der[number.start]! + 1;
}

/** Name ::= SEQUENCE OF SET OF SEQUENCE { type, value } */
function commonNames(der: Uint8Array, subject: Element): string[] {
  return elements(der, subject).flatMap((set) => elements(der, set)).flatMap((attribute) => {
    const [type, value] = elements(der, attribute);
    const isName = type?.tag === tags.oid && value && oidText(der, type) === commonName &&
      textTags.includes(value.tag);
    return isName ? [text(der, value)] : [];
  });
}

/** The subjectAltName's names. */
function alternativeNames(der: Uint8Array, members: readonly Element[]): Element[] {
  return listIn(der, members, subjectAltName);
}

/** What stands in an extension whose value is a list. */
function listIn(der: Uint8Array, members: readonly Element[], name: string): Element[] {
  return extensionsOf(der, members).filter(({ oid }) => oid === name)
    .flatMap(({ value }) => {
      if (value?.tag !== tags.octetString) throw new RangeError("An extension without its value");
      return elements(der, value).flatMap((names) => elements(der, names));
    });
}

interface Extension {
  readonly oid: string;
  readonly isCritical: boolean;
  readonly value: Element | undefined;
}

/** Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } */
function extensionsOf(der: Uint8Array, members: readonly Element[]): Extension[] {
  const extensions = members.find(({ tag }) => tag === tags.extensions);
  if (!extensions) return [];
  return elements(der, extensions).flatMap((list) => elements(der, list)).map((extension) => {
    const parts = elements(der, extension);
    const [id, critical] = parts;
    if (id?.tag !== tags.oid) throw new RangeError("An extension without its name");
    return {
      oid: oidText(der, id),
      isCritical: critical?.tag === tags.boolean && der[critical.start] !== 0,
      value: parts.at(-1),
    };
  });
}
