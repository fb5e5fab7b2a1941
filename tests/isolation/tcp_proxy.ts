/** A TCP proxy that tests put between agent and relay, to change or silence the line. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { splitAddress } from "../support/raw_connection.ts";

/** A listening proxy. Disposing it ends its connections. */
export class TcpProxy implements AsyncDisposable {
  /** `host:port` that it listens on. */
  readonly address: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #upstream: string | undefined;
  #isFrozen = false;

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
      from.pipe(to);
      from.on("error", () => {}); // `close` follows.
      from.on("close", () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
    if (this.#isFrozen) { for (const socket of pair) freeze(socket); }
  }
}

function freeze(socket: Socket): void {
  socket.unpipe();
  socket.pause();
}
