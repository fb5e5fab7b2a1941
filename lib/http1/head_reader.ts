/**
 * The one reader of heads: of callers' and of a relay's requests, of targets', other relays' and
 * proxies' answers (RFC 9112 sections 2 to 5).
 *
 * It looks at each byte once, whatever pieces they come in, and refuses a head at its first byte that
 * can't be right: who waits for the end of a head whose lines end with LF alone would wait for ever.
 *
 * Strict means that nothing is accepted that two programs could read in two ways: a line ends with
 * CRLF, a name is a token with no space behind it, there are no folded lines and no control
 * characters. RFC 9112 section 2.2 would let a recipient take LF alone for the end of a line; of two
 * programs one does and the other does not, so it is refused. Bytes over 0x7f stand for themselves (as
 * in ISO-8859-1), so a head that is written again has the bytes that it had.
 */
import { ByteBuffer } from "../bytes/byte_buffer.ts";
import { decodeAscii, decodeLatin1, encodeLatin1, noBytes } from "../bytes/bytes.ts";
import { HeadError, headFaults as faults } from "./faults.ts";
import { type Field, field, type HeadLimits, type RequestHead, type ResponseHead } from "./head.ts";

/** States of a head, in the order in which its bytes come. */
const State = {
  /** The bytes that tell HTTP from what is none. */
  Begin: 0,
  StartLine: 1,
  StartLf: 2,
  LineStart: 3,
  Name: 4,
  NameLf: 5,
  Value: 6,
  ValueLf: 7,
  EndLf: 8,
} as const;

/** Kinds of bytes, by value; see {@link kinds}. */
const isToken = 1;
const isText = 2;
const isAscii = 4;

/** Which bytes may be in a name (RFC 9110 section 5.6.2), and which in a value or a start line. */
const kinds = new Uint8Array(256);
for (let code = 0; code < 256; code++) {
  if (code !== 9 && (code < 0x20 || code === 0x7f)) continue;
  kinds[code] = code > 0x7f ? isText : isText | isAscii;
}
for (const character of "!#$%&'*+-.^_`|~") kinds[character.charCodeAt(0)]! |= isToken;
for (const [from, to] of [["0", "9"], ["A", "Z"], ["a", "z"]]) {
  for (let code = from!.charCodeAt(0); code <= to!.charCodeAt(0); code++) kinds[code]! |= isToken;
}

const cr = 13;
const lf = 10;
const tab = 9;
const space = 32;
const colon = 58;

/** What TLS begins with: a handshake's record, or an alert's (RFC 8446 section 5.1). */
const tlsHandshake = 0x16;
const tlsAlert = 0x15;

/** Which fields become a head's; all where it is left out. Asked with the length of the name. */
type WantedField = (nameLength: number) => boolean;

/** What tells the heads that a reader reads from others. */
interface HeadForm<Head> {
  /** What every head begins with; nothing for requests, whose methods are anything. */
  readonly begin: string;
  readonly notHttp: string;
  readonly tls: string;
  readonly bareLine: string;
  readonly wanted?: WantedField;
  /** @throws {HeadError} */
  readonly parse: (startLine: string, fields: Field[]) => Head;
}

const requestForm: HeadForm<RequestHead> = {
  begin: "",
  notHttp: faults.requestLine,
  tls: "TLS on a listener for plain HTTP",
  bareLine: faults.requestLine,
  parse(startLine, fields) {
    const methodEnd = startLine.indexOf(" ");
    const targetEnd = startLine.lastIndexOf(" ");
    const method = startLine.slice(0, Math.max(0, methodEnd));
    const isWhole = isTokenText(method) && targetEnd > methodEnd + 1 &&
      startLine.indexOf(" ", methodEnd + 1) === targetEnd && !startLine.includes("\t") &&
      isVersion(startLine, targetEnd + 1);
    if (!isWhole) throw new HeadError(400, faults.requestLine);
    const target = startLine.slice(methodEnd + 1, targetEnd);
    const major = startLine[targetEnd + 6];
    const minor = startLine[targetEnd + 8];
    if (major !== "1") throw new HeadError(505, "HTTP version is not supported; must be HTTP/1.1");
    // Its 2xx turns the connection into a tunnel: what came next would be no HTTP of ours any more.
    if (method === "CONNECT") throw new HeadError(501, "CONNECT is not supported");
    return { method, target, minor: minor === "0" ? 0 : 1, fields };
  },
};

const responseForm: HeadForm<ResponseHead> = {
  begin: "HTTP/1.",
  notHttp: faults.notHttp,
  tls: faults.tls,
  bareLine: faults.bareLine,
  parse(startLine, fields) {
    // `HTTP/1.` has been seen; the rest is `m ddd reason`, of which the reason may be missing.
    const status = Number(startLine.slice(9, 12));
    const isWhole = isDigit(startLine.charCodeAt(7)) && startLine[8] === " " &&
      isDigit(startLine.charCodeAt(9)) && isDigit(startLine.charCodeAt(10)) &&
      isDigit(startLine.charCodeAt(11)) && status >= 100 &&
      (startLine.length === 12 || startLine[12] === " ");
    if (!isWhole) throw new HeadError(400, faults.statusLine);
    const minor = startLine[7] === "0" ? 0 : 1;
    return { status, reason: startLine.slice(13), minor, fields };
  },
};

/** Lengths of the names that say where an answer ends, and whether another may follow. */
const framingNameLengths = new Set(
  ["connection", "content-length", "transfer-encoding"].map(({ length }) => length),
);

const answerFramingForm: HeadForm<ResponseHead> = {
  ...responseForm,
  wanted: (length) => framingNameLengths.has(length),
};

/** Reads heads of one kind, one after the other. */
export class HeadReader<Head> {
  readonly #form: HeadForm<Head>;
  readonly #limits: HeadLimits;
  #buffer = new ByteBuffer();
  #state: number = State.Begin;
  /** Bytes that have been looked at. */
  #at = 0;
  #startLineEnd = 0;
  #isStartLineChecked = false;
  #isAscii = true;
  /** For each field, where its name begins, its name's digest, where its colon is and its line ends. */
  #marks: number[] = [];
  #nameDigest = 0;
  /** Whatever has come since the head began, and what of it is the head. */
  #all: Uint8Array = noBytes;
  #end = 0;

  private constructor(form: HeadForm<Head>, limits: HeadLimits) {
    this.#form = form;
    this.#limits = limits;
  }

  static forRequests(limits: HeadLimits): HeadReader<RequestHead> {
    return new HeadReader(requestForm, limits);
  }

  static forResponses(limits: HeadLimits): HeadReader<ResponseHead> {
    return new HeadReader(responseForm, limits);
  }

  /**
   * Looks at all of a response's head, and keeps of its fields those that say how it is framed: an
   * agent passes the bytes themselves on.
   */
  static forFramingOfResponses(limits: HeadLimits): HeadReader<ResponseHead> {
    return new HeadReader(answerFramingForm, limits);
  }

  /** Whether a head has begun whose end has not come. */
  get hasBegun(): boolean {
    return this.#buffer.length > 0;
  }

  /** After `read` has returned a head: its bytes, with what came behind them. */
  get all(): Uint8Array {
    return this.#all;
  }

  /** After `read` has returned a head: where it ends in {@link all}. */
  get end(): number {
    return this.#end;
  }

  /**
   * After `read` has returned a head: what came behind it. {@link all} is given up with it, so that a
   * reader of a connection that idles keeps no memory.
   */
  takeRest(): Uint8Array {
    const all = this.#all;
    this.#all = noBytes;
    return this.#end === all.length ? noBytes : all.subarray(this.#end);
  }

  /**
   * Takes bytes.
   *
   * @returns the head once it is whole; the next bytes begin another one, and {@link takeRest} gives
   * those of them that came already
   * @throws {HeadError} as soon as it can't become one
   */
  read(bytes: Uint8Array): Head | undefined {
    this.#buffer.append(bytes);
    const all = this.#buffer.bytes;
    const { maxBytes } = this.#limits;
    try {
      const isWhole = this.#scan(all, Math.min(all.length, maxBytes));
      if (isWhole) return this.#finish();
      if (all.length > maxBytes) throw new HeadError(431, faults.tooLong(maxBytes));
    } catch (error) {
      // A fault of the start line comes first, whatever pieces the head comes in.
      this.#checkStartLine(all);
      throw error;
    }
    this.#checkStartLine(all);
    return undefined;
  }

  /** Whoever sends a start line that is none may wait now, and never send the rest. */
  #checkStartLine(all: Uint8Array): void {
    const end = this.#startLineEnd;
    if (this.#isStartLineChecked || end === 0 || all[end + 1] !== lf) return;
    this.#isStartLineChecked = true;
    this.#form.parse(this.#decode(all, 0, end), []);
  }

  #finish(): Head {
    const all = this.#all = this.#buffer.take();
    const end = this.#end = this.#at;
    const { wanted, parse } = this.#form;
    const startLineEnd = this.#startLineEnd;
    let parsed: Head;
    if (wanted) {
      parsed = parse(this.#decode(all, 0, startLineEnd), this.#wantedFields(all, wanted));
    } else {
      const text = this.#decode(all, 0, end);
      parsed = parse(text.slice(0, startLineEnd), this.#fields(text));
    }
    this.#state = State.Begin;
    this.#at = 0;
    this.#startLineEnd = 0;
    this.#isStartLineChecked = false;
    this.#isAscii = true;
    this.#marks.length = 0;
    return parsed;
  }

  #decode(bytes: Uint8Array, from: number, to: number): string {
    const part = bytes.subarray(from, to);
    return this.#isAscii ? decodeAscii(part) : decodeLatin1(part);
  }

  #fields(text: string): Field[] {
    const marks = this.#marks;
    const fields: Field[] = [];
    for (let index = 0; index < marks.length; index += marksPerField) {
      const colonAt = marks[index + 2]!;
      const value = trimmed(text, colonAt + 1, marks[index + 3]!);
      fields.push(knownField(text, marks[index]!, colonAt, marks[index + 1]!, value));
    }
    return fields;
  }

  #wantedFields(head: Uint8Array, wanted: WantedField): Field[] {
    const marks = this.#marks;
    const fields: Field[] = [];
    for (let index = 0; index < marks.length; index += marksPerField) {
      const start = marks[index]!;
      const nameLength = marks[index + 2]! - start;
      if (!wanted(nameLength)) continue;
      const line = this.#decode(head, start, marks[index + 3]!);
      const value = trimmed(line, nameLength + 1, line.length);
      fields.push(knownField(line, 0, nameLength, marks[index + 1]!, value));
    }
    return fields;
  }

  /** Looks at bytes up to `to`; true when the last one that it has looked at ends the head. */
  #scan(bytes: Uint8Array, to: number): boolean {
    const marks = this.#marks;
    let at = this.#at;
    let state = this.#state;
    while (at < to) {
      const byte = bytes[at]!;
      switch (state) {
        case State.Begin:
          this.#checkBegin(byte, at);
          if (at < this.#form.begin.length) at++;
          if (at >= this.#form.begin.length) state = State.StartLine;
          break;
        case State.StartLine:
          at = this.#skipText(bytes, at, to);
          if (at === to) break;
          if (bytes[at] !== cr) this.#refuseInStartLine(bytes[at]!);
          this.#startLineEnd = at++;
          state = State.StartLf;
          break;
        case State.StartLf:
          if (byte !== lf) throw new HeadError(400, this.#form.bareLine);
          at++;
          state = State.LineStart;
          break;
        case State.LineStart:
          if (byte === cr) {
            at++;
            state = State.EndLf;
            break;
          }
          if (byte === lf) throw new HeadError(400, faults.bare);
          if (byte === space || byte === tab) throw new HeadError(400, faults.folded);
          if ((kinds[byte]! & isToken) === 0) refuseInName(byte);
          if (marks.length === marksPerField * this.#limits.maxFields) {
            throw new HeadError(431, faults.tooManyFields(this.#limits.maxFields));
          }
          marks.push(at++);
          this.#nameDigest = byte;
          state = State.Name;
          break;
        case State.Name:
          at = this.#skipName(bytes, at, to);
          if (at === to) break;
          if (bytes[at] === colon) {
            marks.push(this.#nameDigest, at++);
            state = State.Value;
          } else if (bytes[at] === cr) {
            at++;
            state = State.NameLf;
          } else refuseInName(bytes[at]!);
          break;
        case State.NameLf:
          throw new HeadError(400, byte === lf ? faults.noColon : faults.name);
        case State.Value:
          at = this.#skipText(bytes, at, to);
          if (at === to) break;
          if (bytes[at] !== cr) refuseInValue(bytes[at]!);
          marks.push(at++);
          state = State.ValueLf;
          break;
        case State.ValueLf:
          if (byte !== lf) throw new HeadError(400, faults.bare);
          at++;
          state = State.LineStart;
          break;
        case State.EndLf:
          if (byte !== lf) throw new HeadError(400, faults.bare);
          this.#at = at + 1;
          return true;
      }
    }
    this.#at = at;
    this.#state = state;
    return false;
  }

  /** The first bytes tell HTTP from other protocols, which may never send what would end a head. */
  #checkBegin(byte: number, at: number): void {
    const { begin, notHttp, tls } = this.#form;
    if (at === 0 && (byte === tlsHandshake || byte === tlsAlert)) throw new HeadError(400, tls);
    if (at < begin.length && byte !== begin.charCodeAt(at)) throw new HeadError(400, notHttp);
  }

  #skipText(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    let all = isText | isAscii;
    // Four at a time: most bytes of a head are these.
    for (; at + 4 <= to; at += 4) {
      const four = kinds[bytes[at]!]! & kinds[bytes[at + 1]!]! & kinds[bytes[at + 2]!]! &
        kinds[bytes[at + 3]!]!;
      if ((four & isText) === 0) break;
      all &= four;
    }
    for (; at < to; at++) {
      const kind = kinds[bytes[at]!]!;
      if ((kind & isText) === 0) break;
      all &= kind;
    }
    if ((all & isAscii) === 0) this.#isAscii = false;
    return at;
  }

  #skipName(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    let digest = this.#nameDigest;
    for (; at < to && (kinds[bytes[at]!]! & isToken) !== 0; at++) {
      digest = (Math.imul(digest, 31) + bytes[at]!) & 0x3fffffff;
    }
    this.#nameDigest = digest;
    return at;
  }

  #refuseInStartLine(byte: number): never {
    throw new HeadError(400, byte === lf ? this.#form.bareLine : faults.control);
  }
}

const marksPerField = 4;

/**
 * Fields whose names came before, by their digests. Names recur: one string each is kept, with its
 * lower case, and not made anew for each head. A name that is not the kept one takes its place.
 */
const knownNames = new Array<Field | undefined>(1024).fill(undefined);
/** Longer names are hardly the usual ones. */
const maxKnownName = 64;

function knownField(
  text: string,
  start: number,
  end: number,
  digest: number,
  value: string,
): Field {
  const slot = digest % knownNames.length;
  const known = knownNames[slot];
  if (known && known.name.length === end - start && text.startsWith(known.name, start)) {
    return { name: known.name, value, key: known.key };
  }
  if (end - start > maxKnownName) return field(text.slice(start, end), value);
  // A copy: a slice would keep the whole head in memory, credentials and all.
  const made = field(decodeAscii(encodeLatin1(text.slice(start, end))), value);
  knownNames[slot] = { ...made, value: "" };
  return made;
}

function refuseInName(byte: number): never {
  const isControl = (kinds[byte]! & isText) === 0 && byte !== lf;
  throw new HeadError(400, isControl ? faults.control : faults.name);
}

function refuseInValue(byte: number): never {
  throw new HeadError(400, byte === lf ? faults.bare : faults.control);
}

/** Cuts spaces and tabs at both ends, and nothing else that `trim` would take. */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === space || code === tab;
}

function isTokenText(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    // Beyond the table there is nothing, as a start line is one of bytes.
    if ((kinds[text.charCodeAt(at)]! & isToken) === 0) return false;
  }
  return text !== "";
}

/** Whether `HTTP/d.d` is all that stands from `at` on. */
function isVersion(text: string, at: number): boolean {
  return text.length === at + 8 && text.startsWith("HTTP/", at) && text[at + 6] === "." &&
    isDigit(text.charCodeAt(at + 5)) && isDigit(text.charCodeAt(at + 7));
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

/** Parses a request's whole head, its empty line included. @throws {HeadError} */
export function parseRequestHead(bytes: Uint8Array, limits: HeadLimits): RequestHead {
  return parseWhole(HeadReader.forRequests(limits), bytes, faults.requestLine);
}

/** Parses a response's whole head, its empty line included. @throws {HeadError} */
export function parseResponseHead(bytes: Uint8Array, limits: HeadLimits): ResponseHead {
  return parseWhole(HeadReader.forResponses(limits), bytes, faults.statusLine);
}

function parseWhole<Head>(reader: HeadReader<Head>, bytes: Uint8Array, cut: string): Head {
  const head = reader.read(bytes);
  if (!head) throw new HeadError(400, cut);
  if (reader.end < bytes.length) throw new HeadError(400, faults.noColon);
  return head;
}
