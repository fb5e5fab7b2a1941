/** What a TLS client says first (RFC 8446 section 4.1.2), as far as a connection is routed by it. */
import { decodeLatin1 } from "../bytes/bytes.ts";

/** A ClientHello, whole. */
export interface ClientHello {
  /** The name that the client asks for (RFC 6066 section 3), in lower case. */
  readonly serverName: string | undefined;
  /** Protocols that it offers to speak (RFC 7301). */
  readonly alpn: readonly string[];
}

/** What bytes from the beginning of a connection are. */
export type ClientHelloResult =
  /** Before there are `needed` bytes, nothing else can be said of them. */
  | { readonly kind: "incomplete"; readonly needed: number }
  | { readonly kind: "hello"; readonly hello: ClientHello }
  /** Whoever speaks TLS refuses it too, and knows the alert. */
  | { readonly kind: "invalid"; readonly reason: "not_tls" | "malformed" | "too_long" };

/** A ClientHello with its records' headers; those of today have 2 KiB at most. */
export const maxClientHelloBytes = 64 * 1024;

const handshakeRecord = 22;
const recordHeaderBytes = 5;
/** RFC 8446 section 5.1. */
const maxRecordBytes = 16 * 1024;
const clientHello = 1;
const messageHeaderBytes = 4;
const serverNameExtension = 0;
const alpnExtension = 16;
const hostName = 0;

const notTls = { kind: "invalid", reason: "not_tls" } as const;
const malformed = { kind: "invalid", reason: "malformed" } as const;
const tooLong = { kind: "invalid", reason: "too_long" } as const;

/**
 * Reads a ClientHello from what has come on a connection, in however many records and segments.
 *
 * With ECH (RFC 9849) the name is that of the outer hello: the inner one is for whoever has the key.
 */
export function readClientHello(bytes: Uint8Array): ClientHelloResult {
  const message = new Uint8Array(Math.min(bytes.length, maxClientHelloBytes));
  let length = 0;
  let at = 0;
  while (true) {
    if (at > maxClientHelloBytes) return tooLong;
    const left = bytes.length - at;
    if (left > 0 && bytes[at] !== handshakeRecord) return at === 0 ? notTls : malformed;
    // Major version 3; the minor one is whatever it likes (RFC 8446 section 5.1).
    if (left > 1 && bytes[at + 1] !== 3) return at === 0 ? notTls : malformed;
    if (left < recordHeaderBytes) return { kind: "incomplete", needed: at + recordHeaderBytes };
    const recordBytes = (bytes[at + 3]! << 8) | bytes[at + 4]!;
    if (recordBytes === 0 || recordBytes > maxRecordBytes) return malformed;
    const start = at + recordHeaderBytes;
    const end = Math.min(start + recordBytes, bytes.length);
    if (length + end - start > message.length) return tooLong;
    message.set(bytes.subarray(start, end), length);
    length += end - start;
    const total = messageBytes(message.subarray(0, length));
    if (total === "malformed") return malformed;
    if (total !== undefined && total > maxClientHelloBytes) return tooLong;
    if (total !== undefined && length >= total) return helloOf(message.subarray(0, total));
    at = start + recordBytes;
    if (end < at) return { kind: "incomplete", needed: at };
  }
}

/** How long the message is with its header, once that has come. */
function messageBytes(message: Uint8Array): number | "malformed" | undefined {
  if (message.length > 0 && message[0] !== clientHello) return "malformed";
  if (message.length < messageHeaderBytes) return undefined;
  return messageHeaderBytes + ((message[1]! << 16) | (message[2]! << 8) | message[3]!);
}

/** The message is no ClientHello that two readers would read alike. */
class Malformed extends Error {}

/** Takes vectors off bytes, one after the other. */
class Vectors {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isEmpty(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Uint8Array {
    if (this.#at + length > this.#bytes.length) throw new Malformed();
    return this.#bytes.subarray(this.#at, this.#at += length);
  }

  number(bytes: number): number {
    return this.take(bytes).reduce((sum, byte) => sum * 256 + byte, 0);
  }

  /** A vector whose length comes in front, in so many bytes. */
  vector(lengthBytes: number): Uint8Array {
    return this.take(this.number(lengthBytes));
  }
}

function helloOf(message: Uint8Array): ClientHelloResult {
  try {
    return { kind: "hello", hello: parse(new Vectors(message.subarray(messageHeaderBytes))) };
  } catch (error) {
    if (error instanceof Malformed) return malformed;
    throw error;
  }
}

function parse(hello: Vectors): ClientHello {
  hello.take(2 + 32); // Version, random.
  hello.vector(1); // Session's id.
  hello.vector(2); // Cipher suites.
  hello.vector(1); // Compression methods.
  const extensions = hello.isEmpty ? new Vectors(new Uint8Array(0)) : new Vectors(hello.vector(2));
  if (!hello.isEmpty) throw new Malformed();
  let serverName: string | undefined;
  let alpn: readonly string[] = [];
  const seen = new Set<number>();
  while (!extensions.isEmpty) {
    const type = extensions.number(2);
    const content = extensions.vector(2);
    // With a second name, two readers could take one each (RFC 8446 section 4.2 forbids it).
    if (seen.has(type)) throw new Malformed();
    seen.add(type);
    if (type === serverNameExtension) serverName = serverNameIn(content);
    if (type === alpnExtension) alpn = protocolsIn(content);
  }
  return { serverName, alpn };
}

function serverNameIn(content: Uint8Array): string | undefined {
  const outer = new Vectors(content);
  const names = new Vectors(outer.vector(2));
  let name: string | undefined;
  while (!names.isEmpty) {
    const type = names.number(1);
    const value = names.vector(2);
    if (type !== hostName) continue;
    if (name !== undefined) throw new Malformed();
    name = nameOf(value);
  }
  if (!outer.isEmpty) throw new Malformed();
  return name;
}

/** RFC 6066 section 3 leaves the final dot out; who sends one means the same host. */
function nameOf(value: Uint8Array): string {
  const name = decodeLatin1(value).toLowerCase().replace(/\.$/, "");
  if (name.length > 255 || !/^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name)) throw new Malformed();
  return name;
}

function protocolsIn(content: Uint8Array): string[] {
  const outer = new Vectors(content);
  const list = new Vectors(outer.vector(2));
  const protocols: string[] = [];
  while (!list.isEmpty) {
    const name = list.vector(1);
    if (name.length === 0) throw new Malformed();
    protocols.push(decodeLatin1(name));
  }
  if (!outer.isEmpty) throw new Malformed();
  return protocols;
}
