/**
 * Requests that no strict HTTP/1.1 parser takes: every known way to make two programs disagree about
 * where a request ends, and plainly broken ones. The same table goes to the relay, from a caller, and
 * to the agent, from a hostile relay.
 */

/** One request that must be refused. */
export interface MalformedRequest {
  readonly name: string;
  /** What is sent, one character a byte; `{path}` and `{smuggled}` stand for paths of the target. */
  readonly text: string;
  /** What a caller is answered; nothing when the request never comes to an end. */
  readonly status: 400 | 431 | 501 | 505 | undefined;
  /**
   * Where the fault is. A request whose head is broken never reaches the target. One whose body
   * breaks may have begun to: its connection is then ended before the body is whole.
   */
  readonly fault: "head" | "body";
}

/** The path of the request that the broken one tries to hide in its body or behind itself. */
export const SMUGGLED = "/smuggled";

/** A request as it is sent to a program that is asked for the target's paths under `prefix`. */
export function malformedText({ text }: MalformedRequest, prefix: string): string {
  return text.replaceAll("{path}", `${prefix}/hostile`)
    .replaceAll("{smuggled}", `${prefix}${SMUGGLED}`);
}

const smuggled = "GET {smuggled} HTTP/1.1\r\nHost: h\r\n\r\n";
const chunkedFive = "5\r\nhello\r\n0\r\n\r\n";

function post(fields: readonly string[], behind: string): string {
  return ["POST {path} HTTP/1.1", "Host: h", ...fields, "", behind].join("\r\n");
}

function head(name: string, text: string, status: MalformedRequest["status"]): MalformedRequest {
  return { name, text, status, fault: "head" };
}

/** A length that is no length; what follows would be its five bytes, then a request. */
function length(name: string, value: string): MalformedRequest {
  const text = post([`Content-Length: ${value}`], "hello" + smuggled);
  return head(`Content-Length ${name}`, text, 400);
}

/** A transfer coding that is not exactly chunked. */
function coding(name: string, line: string, status: 400 | 501): MalformedRequest {
  return head(`Transfer-Encoding ${name}`, post([line], chunkedFive + smuggled), status);
}

/** A header line that must not be taken; it hides a length from a reader that takes it otherwise. */
function line(name: string, text: string): MalformedRequest {
  return head(`Header line: ${name}`, post([text], "hello" + smuggled), 400);
}

/** A request line that must not be taken. */
function startLine(name: string, text: string, status: 400 | 501 | 505 = 400): MalformedRequest {
  return head(`Request line: ${name}`, `${text}\r\nHost: h\r\n\r\n${smuggled}`, status);
}

/** A chunked body that breaks; it may hide a request behind what a sloppy reader takes for its end. */
function chunks(name: string, body: string): MalformedRequest {
  const text = post(["Transfer-Encoding: chunked"], body + smuggled);
  return { name: `Chunked body: ${name}`, text, status: 400, fault: "body" };
}

const lengths: MalformedRequest[] = [
  head(
    "Content-Length before Transfer-Encoding",
    post(["Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\n" + smuggled),
    400,
  ),
  head(
    "Transfer-Encoding before Content-Length",
    post(["Transfer-Encoding: chunked", "Content-Length: 6"], "0\r\n\r\n" + smuggled),
    400,
  ),
  head(
    "Content-Length of zero beside Transfer-Encoding",
    post(["Content-Length: 0", "Transfer-Encoding: chunked"], chunkedFive + smuggled),
    400,
  ),
  head(
    "Content-Length twice, equal",
    post(["Content-Length: 5", "Content-Length: 5"], "hello" + smuggled),
    400,
  ),
  head(
    "Content-Length twice, different",
    post(["Content-Length: 5", "content-length: 0"], "hello" + smuggled),
    400,
  ),
  length("as a list, equal", "5, 5"),
  length("as a list, different", "0, 5"),
  length("with a plus", "+5"),
  length("negative", "-5"),
  length("with a space inside", "5 5"),
  length("with a tab inside", "5\t5"),
  length("hexadecimal", "0x5"),
  length("with an exponent", "5e0"),
  length("with a fraction", "5.0"),
  length("with a separator", "5_0"),
  length("in quotes", '"5"'),
  length("with a parameter", "5;q=1"),
  length("behind a no-break space", "\xa05"),
  length("empty", ""),
  length("of 20 digits", "99999999999999999999"),
  length("that wraps to 5 in 64 bits", "18446744073709551621"),
  length("that wraps to 5 in 32 bits, padded to 64", "0000000000004294967301"),
];

const codings: MalformedRequest[] = [
  head(
    "Transfer-Encoding twice",
    post(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], chunkedFive + smuggled),
    400,
  ),
  head(
    "Transfer-Encoding twice, the second one other",
    post(["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], chunkedFive + smuggled),
    400,
  ),
  coding("with a space before the colon", "Transfer-Encoding : chunked", 400),
  coding("with a tab before the colon", "Transfer-Encoding\t: chunked", 400),
  coding("in front of the line", " Transfer-Encoding: chunked", 400),
  coding("xchunked", "Transfer-Encoding: xchunked", 501),
  coding("chunked, identity", "Transfer-Encoding: chunked, identity", 501),
  coding("identity, chunked", "Transfer-Encoding: identity, chunked", 501),
  coding("gzip, chunked", "Transfer-Encoding: gzip, chunked", 501),
  coding("chunked, chunked", "Transfer-Encoding: chunked, chunked", 501),
  coding("identity", "Transfer-Encoding: identity", 501),
  coding("with a parameter", "Transfer-Encoding: chunked;q=1", 501),
  coding("in quotes", 'Transfer-Encoding: "chunked"', 501),
  coding("with a comma behind", "Transfer-Encoding: chunked,", 501),
  coding("behind a no-break space", "Transfer-Encoding: \xa0chunked", 501),
  coding("empty", "Transfer-Encoding:", 501),
  coding("behind a vertical tab", "Transfer-Encoding: \x0bchunked", 400),
  coding("with a NUL behind", "Transfer-Encoding: chunked\x00", 400),
  coding("folded", "Transfer-Encoding:\r\n chunked", 400),
  coding("behind a bare LF", "X: y\nTransfer-Encoding: chunked", 400),
  coding("behind a bare CR", "X: y\rTransfer-Encoding: chunked", 400),
  head(
    "Transfer-Encoding in HTTP/1.0",
    "POST {path} HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + chunkedFive +
      smuggled,
    400,
  ),
];

const lines: MalformedRequest[] = [
  line("folded with a space", "X: y\r\n Content-Length: 5"),
  line("folded with a tab", "X: y\r\n\tContent-Length: 5"),
  line("bare LF at its end", "X: y\nContent-Length: 5"),
  line("bare CR at its end", "X: y\rContent-Length: 5"),
  line("CR CR LF at its end", "X: y\r\r\nContent-Length: 5"),
  line("LF CR at its end", "X: y\n\rContent-Length: 5"),
  line("space before the colon", "Content-Length : 5"),
  line("tab before the colon", "Content-Length\t: 5"),
  line("space inside the name", "Content Length: 5"),
  line("no colon", "Content-Length 5"),
  line("empty name", ": 5"),
  line("only a space", " "),
  line("name in parentheses", "(Content-Length): 5"),
  line("name with a control character", "Content-Length\x01: 5"),
  line("name with a NUL", "Content\x00-Length: 5"),
  line("name with a byte over 0x7f", "Content-L\xe9ngth: 5"),
  line("value with a NUL", "X: y\x00z"),
  line("value with a control character", "X: y\x08z"),
  line("value with an escape", "X: \x1b[2J"),
  line("value with DEL", "X: y\x7fz"),
  line("value with a form feed", "X: y\x0cContent-Length: 5"),
  head(
    "Header line: folded as the first one",
    `POST {path} HTTP/1.1\r\n Host: h\r\nContent-Length: 5\r\n\r\nhello${smuggled}`,
    400,
  ),
  head("Header line: Host missing", `GET {path} HTTP/1.1\r\n\r\n${smuggled}`, 400),
  head(
    "Header line: Host twice, equal",
    `GET {path} HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n${smuggled}`,
    400,
  ),
  head(
    "Header line: Host twice, different",
    `GET {path} HTTP/1.1\r\nHost: h\r\nhost: other\r\n\r\n${smuggled}`,
    400,
  ),
];

const startLines: MalformedRequest[] = [
  startLine("HTTP/0.9, which has no version", "GET {path}"),
  startLine("two spaces", "GET  {path} HTTP/1.1"),
  startLine("two spaces before the version", "GET {path}  HTTP/1.1"),
  startLine("tabs", "GET\t{path}\tHTTP/1.1"),
  startLine("space in front", " GET {path} HTTP/1.1"),
  startLine("space behind", "GET {path} HTTP/1.1 "),
  startLine("no target", "GET HTTP/1.1"),
  startLine("no method", "{path} HTTP/1.1"),
  startLine("space in the target", "GET {path}/a b HTTP/1.1"),
  startLine("NUL in the target", "GET {path}\x00 HTTP/1.1"),
  startLine("bare CR in the target", "GET {path}\r HTTP/1.1"),
  startLine("bare LF in the target", "GET {path}\n HTTP/1.1"),
  startLine("DEL in the target", "GET {path}\x7f HTTP/1.1"),
  startLine("method with a colon", "GET: {path} HTTP/1.1"),
  startLine("method with a byte over 0x7f", "G\xc9T {path} HTTP/1.1"),
  startLine("method with a NUL", "GET\x00 {path} HTTP/1.1"),
  startLine("version in lower case", "GET {path} http/1.1"),
  startLine("version without a minor one", "GET {path} HTTP/1"),
  startLine("version of two digits", "GET {path} HTTP/1.10"),
  startLine("version with a sign", "GET {path} HTTP/+1.1"),
  startLine("version with a comma", "GET {path} HTTP/1,1"),
  startLine("HTTP/0.9 by name", "GET {path} HTTP/0.9", 505),
  startLine("HTTP/2.0", "GET {path} HTTP/2.0", 505),
  startLine("HTTP/3.1", "GET {path} HTTP/3.1", 505),
  startLine("two versions", "GET {path} HTTP/1.1 HTTP/1.1"),
  startLine(
    "CONNECT, which would turn the connection into a tunnel",
    "CONNECT {path} HTTP/1.1",
    501,
  ),
  head(
    "Preface of HTTP/2",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    505,
  ),
  head("TLS handshake", "\x16\x03\x01\x00\x05\r\n\r\n", 400),
  head("An answer instead of a request", `HTTP/1.1 200 OK\r\nHost: h\r\n\r\n${smuggled}`, 400),
];

/** Bytes that any head may have; each of these has more. */
const HEAD_LIMIT_BYTES = 64 * 1024;
const HEAD_LIMIT_FIELDS = 256;

const limits: MalformedRequest[] = [
  head(
    "Head over the limit in one line",
    post([`X: ${"y".repeat(HEAD_LIMIT_BYTES)}`, "Content-Length: 5"], "hello" + smuggled),
    431,
  ),
  head(
    "Head over the limit in its target",
    `GET {path}?${"q".repeat(HEAD_LIMIT_BYTES)} HTTP/1.1\r\nHost: h\r\n\r\n${smuggled}`,
    431,
  ),
  head(
    "Head over the limit that does not end",
    `GET {path} HTTP/1.1\r\nHost: h\r\nX: ${"y".repeat(HEAD_LIMIT_BYTES)}`,
    431,
  ),
  head(
    "Head with too many fields",
    post(
      [...new Array(HEAD_LIMIT_FIELDS).fill("X: y"), "Content-Length: 5"],
      "hello" + smuggled,
    ),
    431,
  ),
];

/** Over what one body may have in extensions, and over what it may have in trailers. */
const LONG_METADATA_BYTES = 17 * 1024;

const bodies: MalformedRequest[] = [
  chunks("size missing", "\r\nhello\r\n0\r\n\r\n"),
  chunks("size negative", "-5\r\nhello\r\n0\r\n\r\n"),
  chunks("size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
  chunks("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
  chunks("size with a space in front", " 5\r\nhello\r\n0\r\n\r\n"),
  chunks("size with a space behind", "5 \r\nhello\r\n0\r\n\r\n"),
  chunks("size with a tab behind", "5\t\r\nhello\r\n0\r\n\r\n"),
  chunks("size with a space before its extension", "5 ;a\r\nhello\r\n0\r\n\r\n"),
  chunks("size that is no number", "five\r\nhello\r\n0\r\n\r\n"),
  chunks("size with a NUL", "5\x00\r\nhello\r\n0\r\n\r\n"),
  chunks("size of 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
  chunks("size that wraps to 5 in 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
  chunks("size over 2^53", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
  chunks("extension without a size", ";a=b\r\nhello\r\n0\r\n\r\n"),
  chunks("bare LF behind the size", "5\nhello\r\n0\r\n\r\n"),
  chunks("bare CR behind the size", "5\rhello\r\n0\r\n\r\n"),
  chunks("CR CR LF behind the size", "5\r\r\nhello\r\n0\r\n\r\n"),
  chunks("bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
  chunks("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
  chunks("NUL in an extension", "5;a\x00\r\nhello\r\n0\r\n\r\n"),
  chunks("extension too long", `5;${"a".repeat(LONG_METADATA_BYTES)}\r\nhello\r\n0\r\n\r\n`),
  chunks("data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
  chunks("data without CRLF behind it", "5\r\nhello0\r\n\r\n"),
  chunks("bare LF behind data", "5\r\nhello\n0\r\n\r\n"),
  chunks("bare CR behind data", "5\r\nhello\r0\r\n\r\n"),
  chunks("a good chunk, then a bad one", "5\r\nhello\r\nx\r\n0\r\n\r\n"),
  chunks("bare LF behind the last chunk", "5\r\nhello\r\n0\n\n"),
  chunks("bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
  chunks("bare CR at the end", "5\r\nhello\r\n0\r\n\rx"),
  chunks("control character in a trailer", "5\r\nhello\r\n0\r\nX: \x01\r\n\r\n"),
  chunks("bare LF in a trailer", "5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n"),
  chunks("bare CR in a trailer", "5\r\nhello\r\n0\r\nX: y\rZ: z\r\n\r\n"),
  chunks("trailers too long", `0\r\nX: ${"y".repeat(LONG_METADATA_BYTES)}\r\n\r\n`),
];

/** Heads whose end never comes for a reader that takes CRLF alone for the end of a line. */
const unfinished: MalformedRequest[] = [
  head(
    "Lines that end with bare LF",
    `GET {path} HTTP/1.1\nHost: h\n\nGET {smuggled} HTTP/1.1\nHost: h\n\n`,
    400,
  ),
  head("Empty line that is a bare LF", "GET {path} HTTP/1.1\r\nHost: h\r\n\n", 400),
  head("Lines that end with bare CR", "GET {path} HTTP/1.1\rHost: h\r\r", 400),
  head("HTTP/0.9 without an empty line", "GET {path}\r\n", 400),
  head("A head that breaks off", "GET {path} HTTP/1.1\r\nHost: h\r\nX: ", undefined),
];

/** The whole table. */
export const malformedRequests: readonly MalformedRequest[] = [
  ...lengths,
  ...codings,
  ...lines,
  ...startLines,
  ...limits,
  ...bodies,
  ...unfinished,
];
