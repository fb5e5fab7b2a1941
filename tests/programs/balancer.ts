/**
 * A TCP balancer in front of relays that goes by their readiness probes, as a Service of Kubernetes
 * does: it gives new connections to those that are ready, and leaves the others alone.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { splitAddress } from "../support/raw_connection.ts";

/** How often a relay is asked. */
const probeMs = 100;

/** A relay as a balancer sees it. */
export interface Backend {
  /** `host:port` of its connections. */
  readonly address: string;
  /** Answers 200 while it is ready. */
  readonly probeUrl: string;
}

/** How readiness is judged. */
export interface BalancerOptions {
  /** Probes in a row that must fail before a relay that was ready is not: a kubelet's default is 3. */
  readonly failures: number;
}

/** A listening balancer. Disposing it ends its connections. */
export class Balancer implements AsyncDisposable {
  /** `host:port` that it listens on. */
  readonly address: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #failures: number;
  readonly #backends = new Map<Backend, { failed: number }>();
  readonly #sockets = new Set<Socket>();
  readonly #timer: ReturnType<typeof setInterval>;
  #probing: Promise<unknown> = Promise.resolve();
  #turn = 0;

  private constructor(server: ReturnType<typeof createServer>, { failures }: BalancerOptions) {
    this.#server = server;
    this.#failures = failures;
    const bound = server.address();
    if (bound === null || typeof bound === "string") throw new Error("No TCP address was bound");
    this.address = `127.0.0.1:${bound.port}`;
    server.on("connection", (socket: Socket) => this.#accept(socket));
    this.#timer = setInterval(() => this.#probing = this.#probeAll(), probeMs);
  }

  /** Starts a balancer that has no relay yet. */
  static async start(options: BalancerOptions): Promise<Balancer> {
    const server = createServer({ noDelay: true, allowHalfOpen: true });
    server.listen({ host: "127.0.0.1", port: 0 });
    await once(server, "listening");
    return new Balancer(server, options);
  }

  /** Adds a relay, which is not ready until it says so. */
  add(backend: Backend): void {
    this.#backends.set(backend, { failed: this.#failures });
  }

  /** Forgets a relay. */
  remove(backend: Backend): void {
    this.#backends.delete(backend);
  }

  /** Relays that get connections. */
  get ready(): Backend[] {
    return [...this.#backends].flatMap(([backend, { failed }]) =>
      failed < this.#failures ? [backend] : []
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#probing;
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #probeAll(): Promise<void> {
    await Promise.all([...this.#backends].map(async ([{ probeUrl }, state]) => {
      state.failed = await isReady(probeUrl) ? 0 : state.failed + 1;
    }));
  }

  #accept(client: Socket): void {
    const { ready } = this;
    const backend = ready[this.#turn++ % ready.length];
    if (backend === undefined) {
      client.resetAndDestroy();
      return;
    }
    const { host, port } = splitAddress(backend.address);
    const server = connect({ host, port, noDelay: true, allowHalfOpen: true });
    for (const [from, to] of [[client, server], [server, client]] as const) {
      this.#sockets.add(from);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        if (!from.readableEnded) to.destroy();
      });
    }
  }
}

async function isReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(url);
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false; // It has gone, or is not there yet.
  }
}
