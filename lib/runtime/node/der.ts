/** DER (X.690), as far as it takes to read a certificate's parts. */

/** One element of DER: its tag, where it begins, and where its content lies. */
export interface Element {
  readonly tag: number;
  readonly from: number;
  readonly start: number;
  readonly end: number;
}

/** Tags of universal types, and the two of a certificate's optional members. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  oid: 0x06,
  octetString: 0x04,
  utf8String: 0x0c,
  version: 0xa0,
  extensions: 0xa3,
} as const;

/** The whole of some bytes, as what the elements in them stand in. */
export function wholeOf(der: Uint8Array): Element {
  return { tag: 0, from: 0, start: 0, end: der.length };
}

/** The elements that fill another one's content. @throws {RangeError} for bytes that are no DER. */
export function elements(der: Uint8Array, parent: Element): Element[] {
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
  if (start + length > limit) throw new RangeError("An element is longer than the one around it");
  return { tag: der[at]!, from: at, start, end: start + length };
}

/** An object identifier as numbers with dots between them. */
export function oidText(der: Uint8Array, { start, end }: Element): string {
  const parts: number[] = [];
  let value = 0;
  for (const byte of der.subarray(start, end)) {
    value = value * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    if (parts.length === 0) parts.push(Math.min(2, Math.floor(value / 40)));
    if (parts.length === 1) value -= parts[0]! * 40;
    parts.push(value);
    value = 0;
  }
  return parts.join(".");
}

/** ASCII in the older kinds of text, which UTF-8 holds. */
export function text(der: Uint8Array, { start, end }: Element): string {
  return new TextDecoder().decode(der.subarray(start, end));
}
