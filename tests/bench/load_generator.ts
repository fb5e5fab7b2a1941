/**
 * The bench's own request generator, for machines without wrk: each connection sends a request, waits
 * for the whole answer (which must have a Content-Length) and sends the next.
 *
 * Argument: a {@link RequestLoad} as JSON. Prints {@link RequestFigures} as JSON; when an answer was
 * not 2xx or a connection failed, says so on standard error and ends with code 1.
 */
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { RequestFigures, RequestLoad } from "./request_load.ts";
import { percentile } from "./statistics.ts";

const HEAD_END = "\r\n\r\n";

/** How long answers that are under way at the end are waited for. */
const LAST_ANSWERS_MS = 10_000;

/** Sends the load and measures. */
class Generator {
  readonly #load: RequestLoad;
  readonly #url: URL;
  readonly #request: string;
  readonly #latenciesMs: number[] = [];
  readonly #open = new Set<Socket>();
  #isOver = false;
  #failure: Error | undefined;
  #finished = Promise.withResolvers<void>();

  constructor(load: RequestLoad) {
    this.#load = load;
    this.#url = new URL(load.url);
    const { pathname, search, host } = this.#url;
    const fields = Object.entries({
      Host: host,
      ...!load.isKeepAlive && { Connection: "close" },
      ...load.fields,
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    this.#request = `GET ${pathname}${search} HTTP/1.1\r\n${fields.join("")}\r\n`;
  }

  async run(): Promise<RequestFigures> {
    const startedMs = performance.now();
    for (let count = 0; count < this.#load.connections; count++) this.#connect();
    let endTimer = setTimeout(() => {
      this.#isOver = true;
      endTimer = setTimeout(() => this.#fail(new Error("Answers are overdue")), LAST_ANSWERS_MS);
    }, this.#load.seconds * 1000);
    await this.#finished.promise;
    clearTimeout(endTimer);
    if (this.#failure !== undefined) throw this.#failure;
    const seconds = (performance.now() - startedMs) / 1000;
    const sorted = Float64Array.from(this.#latenciesMs).sort();
    return {
      requests: sorted.length,
      perSecond: sorted.length / seconds,
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
    };
  }

  #connect(): void {
    const socket = this.#dial();
    this.#open.add(socket);
    socket.setNoDelay(true);
    let received = "";
    let sentAtMs = 0;
    const send = () => {
      received = "";
      sentAtMs = performance.now();
      socket.write(this.#request);
    };
    socket.once(this.#url.protocol === "https:" ? "secureConnect" : "connect", send);
    // One byte is one character, so that lengths in characters are lengths in bytes.
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      received += text;
      const isWhole = this.#checkAnswer(received);
      if (!isWhole) return;
      this.#latenciesMs.push(performance.now() - sentAtMs);
      if (!this.#isOver && this.#load.isKeepAlive) return send();
      this.#close(socket);
      if (!this.#isOver) this.#connect();
    });
    socket.on("error", (error: Error) => this.#fail(error));
    socket.on("close", () => {
      if (this.#open.has(socket)) this.#fail(new Error("Connection closed before its answer"));
    });
  }

  #dial(): Socket {
    const { hostname: host, port, protocol } = this.#url;
    // As wrk does, the certificate is not verified: it is the bench's own.
    return protocol === "https:"
      ? connectTls({ host, port: Number(port), rejectUnauthorized: false })
      : connectTcp({ host, port: Number(port) });
  }

  /** Whether the answer is there to its last byte. */
  #checkAnswer(received: string): boolean {
    const headEnd = received.indexOf(HEAD_END);
    if (headEnd < 0) return false;
    const head = received.slice(0, headEnd);
    const length = /\r\ncontent-length:\s*(\d+)/i.exec(head)?.[1];
    if (!/^HTTP\/1\.1 2\d\d/.test(head) || length === undefined) {
      this.#fail(new Error(`Answer was not 2xx with a length: ${head.split("\r\n")[0]}`));
      return false;
    }
    return received.length >= headEnd + HEAD_END.length + Number(length);
  }

  #close(socket: Socket): void {
    this.#open.delete(socket);
    socket.destroy();
    if (this.#isOver && this.#open.size === 0) this.#finished.resolve();
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#isOver = true;
    for (const socket of [...this.#open]) this.#close(socket);
    this.#finished.resolve();
  }
}

try {
  const load: RequestLoad = JSON.parse(Deno.args[0] ?? "");
  console.log(JSON.stringify(await new Generator(load).run()));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  Deno.exit(1);
}
