/**
 * The header of the PROXY protocol, versions 1 and 2, which a balancer of TCP connections sends in front
 * of each (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
 */
import { canonicalAddress } from "../domain/address_ranges.ts";

/** What a header says of the connection that the balancer accepted. */
export interface ProxySource {
  /** The client's address; undefined for one of the balancer's own, such as a health check. */
  readonly address: string | undefined;
  /** Whether the client spoke TLS with the balancer; undefined if that is not said. */
  readonly isTls?: boolean | undefined;
}

/** What bytes come to. */
export type ProxyHeader =
  /** So far it may become a header. */
  | { readonly kind: "incomplete" }
  | { readonly kind: "complete"; readonly length: number; readonly source: ProxySource }
  | { readonly kind: "invalid"; readonly reason: "missing" | "malformed" };

/** Bytes of a header: one of version 2 with its longest addresses, and 300 bytes of more. */
export const maxProxyHeaderBytes = 536;
/** Bytes of one of version 1, with its line end. */
const maxV1Bytes = 107;

const encoder = new TextEncoder();
const v1Signature = encoder.encode("PROXY ");
const v2Signature = encoder.encode("\r\n\r\n\0\r\nQUIT\n");
/** Signature, version and command, family and protocol, length. */
const v2FixedBytes = 16;

const incomplete: ProxyHeader = { kind: "incomplete" };
const malformed: ProxyHeader = { kind: "invalid", reason: "malformed" };
const missing: ProxyHeader = { kind: "invalid", reason: "missing" };

/** Reads a header from the first bytes of a connection. */
export function readProxyHeader(bytes: Uint8Array): ProxyHeader {
  if (beginsAs(bytes, v2Signature)) return readV2(bytes);
  if (beginsAs(bytes, v1Signature)) return readV1(bytes);
  return missing;
}

/** Whether bytes are the beginning of a signature, or begin with it. */
function beginsAs(bytes: Uint8Array, signature: Uint8Array): boolean {
  const length = Math.min(bytes.length, signature.length);
  return signature.subarray(0, length).every((byte, index) => bytes[index] === byte);
}

const lineFeed = 10;
const port = "(?:0|[1-9]\\d{0,4})";
const tcpLine = new RegExp(
  `^PROXY TCP([46]) ([\\da-fA-F.:]+) ([\\da-fA-F.:]+) (${port}) (${port})$`,
);

function readV1(bytes: Uint8Array): ProxyHeader {
  const end = bytes.subarray(0, maxV1Bytes).indexOf(lineFeed);
  if (end === -1) return bytes.length < maxV1Bytes ? incomplete : malformed;
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, end + 1));
  if (!text.endsWith("\r\n")) return malformed;
  const line = text.slice(0, -2);
  const length = end + 1;
  // Whatever else stands behind it is to be ignored.
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return complete(length, { address: undefined });
  const [, family, from = "", to = "", ...ports] = tcpLine.exec(line) ?? [];
  const isOfFamily = (text: string) => text.includes(":") === (family === "6");
  const address = canonicalAddress(from);
  if (family === undefined || address === undefined || canonicalAddress(to) === undefined) {
    return malformed;
  }
  if (![from, to].every(isOfFamily) || ports.some((port) => Number(port) > 65_535)) {
    return malformed;
  }
  return complete(length, { address });
}

function complete(length: number, source: ProxySource): ProxyHeader {
  return { kind: "complete", length, source };
}

const commands = { local: 0, proxy: 1 } as const;
/** Families and protocols, and the bytes of their addresses and ports. */
const families: ReadonlyMap<number, number> = new Map([[0x00, 0], [0x11, 12], [0x21, 36], [
  0x31,
  216,
]]);
const tcp4 = 0x11;
const tcp6 = 0x21;

function readV2(bytes: Uint8Array): ProxyHeader {
  if (bytes.length < v2FixedBytes) return incomplete;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [version, command, family] = [bytes[12]! >> 4, bytes[12]! & 0xf, bytes[13]!];
  const length = v2FixedBytes + view.getUint16(14);
  const addressBytes = families.get(family);
  if (version !== 2 || length > maxProxyHeaderBytes) return malformed;
  if (command !== commands.local && command !== commands.proxy) return malformed;
  if (bytes.length < length) return incomplete;
  // What comes with a connection of the balancer's own is to be skipped.
  if (command === commands.local) return complete(length, { address: undefined });
  if (addressBytes === undefined || v2FixedBytes + addressBytes > length) return malformed;
  const isTls = readTlvs(bytes.subarray(0, length), v2FixedBytes + addressBytes);
  if (isTls === "malformed") return malformed;
  return complete(length, { address: addressOf(bytes, family), isTls });
}

function addressOf(bytes: Uint8Array, family: number): string | undefined {
  const start = v2FixedBytes;
  if (family === tcp4) return bytes.subarray(start, start + 4).join(".");
  if (family !== tcp6) return undefined;
  const groups: string[] = [];
  for (let at = start; at < start + 16; at += 2) {
    groups.push((bytes[at]! * 256 + bytes[at + 1]!).toString(16));
  }
  return canonicalAddress(groups.join(":"));
}

const tlvTypes = { crc32c: 0x03, ssl: 0x20 } as const;
/** PP2_CLIENT_SSL, a bit of the first byte of PP2_TYPE_SSL. */
const clientUsedTls = 1;

/** Reads what follows the addresses. @returns whether the client spoke TLS, if that is said. */
function readTlvs(header: Uint8Array, start: number): boolean | undefined | "malformed" {
  let isTls: boolean | undefined;
  for (let at = start; at < header.length;) {
    const from = at + 3;
    const to = from + header[at + 1]! * 256 + header[at + 2]!;
    // NaN for a length that is cut itself.
    if (!(to <= header.length)) return "malformed";
    const type = header[at];
    if (type === tlvTypes.ssl) {
      if (to - from < 5) return "malformed";
      isTls = (header[from]! & clientUsedTls) !== 0;
    }
    if (type === tlvTypes.crc32c && !hasChecksum(header, from, to)) return "malformed";
    at = to;
  }
  return isTls;
}

/** Whether the checksum at these bytes is that of the header with zeros in its place. */
function hasChecksum(header: Uint8Array, from: number, to: number): boolean {
  if (to - from !== 4) return false;
  const given = new DataView(header.buffer, header.byteOffset + from, 4).getUint32(0);
  return crc32c(header, from, to) === given;
}

/** CRC-32C (RFC 3720 appendix B.4), bit by bit: a header is short, and few have one. */
function crc32c(bytes: Uint8Array, zerosFrom: number, zerosTo: number): number {
  let crc = 0xffffffff;
  for (const [index, byte] of bytes.entries()) {
    crc ^= index >= zerosFrom && index < zerosTo ? 0 : byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}
