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
import { decodeAscii, decodeLatin1 } from "../bytes/bytes.ts";
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

/** Which bytes may be in a name (RFC 9110 section 5.6.2), and which in a value or a start line. */
const kinds = new Uint8Array(256);
for (let code = 0; code < 256; code++) {
  if (code === 9 || (code >= 0x20 && code !== 0x7f)) kinds[code] = isText;
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

const requestLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\xff]+) HTTP\/(\d)\.(\d)$/;

const requestForm: HeadForm<RequestHead> = {
  begin: "",
  notHttp: faults.requestLine,
  tls: "TLS where plain HTTP is spoken",
  bareLine: faults.requestLine,
  parse(startLine, fields) {
    const match = requestLine.exec(startLine);
    if (!match) throw new HeadError(400, faults.requestLine);
    const [, method, target, major, minor] = match as unknown as [
      string,
      string,
      string,
      string,
      string,
    ];
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
  #isAscii = true;
  /** For each field, where its name, its colon and its line's end are. */
  #marks: number[] = [];
  /** Whatever has come since the head began, and what of it is the head. */
  #all: Uint8Array = new Uint8Array(0);
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

  /** After `read` has returned a head: what came behind it. */
  get rest(): Uint8Array {
    return this.#end === this.#all.length ? noRest : this.#all.subarray(this.#end);
  }

  /**
   * Takes bytes.
   *
   * @returns the head once it is whole; the next bytes begin another one, and {@link rest} has those
   * of them that came already
   * @throws {HeadError} as soon as it can't become one
   */
  read(bytes: Uint8Array): Head | undefined {
    this.#buffer.append(bytes);
    const all = this.#buffer.bytes;
    const { maxBytes } = this.#limits;
    const isWhole = this.#scan(all, Math.min(all.length, maxBytes));
    if (isWhole) return this.#finish();
    if (all.length > maxBytes) throw new HeadError(431, faults.tooLong(maxBytes));
    return undefined;
  }

  #finish(): Head {
    const all = this.#all = this.#buffer.take();
    const end = this.#end = this.#at;
    const { wanted, parse } = this.#form;
    const head = wanted ? all : all.subarray(0, end);
    const startLineEnd = this.#startLineEnd;
    let parsed: Head;
    if (wanted) {
      const startLine = decodeLatin1(head.subarray(0, startLineEnd));
      parsed = parse(startLine, this.#wantedFields(head, wanted));
    } else {
      const text = this.#isAscii ? decodeAscii(head) : decodeLatin1(head);
      parsed = parse(text.slice(0, startLineEnd), this.#fields(text));
    }
    this.#state = State.Begin;
    this.#at = 0;
    this.#isAscii = true;
    this.#marks.length = 0;
    return parsed;
  }

  #fields(text: string): Field[] {
    const marks = this.#marks;
    const fields: Field[] = [];
    for (let index = 0; index < marks.length; index += 3) {
      const colonAt = marks[index + 1]!;
      const name = text.slice(marks[index]!, colonAt);
      fields.push(field(name, trimmed(text, colonAt + 1, marks[index + 2]!)));
    }
    return fields;
  }

  #wantedFields(head: Uint8Array, wanted: WantedField): Field[] {
    const marks = this.#marks;
    const fields: Field[] = [];
    for (let index = 0; index < marks.length; index += 3) {
      const [start, colonAt] = [marks[index]!, marks[index + 1]!];
      if (!wanted(colonAt - start)) continue;
      const line = decodeLatin1(head.subarray(start, marks[index + 2]!));
      const name = line.slice(0, colonAt - start);
      fields.push(field(name, trimmed(line, name.length + 1, line.length)));
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
          if (marks.length === 3 * this.#limits.maxFields) {
            throw new HeadError(431, faults.tooManyFields(this.#limits.maxFields));
          }
          marks.push(at++);
          state = State.Name;
          break;
        case State.Name:
          while (at < to && (kinds[bytes[at]!]! & isToken) !== 0) at++;
          if (at === to) break;
          if (bytes[at] === colon) {
            marks.push(at++);
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
    let seen = 0;
    while (at < to && (kinds[bytes[at]!]! & isText) !== 0) seen |= bytes[at++]!;
    if (seen > 0x7f) this.#isAscii = false;
    return at;
  }

  #refuseInStartLine(byte: number): never {
    throw new HeadError(400, byte === lf ? this.#form.bareLine : faults.control);
  }
}

const noRest = new Uint8Array(0);

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
