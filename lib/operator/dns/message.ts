/** Encodes dynamic updates (RFC 2136), without their signature. */
import { encodeName, Writer } from "./message_bytes.ts";
import type { DnsRecord } from "./records.ts";

/** A condition without which the server does not make an update (RFC 2136 section 2.4). */
export type Prerequisite =
  | { readonly kind: "nameFree"; readonly name: string }
  | { readonly kind: "typeFree"; readonly name: string; readonly type: number }
  | { readonly kind: "recordsAre"; readonly name: string; readonly records: readonly Rdata[] };

/** One change in an update (RFC 2136 section 2.5). */
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
export const types = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  TXT: 16,
  AAAA: 28,
  TSIG: 250,
  ANY: 255,
} as const;
export const classes = { IN: 1, NONE: 254, ANY: 255 } as const;
const updateOpcode = 5;

/** The type and data of the record that points at a target. */
export function dataOf({ type, target }: Pick<DnsRecord, "type" | "target">): Rdata {
  if (type === "CNAME") return { type: types.CNAME, data: encodeName(target) };
  const data = type === "A" ? target.split(".").map(Number) : ipv6Bytes(target);
  return { type: types[type], data: Uint8Array.from(data) };
}

/** The data of a TXT record: a text in strings of at most 255 bytes. */
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

/** Encodes an update as a message without a signature. */
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
    if (prerequisite.kind === "typeFree") {
      body.name(prerequisite.name).u16(prerequisite.type).u16(classes.NONE).u32(0).u16(0);
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
