/** Ports that services have for clients that can run no helper: `listen` and `allow` of their entries. */
import { createServer, type Server, type Socket } from "node:net";
import { ConfigError } from "../../../config/config_error.ts";
import { formatAddress } from "../../../config/options/address.ts";
import { allowsAddress, type Service } from "../../../domain/service.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import type { Relay } from "../../../relay/relay.ts";
import { serveSocket } from "../../../relay/routes/tcp_socket.ts";
import { guardSocket } from "../guarded_socket.ts";
import { listenFailure } from "../program.ts";

/** Idle time after which the system probes whether a client is still there. */
const tcpKeepAliveMs = 30_000;
/** Connections at once through one port. */
const maxConnections = 4_096;

/** All ports of one relay's services; they follow its table. */
export class ServicePorts {
  readonly #relay: Relay;
  readonly #ports = new Map<string, ServicePort>();
  #isClosed = false;

  constructor(relay: Relay) {
    this.#relay = relay;
  }

  /** Opens the ports of all services. @throws {ConfigError} for an address that can't be had */
  async open(services: readonly Service[]): Promise<void> {
    for (const [name, service] of portsOf(services)) await this.#open(name, service);
  }

  /** Takes other services; ports that are not touched go on. What can't be opened is told in the log. */
  async use(services: readonly Service[]): Promise<void> {
    if (this.#isClosed) return;
    const wanted = portsOf(services);
    for (const [name, port] of this.#ports) {
      const next = wanted.get(name);
      if (next && port.isAt(next)) {
        port.service = next;
        wanted.delete(name);
      } else {
        this.#ports.delete(name);
        port.close();
      }
    }
    for (const [name, service] of wanted) {
      try {
        await this.#open(name, service);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        this.#relay.log.error("Could not open a service's port", {
          service: name,
          reason: error.message,
        });
      }
    }
  }

  /** Takes no new connections; those that are open go on. */
  close(): void {
    this.#isClosed = true;
    for (const port of this.#ports.values()) port.close();
  }

  async #open(name: string, service: Service): Promise<void> {
    const port = new ServicePort(this.#relay, service);
    const address = await port.listen();
    this.#ports.set(name, port);
    this.#relay.log.info("Listening", { listener: "service", service: name, address, tls: "off" });
  }
}

function portsOf(services: readonly Service[]): Map<string, Service> {
  return new Map(
    services.filter(({ listen }) => listen !== undefined).map((service) => [service.name, service]),
  );
}

/** One port. */
class ServicePort {
  /** As the configuration has it now. */
  service: Service;
  readonly #relay: Relay;
  readonly #server: Server;
  #open = 0;

  constructor(relay: Relay, service: Service) {
    this.#relay = relay;
    this.service = service;
    this.#server = createServer(
      { allowHalfOpen: true, pauseOnConnect: true, noDelay: true },
      (socket) => this.#accept(guardSocket(socket)),
    );
  }

  /** Whether a service listens at this port's address. */
  isAt({ listen }: Service): boolean {
    return formatAddress(this.service.listen!) === formatAddress(listen!);
  }

  async listen(): Promise<string> {
    const { name, listen } = this.service;
    const { hostname, port } = listen!;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.on("error", reject);
    this.#server.listen({ port, ...(hostname === "" ? {} : { host: hostname }) }, resolve);
    try {
      await promise;
    } catch (error) {
      throw new ConfigError(listenFailure(`Service "${name}": listen`, listen!, error));
    }
    const bound = this.#server.address();
    if (bound === null || typeof bound === "string") throw new Error("No TCP address was bound");
    return formatAddress({ hostname: bound.address, port: bound.port });
  }

  close(): void {
    this.#server.close();
  }

  #accept(socket: Socket): void {
    const { metrics, rateLimitedLog, services } = this.#relay;
    const { name } = this.service;
    const address = (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    const isAllowed = allowsAddress(this.service, address);
    if (!isAllowed || this.#open >= maxConnections) {
      socket.resetAndDestroy();
      if (isAllowed) metrics.limitHit("max-connections");
      const reason = isAllowed ? "too many connections" : "allow does not list the address";
      return rateLimitedLog.warn("Refused a connection to a service's port", {
        service: name,
        reason,
        peer: address,
      });
    }
    const route = services.table.routeByName(name);
    if (!route) return void socket.resetAndDestroy();
    this.#open++;
    socket.once("close", () => this.#open--);
    socket.setKeepAlive(true, tcpKeepAliveMs);
    const peer = { address, isTls: false };
    void serveSocket(this.#relay, { socket: socket as unknown as ByteSocket, peer }, route);
  }
}
