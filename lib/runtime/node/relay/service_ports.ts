/** Ports that services have for clients that can run no helper: `listen` and `allow` of their entries. */
import { ConfigError } from "../../../config/config_error.ts";
import { overlap } from "../../../config/entries/service_ports.ts";
import { formatAddress, type ListenAddress } from "../../../config/options/address.ts";
import { allowsAddress, type Service } from "../../../domain/service.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import type { Relay } from "../../../relay/relay.ts";
import { serveSocket } from "../../../relay/routes/tcp_socket.ts";
import { ConnectionListener } from "../listener/connection_listener.ts";
import type { AcceptedConnection } from "../listener/tcp_listener.ts";
import type { ServerTls } from "../listener/tls_acceptor.ts";
import { listenFailure } from "../program.ts";

/** Connections at once through one port. */
const maxConnections = 4_096;

/** How several processes share ports. */
export interface PortSharing {
  /** Processes that share them, this one included. */
  readonly workers: number;
  /** Has the first process choose a port that all of them bind. */
  sharePort<Bound extends { readonly port: number }>(
    name: string,
    bind: (port: number) => Promise<Bound>,
  ): Promise<Bound>;
}

/** All ports of one relay's services; they follow its table. */
export class ServicePorts {
  readonly #relay: Relay;
  /** The ports by their configured address, or by service where the system chooses the port. */
  #ports: ReadonlyMap<string, ServicePort> = new Map();
  #tls: ServerTls | undefined;
  readonly #worker: PortSharing | undefined;
  /** Services without the port that they are to have. */
  #missing: ReadonlySet<string> = new Set();
  #isClosed = false;

  /** @param tls What ports with TLS have. */
  constructor(relay: Relay, tls: ServerTls | undefined, worker?: PortSharing) {
    this.#relay = relay;
    this.#tls = tls;
    this.#worker = worker;
  }

  /** Has TLS use other certificates, of the same kind. */
  replaceTls(tls: ServerTls): void {
    this.#tls = tls;
    for (const port of this.#ports.values()) port.replaceTls(tls);
  }

  /** Opens the ports of all services. @throws {ConfigError} for an address that can't be had */
  async open(services: readonly Service[]): Promise<void> {
    (await this.prepare(services)).commit();
  }

  /**
   * Opens what other services need in addition; ports that are not touched go on.
   *
   * @param needsPort whether a service is refused without its port; others do without, until a later
   *   change finds the address free
   * @returns what has it used, or undone
   * @throws {ConfigError} for an address that can't be had; everything is as it was then
   */
  async prepare(
    services: readonly Service[],
    needsPort: (service: Service) => boolean = () => true,
  ): Promise<PortsChange> {
    if (this.#isClosed) return { commit() {}, undo() {} };
    const wanted = portsOf(services);
    const ports = new Map<string, ServicePort>();
    for (const [key, service] of wanted) {
      ports.set(key, this.#ports.get(key) ?? this.#portOf(service));
    }
    const added = [...ports.values()].filter((port) => !port.isListening);
    const removed = [...this.#ports].filter(([key]) => !ports.has(key)).map(([, port]) => port);
    // One that goes may be in the way of one that comes.
    const inTheWay = removed.filter((old) => added.some((port) => old.overlaps(port)));
    const undo = async (): Promise<void> => {
      for (const port of added) port.close();
      for (const port of inTheWay) await port.listen();
    };
    const missing = new Map<string, string>();
    try {
      for (const port of inTheWay) port.close();
      for (const port of added) {
        const fault = await faultOf(port);
        if (fault === undefined) continue;
        if (needsPort(port.service)) throw fault;
        missing.set(port.service.name, fault.message);
      }
    } catch (error) {
      await undo();
      throw error;
    }
    return {
      undo,
      commit: () => {
        for (const port of removed) port.close();
        for (const [key, service] of wanted) ports.get(key)!.service = service;
        for (const port of added) if (port.isListening) this.#opened(port);
        this.#ports = new Map([...ports].filter(([, port]) => port.isListening));
        this.#tellMissing(missing);
        if (this.#isClosed) this.close();
      },
    };
  }

  /** Says once which services have no port. */
  #tellMissing(missing: ReadonlyMap<string, string>): void {
    for (const [service, error] of missing) {
      if (this.#missing.has(service)) continue;
      this.#relay.log.error("Could not open the port of a service of the admin API", {
        service,
        error,
      });
    }
    this.#missing = new Set(missing.keys());
  }

  #portOf(service: Service): ServicePort {
    return new ServicePort(this.#relay, service, this.#tls, this.#worker);
  }

  /** Takes no new connections; those that are open go on. */
  close(): void {
    this.#isClosed = true;
    for (const port of this.#ports.values()) port.close();
  }

  #opened(port: ServicePort): void {
    const { service: { name: service }, address, tls } = port;
    port.isInUse = true;
    this.#relay.log.info("Listening", { listener: "service", service, address, tls });
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

/** Opens a port. @returns why its address can't be had */
async function faultOf(port: ServicePort): Promise<ConfigError | undefined> {
  try {
    await port.listen();
    return undefined;
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
}

function keyOf({ name, listen, listenTls }: Service): string {
  const address = listen!.port === 0 ? name : formatAddress(listen!);
  return listenTls ? `${address} tls` : address;
}

/** One port. */
class ServicePort {
  /** The service as it is configured now. */
  service: Service;
  /** Whether its service is in use: nobody is let in before. */
  isInUse = false;
  readonly #relay: Relay;
  readonly #listen: ListenAddress;
  readonly #tls: ServerTls | undefined;
  readonly #worker: PortSharing | undefined;
  #server: ConnectionListener | undefined;
  #address: string | undefined;

  constructor(
    relay: Relay,
    service: Service,
    tls: ServerTls | undefined,
    worker: PortSharing | undefined,
  ) {
    this.#worker = worker;
    this.#relay = relay;
    this.service = service;
    this.#listen = service.listen!;
    this.#tls = service.listenTls ? tls : undefined;
  }

  get isListening(): boolean {
    return this.#server !== undefined;
  }

  /** Where it listens, with the port that 0 stood for. */
  get address(): string {
    return this.#address!;
  }

  /** What clients are shown and asked for: nothing, a certificate, or one from both sides. */
  get tls(): "off" | "on" | "mutual" {
    if (!this.#tls) return "off";
    return this.#tls.clientCa === undefined ? "on" : "mutual";
  }

  /** Whether one of them takes what comes for the other. */
  overlaps(other: ServicePort): boolean {
    return overlap(this.#listen, other.#listen);
  }

  /** @throws {ConfigError} when the address can't be had */
  async listen(): Promise<void> {
    const { hostname, port } = this.#listen;
    const server = this.#createServer();
    try {
      const bind = (port: number) => server.listen(hostname, port);
      const bound = this.#worker && port === 0
        ? await this.#worker.sharePort(`service ${this.service.name}`, bind)
        : await bind(port);
      this.#address = formatAddress(bound);
    } catch (error) {
      const place = `Service "${this.service.name}": listen`;
      throw new ConfigError(listenFailure(place, this.#listen, error));
    }
    this.#server = server;
  }

  /** Handshakes from now on use other certificates. */
  replaceTls(tls: ServerTls): void {
    if (this.#tls) this.#server?.replaceTls(tls);
  }

  /** Takes no new connections; those that are open go on. */
  close(): void {
    this.#server?.stopAccepting();
    this.#server = undefined;
  }

  #createServer(): ConnectionListener {
    const { metrics, log } = this.#relay;
    const about = () => ({ listener: "service", service: this.service.name });
    return new ConnectionListener({
      refuses: (address) => this.#refuses(address),
      tls: this.#tls,
      sharers: this.#worker?.workers,
      connections: { max: maxConnections, maxPerAddress: 0 },
      turnedAway: (limit, peer) => {
        metrics.limitHit(limit);
        this.#refused("too many connections", peer);
      },
      handshakeFailed: ({ reason, detail, peer }) => {
        metrics.tlsHandshakeFailed(reason);
        const fields = { ...about(), reason, peer };
        this.#relay.rateLimitedLog.info("TLS handshake failed", fields, { detail });
      },
      deafened: () => log.error("Reopened a listener that accepted no connections", about()),
    }, (connection) => this.#accept(connection));
  }

  #refuses(address: string): boolean {
    if (!this.isInUse) return true;
    if (allowsAddress(this.service, address)) return false;
    this.#refused("allow does not list the address", address);
    return true;
  }

  #refused(reason: string, peer: string): void {
    const { name: service } = this.service;
    this.#relay.rateLimitedLog.warn("Refused a connection to a service's port", {
      service,
      reason,
      peer,
    });
  }

  #accept(connection: AcceptedConnection): void {
    const { socket, peer } = connection;
    connection.onExpired = () => socket.resetAndDestroy();
    // Until its target is connected, nobody takes what it sends.
    socket.pause();
    const route = this.#relay.services.table.routeByName(this.service.name);
    if (!route) return void socket.resetAndDestroy();
    void serveSocket(this.#relay, { socket: socket as unknown as ByteSocket, peer }, route);
  }
}
