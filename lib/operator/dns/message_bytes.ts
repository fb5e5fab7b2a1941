/** Reads and writes the numbers and names in DNS messages (RFC 1035 section 4). */

/** Writes a message. */
export class Writer {
  readonly #bytes: number[] = [];

  get bytes(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }

  u16(value: number): this {
    this.#bytes.push(value >> 8 & 255, value & 255);
    return this;
  }

  u32(value: number): this {
    return this.u16(value >>> 16).u16(value & 0xffff);
  }

  raw(bytes: Iterable<number>): this {
    this.#bytes.push(...bytes);
    return this;
  }

  /** Writes a name without compression, which servers need not support in updates. */
  name(name: string): this {
    return this.raw(encodeName(name));
  }
}

/** Encodes a name. @throws {RangeError} for a label or a name that is too long */
export function encodeName(name: string): Uint8Array {
  const bytes: number[] = [];
  for (const label of name.replace(/\.$/, "").split(".")) {
    const text = new TextEncoder().encode(label);
    if (text.length === 0 || text.length > 63) throw new RangeError(`"${name}" is no name in DNS`);
    bytes.push(text.length, ...text);
  }
  if (bytes.length > 254) throw new RangeError(`"${name}" is too long for DNS`);
  return Uint8Array.from([...bytes, 0]);
}

/** An answer is not valid. */
export class DnsFault extends Error {
  override readonly name = "DnsFault";
}

/** The longest label. Higher values of the length byte are pointers or reserved (RFC 1035 section 4.1.4). */
const maxLabelBytes = 63;
const firstPointer = 192;
const maxNameBytes = 255;
/** The maximum number of pointers in a name; servers need fewer. It bounds the work for one name. */
const maxJumps = 16;

/** Reads a message from its start. */
export class Reader {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  bytes(length: number): Uint8Array {
    if (this.at + length > this.#bytes.length) throw new DnsFault("The answer is cut short");
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  u16(): number {
    const [high, low] = this.bytes(2);
    return high! << 8 | low!;
  }

  skip(length: number): this {
    this.bytes(length);
    return this;
  }

  skipName(): this {
    this.name();
    return this;
  }

  /** Reads a name, and returns it in lower case. Pointers may only lead backwards. */
  name(): string {
    const labels: string[] = [];
    let at = this.at;
    let end: number | undefined;
    let nameBytes = 1;
    for (let jumps = 0;;) {
      const length = this.#bytes[at];
      if (length === undefined) throw new DnsFault("The answer is cut short");
      if (length >= firstPointer) {
        const target = (length & 63) << 8 | (this.#bytes[at + 1] ?? 0);
        if (target >= at || ++jumps > maxJumps) throw new DnsFault("A name leads in circles");
        end ??= at + 2;
        at = target;
        continue;
      }
      if (length === 0) {
        this.at = end ?? at + 1;
        return labels.join(".").toLowerCase();
      }
      if (length > maxLabelBytes) throw new DnsFault("A name has a label of an unknown type");
      nameBytes += 1 + length;
      if (nameBytes > maxNameBytes) throw new DnsFault("A name is too long");
      if (at + 1 + length > this.#bytes.length) throw new DnsFault("The answer is cut short");
      labels.push(new TextDecoder().decode(this.#bytes.subarray(at + 1, at + 1 + length)));
      at += 1 + length;
    }
  }
}
