/** ClientHellos as clients send them, or as nobody should (RFC 8446 section 4.1.2). */
import { concat, encodeLatin1 } from "../../lib/bytes/bytes.ts";

/** What a ClientHello says; extensions come in this order. */
export interface HelloParts {
  readonly serverName?: string | undefined;
  readonly alpn?: readonly string[];
  /** Number and content of further ones. */
  readonly extensions?: readonly (readonly [number, Uint8Array])[];
}

/** The handshake message, without records. */
export function helloMessage({ serverName, alpn, extensions = [] }: HelloParts): Uint8Array {
  const all = [
    ...serverName === undefined ? [] : [extension(0, vector(2, named(serverName)))],
    ...alpn
      ? [extension(16, vector(2, joined(alpn.map((name) => vector(1, encodeLatin1(name))))))]
      : [],
    ...extensions.map(([type, content]) => extension(type, content)),
  ];
  const body = joined([
    ...[new Uint8Array([3, 3]), new Uint8Array(32), vector(1, new Uint8Array(32))],
    ...[vector(2, new Uint8Array([0x13, 1])), vector(1, new Uint8Array(1)), vector(2, joined(all))],
  ]);
  return concat(new Uint8Array([1]), vector(3, body));
}

/** A message in records of so many bytes. */
export function records(message: Uint8Array, size: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < message.length; at += size) {
    parts.push(new Uint8Array([22, 3, 1]), vector(2, message.subarray(at, at + size)));
  }
  return joined(parts);
}

export function vector(lengthBytes: number, content: Uint8Array): Uint8Array {
  const length = Array.from(
    { length: lengthBytes },
    (_, index) => Math.floor(content.length / 256 ** (lengthBytes - 1 - index)) % 256,
  );
  return concat(new Uint8Array(length), content);
}

function extension(type: number, content: Uint8Array): Uint8Array {
  return concat(new Uint8Array([type >> 8, type & 255]), vector(2, content));
}

function named(name: string): Uint8Array {
  return concat(new Uint8Array([0]), vector(2, encodeLatin1(name)));
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.reduce(concat, new Uint8Array(0) as Uint8Array);
}
