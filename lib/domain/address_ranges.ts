/** IP addresses and ranges of them, as options and proxies write them. */

/** An address's 4 or 16 bytes. */
type AddressBytes = readonly number[];

/** Bytes in front of an IPv4 address within IPv6 (RFC 4291 section 2.5.5.2). */
const mappedPrefix: AddressBytes = [...Array<number>(10).fill(0), 0xff, 0xff];

/** Some ranges of addresses, such as those of the proxies in front. */
export class AddressRanges {
  readonly #ranges: readonly Range[];

  private constructor(ranges: readonly Range[]) {
    this.#ranges = ranges;
  }

  /**
   * Reads addresses and ranges in CIDR form, separated by commas: `10.0.0.0/8,fd00::/8,192.0.2.1`.
   *
   * @returns nothing for a text that has anything else, or a range whose address has bits beyond its
   * length: `10.1.2.3/8` may have been meant as one address.
   */
  static parse(text: string): AddressRanges | undefined {
    const ranges: Range[] = [];
    for (const part of text.split(",")) {
      const range = parseRange(part.trim());
      if (!range) return undefined;
      ranges.push(range);
    }
    return new AddressRanges(ranges);
  }

  /** Whether an address is in one of them; what is no address is in none. */
  has(address: string): boolean {
    const bytes = bytesOf(address);
    return bytes !== undefined && this.#ranges.some((range) => isIn(bytes, range));
  }
}

interface Range {
  readonly bytes: AddressBytes;
  /** Bits of `bytes` that count. */
  readonly bits: number;
}

function parseRange(text: string): Range | undefined {
  const [address = "", length] = text.split("/", 2);
  const bytes = bytesOf(address);
  if (!bytes || text.split("/").length > 2) return undefined;
  const size = bytes.length * 8;
  if (length === undefined) return { bytes, bits: size };
  if (!/^(?:0|[1-9]\d{0,2})$/.test(length) || Number(length) > size) return undefined;
  const bits = Number(length);
  const isNetwork = bytes.every((byte, index) => (byte & ~maskAt(index, bits) & 0xff) === 0);
  return isNetwork ? { bytes, bits } : undefined;
}

function isIn(address: AddressBytes, { bytes, bits }: Range): boolean {
  return address.length === bytes.length &&
    address.every((byte, index) => (byte & maskAt(index, bits)) === bytes[index]);
}

/** The bits of a byte that are among the first `bits` of an address. */
function maskAt(index: number, bits: number): number {
  const kept = Math.min(8, Math.max(0, bits - index * 8));
  return (0xff << (8 - kept)) & 0xff;
}

/**
 * An address in the form in which it is logged and counted, or nothing for what is none: that of RFC
 * 5952, and an IPv4 address within IPv6 as the former.
 */
export function canonicalAddress(text: string): string | undefined {
  const bytes = bytesOf(text);
  if (!bytes) return undefined;
  return bytes.length === 4 ? bytes.join(".") : new URL(`http://[${text}]`).hostname.slice(1, -1);
}

function bytesOf(text: string): AddressBytes | undefined {
  return text.includes(":") ? ipv6Bytes(text) : ipv4Bytes(text);
}

/** Four decimal numbers without leading zeros, which some programs take for octal ones. */
function ipv4Bytes(text: string): AddressBytes | undefined {
  const parts = text.split(".");
  const isAddress = parts.length === 4 &&
    parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255);
  return isAddress ? parts.map(Number) : undefined;
}

/** RFC 4291 section 2.2. A zone (`%eth0`) has no meaning on another host, so there is none. */
function ipv6Bytes(text: string): AddressBytes | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half, index) => groupBytes(half, index === halves.length - 1));
  if (!head || (halves.length === 2 && !tail)) return undefined;
  const missing = 16 - head.length - (tail?.length ?? 0);
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  const bytes = [...head, ...Array<number>(missing).fill(0), ...tail ?? []];
  const isMapped = mappedPrefix.every((byte, index) => bytes[index] === byte);
  return isMapped ? bytes.slice(mappedPrefix.length) : bytes;
}

/** The bytes of groups with colons between; the last of the address may be an IPv4 address. */
function groupBytes(text: string, isEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const groups = text.split(":");
  for (const [index, group] of groups.entries()) {
    const isLast = isEnd && index === groups.length - 1;
    const ipv4 = isLast && group.includes(".") ? ipv4Bytes(group) : undefined;
    if (ipv4) bytes.push(...ipv4);
    else if (/^[\da-f]{1,4}$/i.test(group)) {
      const value = parseInt(group, 16);
      bytes.push(value >> 8, value & 0xff);
    } else return undefined;
  }
  return bytes;
}
