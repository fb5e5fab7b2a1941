/** A local port that leads to a TCP service. */
import { createServer, type Server, type Socket } from "node:net";
import type { AccessPort } from "../../../config/access_options.ts";
import { formatAddress } from "../../../config/options/address.ts";
import { ConfigError } from "../../../config/config_error.ts";
import type { AccessEvent } from "../../../access/report.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import { guardSocket } from "../guarded_socket.ts";
import { listenFailure } from "../program.ts";
import { carry } from "./tcp_service.ts";

/** Connections at once through one port: each costs the relay a stream. */
const maxConnections = 1_024;

/** A listener and its connections. */
export class TcpPort {
  readonly #port: AccessPort;
  readonly #report: (event: AccessEvent) => void;
  readonly #signal: AbortSignal;
  readonly #server: Server;
  readonly #open = new Set<Promise<void>>();

  constructor(port: AccessPort, report: (event: AccessEvent) => void, signal: AbortSignal) {
    this.#port = port;
    this.#report = report;
    this.#signal = signal;
    this.#server = createServer(
      { allowHalfOpen: true, pauseOnConnect: true, noDelay: true },
      (socket) => this.#accept(guardSocket(socket)),
    );
  }

  /** Binds the address. @throws {ConfigError} that names the option when it can't be had */
  async listen(): Promise<void> {
    const { listen: { hostname, port }, origin, service } = this.#port;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.on("error", reject);
    this.#server.listen({ port, ...(hostname === "" ? {} : { host: hostname }) }, resolve);
    try {
      await promise;
    } catch (error) {
      throw new ConfigError(listenFailure(origin, this.#port.listen, error));
    }
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") throw new Error("No TCP address was bound");
    const address = formatAddress({ hostname: bound.address, port: bound.port });
    this.#report({ event: "listening", service: service.name, address });
  }

  /** Takes no new connections, and waits for those that are open: their signal ends them. */
  async close(): Promise<void> {
    this.#server.close();
    await Promise.all(this.#open);
  }

  #accept(socket: Socket): void {
    if (this.#open.size >= maxConnections) {
      socket.resetAndDestroy();
      const { name: service } = this.#port.service;
      const reason = `${service}: refused a connection: ${maxConnections} are open`;
      return this.#report({ event: "failed", service, reason });
    }
    socket.setKeepAlive(true, 30_000);
    const local = socket as unknown as ByteSocket;
    const carried = carry(this.#port.service, local, this.#signal).then((event) => {
      if (event) this.#report(event);
    }).finally(() => this.#open.delete(carried));
    this.#open.add(carried);
  }
}
