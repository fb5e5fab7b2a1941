/** Ports that services have for clients that can run no helper: `listen` and `allow` of their entries. */
import { createServer, type Server, type Socket } from "node:net";
import { ConfigError } from "../../../config/config_error.ts";
import { overlap } from "../../../config/entries/service_ports.ts";
import { formatAddress, type ListenAddress } from "../../../config/options/address.ts";
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
  /** By the address in the configuration, or by the service where it leaves the port to the system. */
  #ports: ReadonlyMap<string, ServicePort> = new Map();
  #isClosed = false;

  constructor(relay: Relay) {
    this.#relay = relay;
  }

  /** Opens the ports of all services. @throws {ConfigError} for an address that can't be had */
  async open(services: readonly Service[]): Promise<void> {
    (await this.prepare(services)).commit();
  }

  /**
   * Opens what other services need in addition; ports that are not touched go on.
   *
   * @returns what has it used, or undone
   * @throws {ConfigError} for an address that can't be had; everything is as it was then
   */
  async prepare(services: readonly Service[]): Promise<PortsChange> {
    if (this.#isClosed) return { commit() {}, undo() {} };
    const wanted = portsOf(services);
    const ports = new Map<string, ServicePort>();
    for (const [key, service] of wanted) {
      ports.set(key, this.#ports.get(key) ?? new ServicePort(this.#relay, service));
    }
    const added = [...ports.values()].filter((port) => !port.isListening);
    const removed = [...this.#ports].filter(([key]) => !ports.has(key)).map(([, port]) => port);
    // One that goes may be in the way of one that comes.
    const inTheWay = removed.filter((old) => added.some((port) => old.overlaps(port)));
    const undo = async (): Promise<void> => {
      for (const port of added) port.close();
      for (const port of inTheWay) await port.listen();
    };
    try {
      for (const port of inTheWay) port.close();
      for (const port of added) await port.listen();
    } catch (error) {
      await undo();
      throw error;
    }
    return {
      undo,
      commit: () => {
        for (const port of removed) port.close();
        for (const [key, service] of wanted) ports.get(key)!.service = service;
        for (const port of added) this.#opened(port);
        this.#ports = ports;
        if (this.#isClosed) this.close();
      },
    };
  }

  /** Takes no new connections; those that are open go on. */
  close(): void {
    this.#isClosed = true;
    for (const port of this.#ports.values()) port.close();
  }

  #opened(port: ServicePort): void {
    const { service: { name: service }, address } = port;
    port.isInUse = true;
    this.#relay.log.info("Listening", { listener: "service", service, address, tls: "off" });
  }
}

/** Ports that are open, though their services are not in use yet. */
export interface PortsChange {
  /** The services are in use. */
  commit(): void;
  /** They are not taken after all. */
  undo(): void | Promise<void>;
}

function portsOf(services: readonly Service[]): Map<string, Service> {
  const listening = services.filter(({ listen }) => listen !== undefined);
  return new Map(listening.map((service) => [keyOf(service), service]));
}

function keyOf({ name, listen }: Service): string {
  return listen!.port === 0 ? name : formatAddress(listen!);
}

/** One port. */
class ServicePort {
  /** As the configuration has it now. */
  service: Service;
  /** Whether its service is in use: nobody is let in before. */
  isInUse = false;
  readonly #relay: Relay;
  readonly #listen: ListenAddress;
  #server: Server | undefined;
  #open = 0;

  constructor(relay: Relay, service: Service) {
    this.#relay = relay;
    this.service = service;
    this.#listen = service.listen!;
  }

  get isListening(): boolean {
    return this.#server !== undefined;
  }

  /** Where it listens, with the port that 0 stood for. */
  get address(): string {
    const bound = this.#server?.address();
    if (!bound || typeof bound === "string") throw new Error("No TCP address was bound");
    return formatAddress({ hostname: bound.address, port: bound.port });
  }

  /** Whether one of them takes what comes for the other. */
  overlaps(other: ServicePort): boolean {
    return overlap(this.#listen, other.#listen);
  }

  /** @throws {ConfigError} when the address can't be had */
  async listen(): Promise<void> {
    const { hostname, port } = this.#listen;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const server = createServer(
      { allowHalfOpen: true, pauseOnConnect: true, noDelay: true },
      (socket) => this.#accept(guardSocket(socket)),
    );
    server.on("error", reject);
    server.listen({ port, ...(hostname === "" ? {} : { host: hostname }) }, resolve);
    try {
      await promise;
      this.#server = server;
    } catch (error) {
      const place = `Service "${this.service.name}": listen`;
      throw new ConfigError(listenFailure(place, this.#listen, error));
    }
  }

  close(): void {
    this.#server?.close();
    this.#server = undefined;
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
    const route = this.isInUse ? services.table.routeByName(name) : undefined;
    if (!route) return void socket.resetAndDestroy();
    this.#open++;
    socket.once("close", () => this.#open--);
    socket.setKeepAlive(true, tcpKeepAliveMs);
    const peer = { address, isTls: false };
    void serveSocket(this.#relay, { socket: socket as unknown as ByteSocket, peer }, route);
  }
}
