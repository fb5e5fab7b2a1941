/** Downloads that are opened and then not read. */
import { NarrowSocket } from "./narrow_socket.ts";

/** Connections opened at the same time: no more than a listener's backlog surely holds. */
const OPENED_AT_ONCE = 50;

/** How long one download may take to begin, or a stalled one to go on. */
const READ_TIMEOUT_MS = 30_000;

/** Enough to hold the head of an answer, and little more, is all that is read of each. */
const FIRST_READ_BYTES = 512;

/** What to open. */
export interface StalledOptions {
  /** A download in plain HTTP whose answer has `bytes` bytes. */
  readonly url: URL;
  readonly bytes: number;
  readonly count: number;
  readonly signal: AbortSignal;
}

/** One download of which only the beginning has been read. */
interface Stalled {
  readonly socket: NarrowSocket;
  /** Bytes read so far, the head's among them. */
  readonly readBytes: number;
}

/** Downloads under way that nobody reads. Disposing them closes their connections. */
export class StalledDownloads implements Disposable {
  readonly #downloads: readonly Stalled[];
  readonly #bytes: number;

  constructor(downloads: readonly Stalled[], bytes: number) {
    this.#downloads = downloads;
    this.#bytes = bytes;
  }

  /** Reads one of them to its end; throws unless all its bytes come. */
  async checkOneGoesOn(): Promise<void> {
    const stalled = this.#downloads.at(-1);
    if (stalled === undefined) throw new Error("No stalled download to go on with");
    const buffer = new Uint8Array(64 * 1024);
    for (let bytes = stalled.readBytes; bytes < this.#bytes;) {
      const count = await stalled.socket.read(buffer);
      if (count === 0) throw new Error(`Stalled download ended after ${bytes} bytes`);
      bytes += count;
    }
  }

  [Symbol.dispose](): void {
    for (const { socket } of this.#downloads) socket[Symbol.dispose]();
  }
}

/** Opens downloads, reads the beginning of each answer, and stops reading. */
export async function openStalled(options: StalledOptions): Promise<StalledDownloads> {
  const { count, bytes, signal } = options;
  const downloads: Stalled[] = [];
  try {
    while (downloads.length < count) {
      signal.throwIfAborted();
      const group = Math.min(OPENED_AT_ONCE, count - downloads.length);
      const opened = await Promise.allSettled(
        Array.from({ length: group }, () => open(options.url)),
      );
      for (const result of opened) {
        if (result.status === "fulfilled") downloads.push(result.value);
      }
      const failed = opened.find((result) => result.status === "rejected");
      if (failed) {
        throw new Error(`Stream ${downloads.length + 1} of ${count} failed: ${failed.reason}`);
      }
    }
  } catch (error) {
    for (const { socket } of downloads) socket[Symbol.dispose]();
    throw error;
  }
  return new StalledDownloads(downloads, bytes);
}

async function open(url: URL): Promise<Stalled> {
  const socket = await NarrowSocket.connect(url.hostname, Number(url.port), READ_TIMEOUT_MS);
  try {
    const head = `GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\n\r\n`;
    socket.send(new TextEncoder().encode(head));
    const buffer = new Uint8Array(FIRST_READ_BYTES);
    const readBytes = await socket.read(buffer);
    const text = new TextDecoder().decode(buffer.subarray(0, readBytes));
    if (!text.startsWith("HTTP/1.1 200")) {
      throw new Error(`Answer is "${text.split("\r\n")[0] || "a closed connection"}"`);
    }
    return { socket, readBytes };
  } catch (error) {
    socket[Symbol.dispose]();
    throw error;
  }
}
