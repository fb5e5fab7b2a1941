/**
 * DNS messages for dynamic updates (RFC 2136), signed by TSIG (RFC 8945): encoding of requests, and as
 * much reading of answers as their verification needs.
 */
import type { DnsRecord } from "./records.ts";

/** A shared key. */
export interface TsigKey {
  readonly name: string;
  readonly algorithm: TsigAlgorithm;
  readonly secret: Uint8Array<ArrayBuffer>;
}

export const tsigAlgorithms = ["hmac-sha256", "hmac-sha384", "hmac-sha512"] as const;
export type TsigAlgorithm = typeof tsigAlgorithms[number];

/** What must be so for an update to be made (RFC 2136 section 2.4). */
export type Prerequisite =
  | { readonly kind: "nameFree"; readonly name: string }
  | { readonly kind: "recordsAre"; readonly name: string; readonly records: readonly Rdata[] };

/** What an update changes (section 2.5). */
export type Change =
  | { readonly kind: "add"; readonly name: string; readonly ttl: number; readonly record: Rdata }
  | { readonly kind: "deleteType"; readonly name: string; readonly type: number };

/** A record's type and data. */
export interface Rdata {
  readonly type: number;
  readonly data: Uint8Array;
}

/** An update of one zone. */
export interface Update {
  readonly zone: string;
  readonly prerequisites: readonly Prerequisite[];
  readonly changes: readonly Change[];
}

/** Numbers of types and classes (RFC 1035, 2136, 8945). */
export const types = { A: 1, CNAME: 5, SOA: 6, TXT: 16, AAAA: 28, TSIG: 250, ANY: 255 } as const;
const classes = { IN: 1, NONE: 254, ANY: 255 } as const;
const updateOpcode = 5;

/** What a server may answer. */
export const rcodes: Readonly<Record<number, string>> = {
  0: "NOERROR",
  1: "FORMERR",
  2: "SERVFAIL",
  3: "NXDOMAIN",
  4: "NOTIMP",
  5: "REFUSED",
  6: "YXDOMAIN",
  7: "YXRRSET",
  8: "NXRRSET",
  9: "NOTAUTH",
  10: "NOTZONE",
};

/** Bytes that grow. */
class Writer {
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

  /** A name without compression, which nobody has to understand in updates. */
  name(name: string): this {
    return this.raw(encodeName(name));
  }
}

/** A name in the form of messages. @throws {RangeError} for a label or a name that is too long */
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

/** The data of the record that points at a target. */
export function dataOf({ type, target }: Pick<DnsRecord, "type" | "target">): Rdata {
  if (type === "CNAME") return { type: types.CNAME, data: encodeName(target) };
  const data = type === "A" ? target.split(".").map(Number) : ipv6Bytes(target);
  return { type: types[type], data: Uint8Array.from(data) };
}

/** A text in strings of at most 255 bytes. */
export function txtData(text: string): Rdata {
  const bytes = new TextEncoder().encode(text);
  const data: number[] = [];
  for (let at = 0; at < bytes.length; at += 255) {
    const part = bytes.subarray(at, at + 255);
    data.push(part.length, ...part);
  }
  return { type: types.TXT, data: Uint8Array.from(data) };
}

function ipv6Bytes(address: string): number[] {
  const [head = "", tail] = address.split("::");
  const groups = (text: string) => text === "" ? [] : text.split(":").map((it) => parseInt(it, 16));
  const [before, after] = [groups(head), groups(tail ?? "")];
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  const all = [...before, ...Array<number>(zeros).fill(0), ...after];
  return all.flatMap((group) => [group >> 8 & 255, group & 255]);
}

/** An update as a message, not signed yet. */
export function encodeUpdate(id: number, { zone, prerequisites, changes }: Update): Uint8Array {
  const writer = new Writer();
  const body = new Writer();
  let conditions = 0;
  for (const prerequisite of prerequisites) {
    if (prerequisite.kind === "nameFree") {
      body.name(prerequisite.name).u16(types.ANY).u16(classes.NONE).u32(0).u16(0);
      conditions++;
      continue;
    }
    for (const { type, data } of prerequisite.records) {
      body.name(prerequisite.name).u16(type).u16(classes.IN).u32(0).u16(data.length).raw(data);
      conditions++;
    }
  }
  for (const change of changes) {
    if (change.kind === "deleteType") {
      body.name(change.name).u16(change.type).u16(classes.ANY).u32(0).u16(0);
    } else {
      const { type, data } = change.record;
      body.name(change.name).u16(type).u16(classes.IN).u32(change.ttl).u16(data.length).raw(data);
    }
  }
  writer.u16(id).u16(updateOpcode << 11).u16(1).u16(conditions).u16(changes.length).u16(0);
  return writer.name(zone).u16(types.SOA).u16(classes.IN).raw(body.bytes).bytes;
}

const fudgeSeconds = 300;

/** A message with its signature behind it, and that signature's MAC, which the answer's covers. */
export async function sign(
  message: Uint8Array,
  key: TsigKey,
  nowMs: number,
): Promise<{ message: Uint8Array; mac: Uint8Array }> {
  const variables = tsigVariables(key, timeBytes(nowMs), fudgeSeconds, 0);
  const mac = await hmac(key, new Writer().raw(message).raw(variables).bytes);
  const id = message[0]! << 8 | message[1]!;
  const algorithm = encodeName(key.algorithm);
  const data = new Writer().raw(algorithm).raw(timeBytes(nowMs)).u16(fudgeSeconds)
    .u16(mac.length).raw(mac).u16(id).u16(0).u16(0).bytes;
  const signed = new Writer().raw(message).name(key.name.toLowerCase()).u16(types.TSIG)
    .u16(classes.ANY).u32(0).u16(data.length).raw(data).bytes;
  const additional = (signed[10]! << 8 | signed[11]!) + 1;
  signed[10] = additional >> 8;
  signed[11] = additional & 255;
  return { message: signed, mac };
}

function tsigVariables(
  key: TsigKey,
  time: readonly number[],
  fudge: number,
  error: number,
  other: Uint8Array = new Uint8Array(),
): Uint8Array {
  return new Writer().name(key.name.toLowerCase()).u16(classes.ANY).u32(0).name(key.algorithm)
    .raw(time).u16(fudge).u16(error).u16(other.length).raw(other).bytes;
}

function timeBytes(nowMs: number): number[] {
  const seconds = Math.floor(nowMs / 1_000);
  const high = Math.floor(seconds / 2 ** 32);
  const low = seconds >>> 0;
  return [high >> 8 & 255, high & 255, low >>> 24, low >>> 16 & 255, low >>> 8 & 255, low & 255];
}

async function hmac(
  { algorithm, secret }: TsigKey,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array> {
  const hash = `SHA-${algorithm.slice("hmac-sha".length)}`;
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes));
}

/** An answer that is not one. */
export class DnsFault extends Error {
  override readonly name = "DnsFault";
}

/**
 * Reads an answer, and verifies that the server with the key has sent it.
 *
 * @param requestMac MAC of the request that it answers
 * @returns the code of the answer
 * @throws {DnsFault} for another message, or one that nobody with the key has signed
 */
export async function readAnswer(
  answer: Uint8Array,
  id: number,
  key: TsigKey,
  requestMac: Uint8Array,
): Promise<number> {
  const reader = new Reader(answer);
  const answeredId = reader.u16();
  const flags = reader.u16();
  if (answeredId !== id || flags >> 15 !== 1) {
    throw new DnsFault("It is not an answer to the request");
  }
  const code = flags & 15;
  const [questions, ...sections] = [reader.u16(), reader.u16(), reader.u16(), reader.u16()];
  for (let count = 0; count < questions!; count++) reader.skipName().skip(4);
  const records = sections.reduce((sum, count) => sum + count, 0);
  for (let count = 1; count <= records; count++) {
    const start = reader.at;
    const name = reader.name();
    const type = reader.u16();
    reader.skip(6);
    const length = reader.u16();
    if (type !== types.TSIG) {
      reader.skip(length);
      continue;
    }
    if (count !== records || name !== key.name.toLowerCase().replace(/\.$/, "")) break;
    await verify(answer.subarray(0, start), reader, key, requestMac);
    return code;
  }
  // A server that does not know the key can't sign: its refusal is believed, success is not.
  if (code !== 0) return code;
  throw new DnsFault("The answer is not signed");
}

async function verify(
  before: Uint8Array,
  reader: Reader,
  key: TsigKey,
  requestMac: Uint8Array,
): Promise<void> {
  reader.name();
  const time = [...reader.bytes(6)];
  const fudge = reader.u16();
  const mac = reader.bytes(reader.u16());
  const originalId = reader.u16();
  const error = reader.u16();
  const other = reader.bytes(reader.u16());
  // BADSIG and BADKEY: the server could not verify the request, and signs nothing.
  if (error === 16 || error === 17) return;
  const message = Uint8Array.from(before);
  const additional = (message[10]! << 8 | message[11]!) - 1;
  message.set([originalId >> 8, originalId & 255]);
  message.set([additional >> 8, additional & 255], 10);
  const signed = new Writer().u16(requestMac.length).raw(requestMac).raw(message)
    .raw(tsigVariables(key, time, fudge, error, other)).bytes;
  const expected = await hmac(key, signed);
  if (!isEqual(expected, mac)) throw new DnsFault("The answer's signature is wrong");
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (const [index, byte] of one.entries()) difference |= byte ^ other[index]!;
  return difference === 0;
}

class Reader {
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

  /** A name in lower case; pointers lead backwards only. */
  name(): string {
    const labels: string[] = [];
    let at = this.at;
    let end: number | undefined;
    for (let jumps = 0;;) {
      const length = this.#bytes[at];
      if (length === undefined) throw new DnsFault("The answer is cut short");
      if (length >= 192) {
        const target = (length & 63) << 8 | (this.#bytes[at + 1] ?? 0);
        if (target >= at || ++jumps > 16) throw new DnsFault("A name leads in circles");
        end ??= at + 2;
        at = target;
        continue;
      }
      if (length === 0) {
        this.at = end ?? at + 1;
        return labels.join(".").toLowerCase();
      }
      if (at + 1 + length > this.#bytes.length) throw new DnsFault("The answer is cut short");
      labels.push(new TextDecoder().decode(this.#bytes.subarray(at + 1, at + 1 + length)));
      at += 1 + length;
    }
  }
}
