/** Signs DNS messages with a shared key: TSIG (RFC 8945). */
import { classes, types } from "./message.ts";
import { DnsFault, encodeName, Reader, Writer } from "./message_bytes.ts";

/** A shared key. */
export interface TsigKey {
  readonly name: string;
  readonly algorithm: TsigAlgorithm;
  readonly secret: Uint8Array<ArrayBuffer>;
}

export const tsigAlgorithms = ["hmac-sha256", "hmac-sha384", "hmac-sha512"] as const;
export type TsigAlgorithm = typeof tsigAlgorithms[number];

/** The names of response codes (RFC 1035 section 4.1.1, RFC 2136 section 2.2). */
const rcodes: Readonly<Record<number, string>> = {
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

const fudgeSeconds = 300;

/** Appends a signature to a message. The answer's signature also covers the returned MAC. */
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

/** Why a server rejects a signature (RFC 8945 section 3), by the error's number. */
const tsigErrors: Readonly<Record<number, string>> = {
  16: "BADSIG: the key's secret is another one there",
  17: "BADKEY: it does not know the key, or its algorithm",
  18: "BADTIME: its clock differs from this one by more than five minutes",
};
const [badSignature, badKey] = [16, 17];

/** What a server has answered. */
export interface DnsAnswer {
  /** The name of the response code, or `code N` for an unknown one. */
  readonly code: string;
  /** Why the server rejects the request's signature; undefined if it does not. */
  readonly detail?: string | undefined;
}

/**
 * Reads an answer, and verifies that it was signed with the key.
 *
 * @param requestMac The MAC of the request.
 * @throws {DnsFault} if the answer is not valid, is for another request, or is not signed with the key.
 */
export async function readAnswer(
  answer: Uint8Array,
  id: number,
  key: TsigKey,
  requestMac: Uint8Array,
): Promise<DnsAnswer> {
  const reader = new Reader(answer);
  const answeredId = reader.u16();
  const flags = reader.u16();
  if (answeredId !== id || flags >> 15 !== 1) {
    throw new DnsFault("It is not an answer to the request");
  }
  const number = flags & 15;
  const code = rcodes[number] ?? `code ${number}`;
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
    const error = await verify(answer.subarray(0, start), reader, key, requestMac);
    // A server that reports an error does not sign, so its success can't be trusted.
    if (number === 0 && error !== 0) break;
    return { code, detail: tsigErrors[error] };
  }
  // A server that does not know the key can't sign. Its refusal is trusted; a success is not.
  if (number !== 0) return { code };
  throw new DnsFault("The answer is not signed");
}

/** @returns the error in the TSIG record; 0 for none */
async function verify(
  before: Uint8Array,
  reader: Reader,
  key: TsigKey,
  requestMac: Uint8Array,
): Promise<number> {
  reader.name();
  const time = [...reader.bytes(6)];
  const fudge = reader.u16();
  const mac = reader.bytes(reader.u16());
  const originalId = reader.u16();
  const error = reader.u16();
  const other = reader.bytes(reader.u16());
  // The server could not verify the request, so it has not signed its answer.
  if (error === badSignature || error === badKey) return error;
  const message = Uint8Array.from(before);
  const additional = (message[10]! << 8 | message[11]!) - 1;
  message.set([originalId >> 8, originalId & 255]);
  message.set([additional >> 8, additional & 255], 10);
  const signed = new Writer().u16(requestMac.length).raw(requestMac).raw(message)
    .raw(tsigVariables(key, time, fudge, error, other)).bytes;
  const expected = await hmac(key, signed);
  if (!isEqual(expected, mac)) throw new DnsFault("The answer's signature is wrong");
  return error;
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (const [index, byte] of one.entries()) difference |= byte ^ other[index]!;
  return difference === 0;
}
