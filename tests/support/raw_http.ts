/**
 * As much HTTP/1.1 as the tests' wire tools need, written for them alone and forgiving where it can
 * be: what the tests assert is the bytes.
 */
import { type ByteReader, concatBytes } from "./byte_reader.ts";

/** The head of a request or response, and the bytes it was read from. */
export interface RawHead {
  /** The request line or status line. */
  readonly startLine: string;
  /** Field lines in order, names as they were written. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** The head as it came, with the empty line that ends it. */
  readonly bytes: Uint8Array;
}

/** A whole message. */
export interface RawMessage extends RawHead {
  /** The content: framing removed, nothing decoded. */
  readonly body: Uint8Array;
}

/** Reads one head, up to and including its empty line. */
export async function readHead(reader: ByteReader): Promise<RawHead> {
  const bytes = await reader.readUntil("\r\n\r\n");
  const [startLine = "", ...lines] = new TextDecoder().decode(bytes).trimEnd().split("\r\n");
  const fields = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()] as const;
  });
  return { startLine, fields, bytes };
}

/** All values of the field `name`, compared without case, in order. */
export function fieldValues(head: RawHead, name: string): string[] {
  const wanted = name.toLowerCase();
  return head.fields.filter(([key]) => key.toLowerCase() === wanted).map(([, value]) => value);
}

/** The status code of a response's head. */
export function statusOf(head: RawHead): number {
  const match = /^HTTP\/1\.[01] (\d{3})( |$)/.exec(head.startLine);
  if (!match) throw new Error(`Not a status line: "${head.startLine}"`);
  return Number(match[1]);
}

/** Reads a request and the body its framing announces (none without one). */
export async function readRequest(reader: ByteReader): Promise<RawMessage> {
  const head = await readHead(reader);
  const body = await readFramedBody(reader, head) ?? new Uint8Array(0);
  return { ...head, body };
}

/**
 * Reads a response that answers `method`: interim responses are skipped, and a body without framing
 * lasts until the source ends.
 */
export async function readResponse(reader: ByteReader, method = "GET"): Promise<RawMessage> {
  let head = await readHead(reader);
  while (statusOf(head) < 200 && statusOf(head) !== 101) head = await readHead(reader);
  const hasNoBody = method === "HEAD" || [101, 204, 304].includes(statusOf(head));
  if (hasNoBody) return { ...head, body: new Uint8Array(0) };
  const body = await readFramedBody(reader, head) ?? await reader.readToEnd();
  return { ...head, body };
}

/** The body of a message with a length or in chunks; undefined when its head announces neither. */
async function readFramedBody(reader: ByteReader, head: RawHead): Promise<Uint8Array | undefined> {
  const codings = fieldValues(head, "transfer-encoding");
  if (codings.at(-1)?.toLowerCase().endsWith("chunked")) return await readChunked(reader);
  const length = fieldValues(head, "content-length")[0];
  return length === undefined ? undefined : await reader.readExactly(Number(length));
}

async function readChunked(reader: ByteReader): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  while (true) {
    const line = new TextDecoder().decode(await reader.readUntil("\r\n"));
    if (!/^[0-9a-fA-F]+\s*(;.*)?\r\n$/.test(line)) {
      throw new Error(`Not a chunk size: ${JSON.stringify(line)}`);
    }
    const size = parseInt(line, 16);
    if (size === 0) break;
    chunks.push(await reader.readExactly(size));
    await reader.readExactly(2);
  }
  // Trailer lines, if any, up to the empty one.
  while ((await reader.readUntil("\r\n")).length > 2);
  return concatBytes(chunks);
}
