/** A client that sends HTTP/2 frames as a test says, right or wrong. */
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { concat, encodeLatin1 } from "../../lib/bytes/bytes.ts";
import { within } from "../support/deadline.ts";
import { Changes } from "../protocol/changes.ts";

/** Kinds of frames (RFC 9113 section 6). */
export const Kind = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const Flag = { endStream: 1, endHeaders: 4 } as const;

/** One frame that came. */
export interface Frame {
  readonly kind: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Uint8Array;
}

export type Fields = readonly (readonly [string, string])[];

/** Fields of a request that most need nothing added to. */
export function requestFields(path: string, more: Fields = [], method = "GET"): Fields {
  return [
    [":method", method],
    [":scheme", "https"],
    [":path", path],
    [":authority", "localhost"],
    ...more,
  ];
}

/** HPACK (RFC 7541 section 6.2.2): each field as it is, without an index. */
export function headerBlock(fields: Fields): Uint8Array {
  return fields.reduce(
    (block, [name, value]) => [new Uint8Array([0]), text(name), text(value)].reduce(concat, block),
    new Uint8Array(0) as Uint8Array,
  );
}

function text(value: string): Uint8Array {
  const bytes = encodeLatin1(value);
  if (bytes.length < 127) return concat(new Uint8Array([bytes.length]), bytes);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push(rest % 128 + 128);
  return concat(new Uint8Array([...length, rest]), bytes);
}

export function frame(
  kind: number,
  flags: number,
  stream: number,
  payload = new Uint8Array(0) as Uint8Array,
): Uint8Array {
  const head = new Uint8Array(9);
  const view = new DataView(head.buffer);
  view.setUint32(0, payload.length << 8 | kind);
  head[4] = flags;
  view.setUint32(5, stream);
  return concat(head, payload);
}

/** A number of four bytes, as RST_STREAM and WINDOW_UPDATE have it. */
export function number(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

/** A connection to a listener. */
export class H2Client implements AsyncDisposable {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  isEnded = false;
  #rest: Uint8Array = new Uint8Array(0);
  readonly #changes = new Changes();

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on("data", (bytes: Uint8Array) => this.#receive(bytes));
    socket.on("error", () => {});
    const ended = () => {
      this.isEnded = true;
      this.#changes.happened();
    };
    socket.on("end", ended);
    socket.on("close", ended);
  }

  /** Connects, with the preface and these settings sent. */
  static async open(
    port: number,
    ca: string,
    settings = new Uint8Array(0) as Uint8Array,
  ): Promise<H2Client> {
    const socket = connect({
      ...{ port, host: "127.0.0.1", servername: "localhost", ca },
      ALPNProtocols: ["h2"],
    });
    const client = new H2Client(socket);
    await within(once(socket, "secureConnect"), "the handshake");
    socket.write(encodeLatin1("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    client.send(frame(Kind.settings, 0, 0, settings));
    return client;
  }

  send(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** Sends a request's head; with its end unless there is a body. */
  request(stream: number, fields: Fields, hasBody = false): void {
    const flags = Flag.endHeaders | (hasBody ? 0 : Flag.endStream);
    this.send(frame(Kind.headers, flags, stream, headerBlock(fields)));
  }

  /** Resolves with the first frame of a kind that comes on a stream, or has come. */
  async next(kind: number, stream: number): Promise<Frame> {
    const find = () => this.frames.find((one) => one.kind === kind && one.stream === stream);
    await this.#changes.until(() => find() !== undefined || this.isEnded, () => this.seen);
    const found = find();
    if (!found) throw new Error(`The connection ended without it; so far ${this.seen}`);
    return found;
  }

  /** Resolves once the listener has closed the connection. */
  ended(): Promise<void> {
    return this.#changes.until(() => this.isEnded, () => `the end; so far ${this.seen}`);
  }

  /** Resolves once this holds of the frames that came. */
  until(condition: () => boolean, what: string): Promise<void> {
    return this.#changes.until(condition, () => `${what}; so far ${this.seen}`);
  }

  /** What a stream's DATA frames held, and whether its end came. */
  body(stream: number): { text: string; isWhole: boolean } {
    const data = this.frames.filter((one) => one.kind === Kind.data && one.stream === stream);
    const isWhole = this.frames.some(({ kind, flags, stream: its }) =>
      its === stream && (kind === Kind.data || kind === Kind.headers) &&
      (flags & Flag.endStream) > 0
    );
    const bytes = data.reduce(
      (all, { payload }) => concat(all, payload),
      new Uint8Array(0) as Uint8Array,
    );
    return { text: new TextDecoder().decode(bytes), isWhole };
  }

  get seen(): string {
    return JSON.stringify(
      this.frames.slice(-20).map(({ kind, flags, stream, payload }) =>
        `${kind}/${flags}@${stream}:${payload.length}`
      ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.socket, "close");
    if (this.socket.closed) return;
    this.socket.destroy();
    await closed;
  }

  #receive(bytes: Uint8Array): void {
    let all = concat(this.#rest, bytes);
    while (all.length >= 9) {
      const view = new DataView(all.buffer, all.byteOffset);
      const length = view.getUint32(0) >>> 8;
      if (all.length < 9 + length) break;
      const payload = all.slice(9, 9 + length);
      this.frames.push({ kind: all[3]!, flags: all[4]!, stream: view.getUint32(5), payload });
      all = all.subarray(9 + length);
    }
    this.#rest = all.slice();
    this.#changes.happened();
  }
}

/** The error code of RST_STREAM, or that of GOAWAY. */
export function codeOf({ kind, payload }: Frame): number {
  return new DataView(payload.buffer, payload.byteOffset).getUint32(kind === Kind.goaway ? 4 : 0);
}
