/**
 * The names in a certificate, read from its DER bytes (RFC 5280).
 *
 * Not from Node's `subjectaltname`: that is one text, and Deno 2.9.6 writes a name as it is. A URI
 * "x://y, DNS:admin" would read as two names, so whoever may choose one name could choose any.
 */
/** One element of DER: its tag, and where its content lies. */
interface Element {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

const tags = { oid: 0x06, octetString: 0x04, utf8String: 0x0c, extensions: 0xa3 } as const;
/** Kinds of text that a subject's name may be: UTF8String, PrintableString, IA5String. */
const textTags: readonly number[] = [tags.utf8String, 0x13, 0x16];
/** GeneralName (RFC 5280 section 4.2.1.6): `[2]` dNSName, `[6]` uniformResourceIdentifier. */
const nameTags: readonly number[] = [0x82, 0x86];
const commonName = [0x55, 0x04, 0x03];
const subjectAltName = [0x55, 0x1d, 0x11];
/** Of TBSCertificate's members: the subject follows version, serial, algorithm, issuer, validity. */
const subjectIndex = 5;

/**
 * Reads a verified certificate's names.
 *
 * @param der The whole certificate, as the TLS handshake brought it.
 * @returns Common names, then DNS names and URIs of the subjectAltName, without repeats.
 * @throws {RangeError} for bytes that are no certificate.
 */
export function certificateNames(der: Uint8Array): readonly string[] {
  const [certificate] = elements(der, { tag: 0, start: 0, end: der.length });
  const [body] = certificate ? elements(der, certificate) : [];
  if (!body) throw new RangeError("Not a certificate");
  const members = elements(der, body);
  // Version 1 certificates begin with the serial number instead of `[0]` version.
  const subject = members[members[0]?.tag === 0xa0 ? subjectIndex : subjectIndex - 1];
  const extensions = members.find(({ tag }) => tag === tags.extensions);
  const names = [
    ...(subject ? commonNames(der, subject) : []),
    ...(extensions ? alternativeNames(der, extensions) : []),
  ];
  return [...new Set(names)];
}

/** Name ::= SEQUENCE OF SET OF SEQUENCE { type, value } */
function commonNames(der: Uint8Array, subject: Element): string[] {
  return elements(der, subject).flatMap((set) => elements(der, set)).flatMap((attribute) => {
    const [type, value] = elements(der, attribute);
    const isName = type && value && isOid(der, type, commonName) && textTags.includes(value.tag);
    return isName ? [text(der, value)] : [];
  });
}

/** Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING } */
function alternativeNames(der: Uint8Array, extensions: Element): string[] {
  return elements(der, extensions).flatMap((list) => elements(der, list)).flatMap((extension) => {
    const parts = elements(der, extension);
    const value = parts.at(-1);
    if (!parts[0] || !isOid(der, parts[0], subjectAltName)) return [];
    if (value?.tag !== tags.octetString) throw new RangeError("An extension without its value");
    return elements(der, value).flatMap((names) => elements(der, names))
      .filter(({ tag }) => nameTags.includes(tag))
      .map((name) => text(der, name));
  });
}

/** The elements that fill another one's content. */
function elements(der: Uint8Array, parent: Element): Element[] {
  const found: Element[] = [];
  for (let at = parent.start; at < parent.end;) {
    const element = elementAt(der, at, parent.end);
    found.push(element);
    at = element.end;
  }
  return found;
}

/** Lengths are in one byte, or in as many as the low bits of the first one say (X.690 section 8.1.3). */
function elementAt(der: Uint8Array, at: number, limit: number): Element {
  const first = der[at + 1] ?? 0xff;
  const lengthBytes = first < 0x80 ? 0 : first - 0x80;
  if (lengthBytes > 4) throw new RangeError("A length of more than four bytes");
  let length = first < 0x80 ? first : 0;
  for (let index = 0; index < lengthBytes; index++) {
    length = length * 256 + (der[at + 2 + index] ?? 0);
  }
  const start = at + 2 + lengthBytes;
  if (start + length > limit) throw new RangeError("An element is longer than what it stands in");
  return { tag: der[at]!, start, end: start + length };
}

function isOid(der: Uint8Array, { tag, start, end }: Element, oid: readonly number[]): boolean {
  return tag === tags.oid && end - start === oid.length &&
    oid.every((byte, index) => der[start + index] === byte);
}

/** ASCII in the older kinds of text, which UTF-8 holds. */
function text(der: Uint8Array, { start, end }: Element): string {
  return new TextDecoder().decode(der.subarray(start, end));
}
