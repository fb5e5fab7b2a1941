/** A TCP proxy that tests put between agent and relay, to change or silence the line. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { splitAddress } from "../support/raw_connection.ts";

/** What a slow line passes on at once. */
const trickleBytes = 1024;

/** A listening proxy. Disposing it ends its connections. */
export class TcpProxy implements AsyncDisposable {
  /** `host:port` that it listens on. */
  readonly address: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #upstream: string | undefined;
  #isFrozen = false;
  /** What new connections pass on in a second, each way; undefined is as much as there is. */
  bytesPerSecond: number | undefined;

  private constructor(server: ReturnType<typeof createServer>, address: string) {
    this.#server = server;
    this.address = address;
    server.on("connection", (socket: Socket) => this.#accept(socket));
  }

  /** Starts a proxy; until it has an upstream it resets every connection. */
  static async start(upstream?: string): Promise<TcpProxy> {
    const server = createServer({ noDelay: true });
    server.listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    const bound = server.address();
    if (bound === null || typeof bound === "string") {
      throw new Error("The proxy has no TCP address");
    }
    const proxy = new TcpProxy(server, `127.0.0.1:${bound.port}`);
    proxy.#upstream = upstream;
    return proxy;
  }

  /** Where connections go from now on. */
  set upstream(address: string | undefined) {
    this.#upstream = address;
  }

  /** Passes nothing on any more, on no connection, and says nothing: the line is dead, nobody knows. */
  freeze(): void {
    this.#isFrozen = true;
    for (const pair of this.#pairs) for (const socket of pair) freeze(socket);
  }

  /** New connections work again; those that were frozen stay so. */
  thaw(): void {
    this.#isFrozen = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    if (this.#upstream === undefined) {
      client.resetAndDestroy();
      return;
    }
    const { host, port } = splitAddress(this.#upstream);
    const server = connect({ host, port, noDelay: true });
    const pair = [client, server] as const;
    this.#pairs.add(pair);
    for (const [from, to] of [[client, server], [server, client]] as const) {
      if (this.bytesPerSecond === undefined) from.pipe(to);
      else void trickle(from, to, this.bytesPerSecond);
      from.on("error", () => {}); // `close` follows.
      from.on("close", () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
    if (this.#isFrozen) { for (const socket of pair) freeze(socket); }
  }
}

/** Passes bytes on at a slow line's pace, and reads no faster. */
async function trickle(from: Socket, to: Socket, bytesPerSecond: number): Promise<void> {
  const pauseMs = trickleBytes / bytesPerSecond * 1000;
  const closed = new AbortController();
  from.on("close", () => closed.abort());
  try {
    for await (const chunk of from as AsyncIterable<Uint8Array>) {
      for (let at = 0; at < chunk.length; at += trickleBytes) {
        to.write(chunk.subarray(at, at + trickleBytes));
        await delay(pauseMs, undefined, { signal: closed.signal });
      }
    }
  } catch {
    // It broke: `close` follows, and ends the other one.
  }
}

function freeze(socket: Socket): void {
  socket.unpipe();
  socket.pause();
}
