/** The relay's listeners: public for agents, internal for callers, and one for probes if asked for. */
import { countFault, errorFields } from "../../../faults.ts";
import { defaultConnectionTimeouts } from "../../../net/http_connection.ts";
import { healthApp, hopApp, internalApp, publicApp, webApp } from "../../../relay/app.ts";
import type { Relay } from "../../../relay/relay.ts";
import type { MetConnectionLimit } from "../../../net/connection_limit.ts";
import type { AppFetch } from "../http_dispatcher.ts";
import { HttpServer } from "../http_server.ts";
import type { ListenAddress } from "../../../config/options/address.ts";
import { listenOn } from "../program.ts";
import {
  boundsOf,
  type ListenerName,
  type ListenersBounds,
  type WebEntrance,
} from "./listener_bounds.ts";
import type { RelaySetup } from "./setup.ts";
import type { RelayServerTls } from "./tls.ts";

/** How often the log is told of lines that it left out, in milliseconds. */
const logSweepMs = 1_000;

/** All listeners of one relay. */
export class RelayListeners {
  readonly #relay: Relay;
  readonly #options: RelaySetup;
  readonly #public: HttpServer;
  readonly #internal: HttpServer;
  readonly #health: HttpServer | undefined;
  readonly #web: HttpServer | undefined;
  readonly #admin: HttpServer | undefined;
  readonly #hop: HttpServer | undefined;
  readonly #webTls: "on" | "off";
  readonly #sweep: ReturnType<typeof setInterval>;
  #peerAddress = "";
  /** Ports that were given in place of 0, by option. */
  readonly ports: Record<string, number> = {};

  constructor(
    relay: Relay,
    options: RelaySetup,
    tls: RelayServerTls | undefined,
    web: WebEntrance = {},
    adminFetch?: AppFetch,
  ) {
    this.#relay = relay;
    this.#webTls = web.certificates ? "on" : "off";
    this.#options = options;
    const bounds = boundsOf(relay, options, tls, web);
    // Who must show a credential to reach one cluster is not to read of all of them.
    const hasMetrics = options.callers.mode === "open" || !options.healthAddr;
    this.#public = this.#serve("public", publicApp(relay).fetch, bounds);
    this.#internal = this.#serve("internal", internalApp(relay, hasMetrics).fetch, bounds);
    this.#web = options.webAddr &&
      this.#serve("web", webApp(relay, options.webRelayHost).fetch, bounds);
    this.#health = options.healthAddr &&
      this.#serve("health", healthApp(relay, options.webRelayHost).fetch, bounds);
    this.#admin = options.admin && adminFetch && this.#serve("admin", adminFetch, bounds);
    this.#hop = options.worker && this.#serve("hop", hopApp(relay).fetch, bounds);
    this.#sweep = setInterval(() => {
      relay.rateLimitedLog.sweep();
      relay.history.measure(Date.now());
    }, logSweepMs);
  }

  /** Where other relays find this one, with the port that 0 stood for: the internal listener, as a rule. */
  get peerAddress(): string {
    return this.#peerAddress;
  }

  /** Binds all of them. @throws {ConfigError} that names the option whose address can't be had. */
  async listen(): Promise<void> {
    const { addr, internalAddr, healthAddr, webAddr, admin, tls, worker } = this.#options;
    const kind = (ca: string | undefined) => tls ? (ca ? "mutual" : "on") : "off";
    const publicAddress = await this.#listen(this.#public, addr, "addr");
    this.#peerAddress = await this.#listen(this.#internal, internalAddr, "internal-addr");
    this.#log("public", publicAddress, kind(tls?.clientCaPem));
    const callersTls = kind(tls?.callerCaPem ?? tls?.clientCaPem);
    this.#log("internal", this.#peerAddress, callersTls);
    if (this.#admin && admin) {
      this.#log("admin", await this.#listen(this.#admin, admin.addr, "admin-addr"), callersTls);
    }
    if (this.#web && webAddr) {
      this.#log("web", await this.#listen(this.#web, webAddr, "web-addr"), this.#webTls);
    }
    if (this.#health && healthAddr) {
      this.#log("health", await this.#listen(this.#health, healthAddr, "health-addr"), "off");
    }
    if (!this.#hop || !worker) return;
    this.#peerAddress = await this.#listen(this.#hop, worker.hopAddress, "workers");
    this.#log("hop", this.#peerAddress, worker.hasOwnStore ? "off" : callersTls);
  }

  async #listen(server: HttpServer, address: ListenAddress, option: string): Promise<string> {
    const bound = await listenOn(server, address, option);
    this.ports[option] = Number(bound.slice(bound.lastIndexOf(":") + 1));
    return bound;
  }

  /** New handshakes get other certificates and CAs; connections that are there are not touched. */
  replaceTls({ agents, callers }: RelayServerTls): void {
    this.#public.replaceTls(agents);
    this.#internal.replaceTls(callers);
    this.#admin?.replaceTls(callers);
    if (!this.#options.worker?.hasOwnStore) this.#hop?.replaceTls(callers);
  }

  /** Each connection is to end with its next answer, while requests are still taken. */
  leave(): void {
    this.#public.leave();
    this.#internal.leave();
    this.#web?.leave();
    this.#admin?.leave();
  }

  /** Takes no new connections, and closes each that is there once it is idle. Probes go on. */
  stopAccepting(): void {
    this.#public.stopAccepting();
    this.#internal.stopAccepting();
    this.#web?.stopAccepting();
    this.#admin?.stopAccepting();
  }

  /** Waits until callers and agents have what was written to them, `ms` at most; then ends all. */
  async close(ms: number): Promise<void> {
    const callers = [this.#public, this.#internal, this.#web, this.#admin];
    await Promise.all(callers.map((server) => server?.drained(ms)));
    this.#public.close();
    this.#internal.close();
    this.#web?.close();
    this.#admin?.close();
    this.#health?.close();
    this.#hop?.close();
    clearInterval(this.#sweep);
    this.#relay.rateLimitedLog.sweep(true);
  }

  #log(listener: string, address: string, tls: string): void {
    this.#relay.log.info("Listening", { listener, address, tls });
  }

  #serve(listener: ListenerName, fetch: AppFetch, bounds: ListenersBounds): HttpServer {
    const { metrics, log, rateLimitedLog } = this.#relay;
    const { headerTimeoutMs: headMs, idleTimeoutMs: stallMs } = this.#options;
    const { isOwn = false, ...others } = bounds[listener];
    const server = new HttpServer({
      fetch,
      ...others,
      sharers: isOwn ? 1 : this.#options.worker?.workers,
      timeouts: { ...defaultConnectionTimeouts, headMs, stallMs },
      turnedAway: this.#turnAway(listener),
      refused: (status, reason, peer) => {
        metrics.requestRefused(status);
        rateLimitedLog.info("Refused a request", { listener, status, peer }, { reason });
      },
      handshakeFailed: ({ reason, detail, peer }) => {
        metrics.tlsHandshakeFailed(reason);
        // A port check is no event.
        const level = reason === "silent" ? "debug" : "info";
        rateLimitedLog[level]("TLS handshake failed", { listener, reason, peer }, { detail });
      },
      proxyHeaderRefused: (reason, peer) => {
        metrics.proxyHeaderRefused(reason);
        rateLimitedLog.warn("Refused a connection without a PROXY header", {
          listener,
          reason,
          peer,
        });
      },
      abused: (reason, peer) => {
        metrics.http2Abused(reason);
        rateLimitedLog.warn("Ended an HTTP/2 connection", { listener, reason, peer });
      },
      deafened: () => log.error("Reopened a listener that accepted no connections", { listener }),
      fault: (error) => {
        countFault("request");
        log.error("Request handler failed", errorFields(error));
      },
    });
    metrics.observeConnections(listener, () => server.openConnections);
    return server;
  }

  #turnAway(listener: ListenerName): (limit: MetConnectionLimit, peer: string) => void {
    const { metrics, rateLimitedLog } = this.#relay;
    return (limit, peer) => {
      metrics.limitHit(limit);
      rateLimitedLog.warn("Refused a connection", { listener, limit, peer });
    };
  }
}
