/**
 * HTTP/1.1 as the tests of this room read it: strict, one character per byte, and written from the
 * RFCs alone, so that it can only agree with the product where both are right. Whatever a program
 * sends that these functions refuse is a failure of that program.
 */
import { ByteReader, concatBytes, UnexpectedEndError } from "../support/byte_reader.ts";

/** A message that breaks RFC 9112, or that two readers could take in two ways. */
export class MalformedError extends Error {
  override name = "MalformedError";
}

/** One field line: its name as it was spelt, its value without the space around it. */
export type WireField = readonly [name: string, value: string];

/** How the end of a body was known. */
export type WireFraming = "none" | "length" | "chunked" | "close";

/** A message's head. */
export interface WireHead {
  readonly startLine: string;
  readonly fields: readonly WireField[];
}

/** A whole message; its text is one character per byte. */
export interface WireMessage extends WireHead {
  readonly framing: WireFraming;
  /** The content: framing removed, nothing decoded. */
  readonly body: Uint8Array;
}

/** The messages that a connection carried in one direction. */
export interface WireMessages {
  readonly messages: readonly WireMessage[];
  /** Whether the last message broke off; what there was of it is not among `messages`. */
  readonly isCut: boolean;
}

const HEAD_LIMIT_BYTES = 1024 * 1024;

/** Text as bytes, one for each character, which must be below U+0100. */
export function latin1(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code > 0xff) throw new RangeError(`No single byte: "${text[index]}" at ${index}`);
    bytes[index] = code;
  }
  return bytes;
}

/** Bytes as text, one character for each. */
export function latin1Text(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}

/** All values of a field, compared without case, in order. */
export function valuesOf({ fields }: WireHead, name: string): string[] {
  const wanted = name.toLowerCase();
  return fields.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value);
}

/** A message's content as text. */
export function bodyText({ body }: WireMessage): string {
  return latin1Text(body);
}

/** A response's status. @throws {MalformedError} unless the status line is one. */
export function statusOf({ startLine }: WireHead): number {
  const match = /^HTTP\/1\.1 ([1-5]\d\d) [\t\x20-\x7e\x80-\xff]*$/.exec(startLine);
  if (!match) throw new MalformedError(`Status line: ${JSON.stringify(startLine)}`);
  return Number(match[1]);
}

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const REQUEST_LINE = new RegExp(`^(${TOKEN}) ([\\x21-\\x7e\\x80-\\xff]+) HTTP/1\\.1$`);
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`);

/** A request's method. @throws {MalformedError} unless the request line is one. */
export function methodOf(head: WireHead): string {
  return requestLine(head)[1]!;
}

/** A request's target, as it was sent. @throws {MalformedError} unless the request line is one. */
export function targetOf(head: WireHead): string {
  return requestLine(head)[2]!;
}

function requestLine({ startLine }: WireHead): RegExpExecArray {
  const match = REQUEST_LINE.exec(startLine);
  if (!match) throw new MalformedError(`Request line: ${JSON.stringify(startLine)}`);
  return match;
}

/** Reads one head. @throws {MalformedError} */
export async function readWireHead(reader: ByteReader): Promise<WireHead> {
  const text = latin1Text(await reader.readUntil("\r\n\r\n", HEAD_LIMIT_BYTES));
  const [startLine = "", ...lines] = text.slice(0, -4).split("\r\n");
  return { startLine, fields: lines.map(parseField) };
}

function parseField(line: string): WireField {
  const match = FIELD_LINE.exec(line);
  if (!match) throw new MalformedError(`Field line: ${JSON.stringify(line)}`);
  return [match[1]!, match[2]!];
}

/** Reads one request. @throws {MalformedError} */
export async function readWireRequest(reader: ByteReader): Promise<WireMessage> {
  const head = await readWireHead(reader);
  requestLine(head);
  return await readWireRequestBody(reader, head);
}

/** Reads the body that belongs to a request's head. @throws {MalformedError} */
export async function readWireRequestBody(
  reader: ByteReader,
  head: WireHead,
): Promise<WireMessage> {
  if (valuesOf(head, "host").length !== 1) throw new MalformedError("Host must come once");
  return await readFramed(reader, head, "none");
}

/** Reads the final response to a request with `method`, and hands over interim ones before it. */
export async function readWireResponse(
  reader: ByteReader,
  method = "GET",
  interim: (head: WireHead) => void = () => {},
): Promise<WireMessage> {
  let head = await readWireHead(reader);
  while (statusOf(head) < 200 && statusOf(head) !== 101) {
    interim(head);
    head = await readWireHead(reader);
  }
  return await readWireResponseBody(reader, head, method);
}

/** Reads the body that belongs to a response's head. @throws {MalformedError} */
export async function readWireResponseBody(
  reader: ByteReader,
  head: WireHead,
  method: string,
): Promise<WireMessage> {
  const hasBody = method !== "HEAD" && ![101, 204, 304].includes(statusOf(head));
  if (!hasBody) return { ...head, framing: "none", body: new Uint8Array(0) };
  return await readFramed(reader, head, "close");
}

async function readFramed(
  reader: ByteReader,
  head: WireHead,
  undeclared: "none" | "close",
): Promise<WireMessage> {
  const codings = valuesOf(head, "transfer-encoding");
  const lengths = valuesOf(head, "content-length");
  if (codings.length + lengths.length > 1) throw new MalformedError("More than one framing");
  if (codings.length > 0) {
    if (codings[0] !== "chunked") throw new MalformedError(`Coding "${codings[0]}"`);
    return { ...head, framing: "chunked", body: await readChunks(reader) };
  }
  if (lengths.length > 0) {
    if (!/^\d{1,15}$/.test(lengths[0]!)) throw new MalformedError(`Length "${lengths[0]}"`);
    const body = await reader.readExactly(Number(lengths[0]));
    return { ...head, framing: "length", body };
  }
  const body = undeclared === "close" ? await reader.readToEnd() : new Uint8Array(0);
  return { ...head, framing: undeclared, body };
}

async function readChunks(reader: ByteReader): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const line = latin1Text(await reader.readUntil("\r\n", HEAD_LIMIT_BYTES));
    const match = /^([0-9a-fA-F]{1,13})(;[\t\x20-\x7e\x80-\xff]*)?\r\n$/.exec(line);
    if (!match) throw new MalformedError(`Chunk size: ${JSON.stringify(line)}`);
    const size = parseInt(match[1]!, 16);
    if (size === 0) break;
    chunks.push(await reader.readExactly(size));
    const end = latin1Text(await reader.readExactly(2));
    if (end !== "\r\n") throw new MalformedError(`Chunk's end: ${JSON.stringify(end)}`);
  }
  for (;;) {
    const line = latin1Text(await reader.readUntil("\r\n", HEAD_LIMIT_BYTES)).slice(0, -2);
    if (line === "") return concatBytes(chunks);
    parseField(line);
  }
}

/** Splits all that was received from a client. @throws {MalformedError} where it is no request. */
export async function requestsIn(bytes: Uint8Array): Promise<WireMessages> {
  return await messagesIn(bytes, readWireRequest);
}

/**
 * Splits all that was received from a server, interim responses among them, which answered
 * requests with `methods` in order.
 *
 * @throws {MalformedError} where it is no response.
 */
export async function responsesIn(
  bytes: Uint8Array,
  methods: readonly string[] = [],
): Promise<WireMessages> {
  let answered = 0;
  return await messagesIn(bytes, async (reader) => {
    const head = await readWireHead(reader);
    if (statusOf(head) < 200) return { ...head, framing: "none", body: new Uint8Array(0) };
    return await readWireResponseBody(reader, head, methods[answered++] ?? "GET");
  });
}

async function messagesIn(
  bytes: Uint8Array,
  read: (reader: ByteReader) => Promise<WireMessage>,
): Promise<WireMessages> {
  let leftBytes = bytes.length;
  const chunks = [bytes];
  // A reader of this one chunk; what it has handed back to itself is not seen from outside.
  const reader = new ByteReader(() => Promise.resolve(chunks.shift()));
  const messages: WireMessage[] = [];
  while (leftBytes > 0) {
    try {
      messages.push(await read(reader));
    } catch (error) {
      if (!(error instanceof UnexpectedEndError)) throw error;
      return { messages, isCut: true };
    }
    const rest = await reader.readToEnd();
    leftBytes = rest.length;
    if (leftBytes > 0) chunks.push(rest);
  }
  return { messages, isCut: false };
}
