/**
 * What can be wrong with a message, one line for each kind. They are for the caller that sent it, for
 * logs, and for the caller of a target that answered so: they hold nothing of the message itself.
 */

/** A message that is not HTTP/1.1 as this room takes it; `status` suits an answer to a caller. */
export class HeadError extends Error {
  override readonly name = "HeadError";
  /** 400, 431, 501 or 505. */
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A body broke its framing. The connection that it came on can't be used any more. */
export class BodyError extends Error {
  override readonly name = "BodyError";
}

export const headFaults = {
  requestLine: "Request line is malformed",
  statusLine: "Status line is malformed",
  notHttp: "It does not begin with HTTP/1.",
  tls: "It is TLS, not plain HTTP",
  control: "Head holds a control character",
  bareLine: "Status line ends with LF alone or holds a bare CR",
  bare: "Header line holds a bare CR or LF",
  folded: "Header line is folded, or begins with a space",
  noColon: "Header line has no colon",
  name: "Header name is not a token",
  both: "Both Transfer-Encoding and Content-Length are there",
  codingTwice: "Duplicate Transfer-Encoding",
  chunkedTwice: "Transfer-Encoding names chunked twice",
  coding: "Transfer-Encoding is not supported; must be chunked",
  oldCoding: "Transfer-Encoding in HTTP/1.0",
  lengthTwice: "Duplicate Content-Length",
  lengthsDiffer: "Duplicate Content-Length with different values",
  length: "Content-Length is not a number",
  unasked: "It changes protocols unasked",
  tooLong: (bytes: number) => `Head is over ${bytes} bytes`,
  tooManyFields: (fields: number) => `Head has over ${fields} fields`,
} as const;

export const bodyFaults = {
  size: "Chunk size is not a hexadecimal number",
  sizeTooLarge: "Chunk size is too large",
  chunkEnd: "Chunk does not end with CRLF",
  control: "Chunk extension or trailer holds a control character",
  tooLong: (bytes: number) => `Chunk extensions and trailers are over ${bytes} bytes`,
} as const;

/** What can be wrong with a target's 101 that is to be the answer to a WebSocket handshake. */
export const handshakeFaults = {
  noHandshake: "The request was no WebSocket handshake",
  protocol: "The target changed to another protocol than WebSocket",
  accept: "The target's Sec-WebSocket-Accept is not the answer to the key",
  extension: "The target chose a WebSocket extension that was not offered",
  subprotocol: "The target chose a WebSocket subprotocol that was not offered",
} as const;

const known = new Set(
  [headFaults, bodyFaults, handshakeFaults].flatMap(Object.values).map((fault) =>
    withoutNumbers(typeof fault === "string" ? fault : fault(0))
  ),
);

/** Whether a text is one of these lines, so that it can be shown though somebody else has said it. */
export function isKnownFault(text: string): boolean {
  return text.length < 100 && known.has(withoutNumbers(text));
}

function withoutNumbers(text: string): string {
  return text.replace(/ \d+ /g, " N ");
}
