/** An HTTP proxy that opens connections by CONNECT, for tests: what it answers is theirs to say. */
import { once } from "node:events";
import { connect, createServer as createPlainServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { splitAddress } from "./raw_connection.ts";

/** How a proxy answers a connection: by opening it, with these bytes, by closing it, or not at all. */
export type ProxyAnswer = "open" | "close" | "silence" | { readonly says: string };

/** How a proxy is set up. */
export interface ConnectProxyOptions {
  /** Where connections go, whatever host is asked for: `host:port`. */
  readonly upstream?: string;
  /** `Basic …` that it demands. */
  readonly authorization?: string;
  /** Certificate and key, PEM, when it is reached by TLS. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Listens here; loopback unless given. */
  readonly host?: string;
}

/** A listening proxy. Disposing it ends its connections. */
export class ConnectProxy implements AsyncDisposable {
  /** `host:port` that it listens on. */
  readonly address: string;
  /** The heads of the requests that it got, in order. */
  readonly heads: string[] = [];
  /** What the next connections get, in order; after the last, they are opened. */
  readonly answers: ProxyAnswer[] = [];
  readonly #options: ConnectProxyOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(options: ConnectProxyOptions, server: Server, address: string) {
    this.#options = options;
    this.#server = server;
    this.address = address;
    server.on(options.tls ? "secureConnection" : "connection", (socket: Socket) => {
      this.#serve(socket);
    });
    // A client that doesn't believe us, or speaks no TLS: what it says about that is asserted.
    server.on("tlsClientError", (_error: Error, socket: Socket) => socket.destroy());
  }

  /** Starts a proxy on a free port. */
  static async start(options: ConnectProxyOptions = {}): Promise<ConnectProxy> {
    const { tls, host = "127.0.0.1" } = options;
    const server = tls ? createTlsServer(tls) : createPlainServer();
    server.listen({ host, port: 0 });
    await once(server, "listening");
    const bound = server.address();
    if (bound === null || typeof bound === "string") throw new Error("The proxy has no address");
    const address = host.includes(":") ? `[${host}]:${bound.port}` : `${host}:${bound.port}`;
    return new ConnectProxy(options, server, address);
  }

  /** Ends the connections that are open; new ones are accepted. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Connections of clients that are open now. */
  get openConnections(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.cut();
    await closed;
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.once("close", () => this.#sockets.delete(socket));
    // Clients break off where that is tested.
    socket.on("error", () => socket.destroy());
    let head = "";
    const take = (chunk: Uint8Array): void => {
      head += new TextDecoder().decode(chunk);
      if (!head.includes("\r\n\r\n")) return;
      socket.off("data", take);
      this.heads.push(head);
      this.#answer(socket, head);
    };
    socket.on("data", take);
  }

  #answer(socket: Socket, head: string): void {
    const answer = this.answers.shift() ?? "open";
    if (answer === "silence") return void socket.resume();
    if (answer === "close") return void socket.end();
    if (typeof answer === "object") {
      socket.resume();
      return void socket.write(answer.says);
    }
    const { authorization } = this.#options;
    const isKnown = authorization === undefined ||
      head.includes(`\r\nProxy-Authorization: ${authorization}\r\n`);
    if (isKnown) return this.#open(socket);
    socket.end("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n");
  }

  #open(socket: Socket): void {
    if (this.#options.upstream === undefined) throw new Error("The proxy has no upstream");
    const { host, port } = splitAddress(this.#options.upstream);
    const upstream = connect({ host, port, noDelay: true });
    upstream.on("error", () => socket.destroy());
    upstream.on("close", () => socket.destroy());
    socket.on("close", () => upstream.destroy());
    upstream.once("connect", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      socket.pipe(upstream);
      upstream.pipe(socket);
    });
  }
}
