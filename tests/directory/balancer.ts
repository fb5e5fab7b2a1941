/** A load balancer in front of several relays: what agents and callers know as one address. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { splitAddress } from "../support/raw_connection.ts";

/** Passes connections on in turn, to those that take them. */
export class Balancer implements AsyncDisposable {
  readonly address: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #sockets = new Set<Socket>();
  #upstreams: readonly string[] = [];
  #turn = 0;

  private constructor(server: ReturnType<typeof createServer>, address: string) {
    this.#server = server;
    this.address = address;
    server.on("connection", (socket: Socket) => this.#accept(socket));
  }

  /** Starts one without upstreams, which resets every connection. */
  static async start(): Promise<Balancer> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    server.listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    const bound = server.address();
    if (bound === null || typeof bound === "string") throw new Error("No TCP address");
    return new Balancer(server, `127.0.0.1:${bound.port}`);
  }

  /** Where connections go from now on; those that are there stay where they are. */
  set upstreams(addresses: readonly string[]) {
    this.#upstreams = addresses;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(client: Socket): void {
    this.#keep(client);
    this.#pass(client, this.#upstreams.length);
  }

  /** @param tries Upstreams that have not been tried. */
  #pass(client: Socket, tries: number): void {
    if (tries === 0) return void client.resetAndDestroy();
    const upstream = this.#upstreams[this.#turn++ % this.#upstreams.length]!;
    const { host, port } = splitAddress(upstream);
    const server = connect({ host, port, noDelay: true, allowHalfOpen: true });
    const refused = (): void => this.#pass(client, tries - 1);
    server.once("error", refused);
    server.once("connect", () => {
      server.off("error", refused);
      this.#keep(server);
      this.#join(client, server);
      this.#join(server, client);
    });
  }

  #join(from: Socket, to: Socket): void {
    from.pipe(to);
    from.on("close", () => to.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {}); // `close` follows.
    socket.on("close", () => this.#sockets.delete(socket));
  }
}
