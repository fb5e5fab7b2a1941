/** A whole relay in the test's own process: real sockets, and a clock for its sessions to turn. */
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { Relay } from "../../lib/relay/relay.ts";
import { PrometheusInstruments } from "../../lib/runtime/node/prometheus.ts";
import { RelayListeners } from "../../lib/runtime/node/relay/listeners.ts";
import { advertisedUrl, relaysOf } from "../../lib/runtime/node/relay/peers.ts";
import { relayTlsFiles } from "../../lib/runtime/node/relay/tls.ts";
import { eventually } from "../support/deadline.ts";
import { type LogLine, ProgramLog } from "../support/program_log.ts";
import { stopTimers } from "../support/relay_timers.ts";
import { clustersFor, relayToken } from "./relays.ts";

/** In milliseconds of the sessions' clock, which stands still unless it is turned. */
const pingIntervalMs = 10;
const answerTimeoutMs = 50;
/** Small beside those: a greater step would pass for time in which the process had no turn. */
const stepMs = 2;

/** A relay that shares a directory with others. */
export class LocalRelay implements AsyncDisposable {
  readonly relay: Relay;
  readonly log: ProgramLog;
  readonly internalAddress: string;
  readonly publicAddress: string;
  readonly #listeners: RelayListeners;
  readonly #clock: { ms: number };

  private constructor(
    relay: Relay,
    listeners: RelayListeners,
    log: ProgramLog,
    clock: { ms: number },
  ) {
    this.relay = relay;
    this.log = log;
    this.internalAddress = listeners.peerAddress;
    const isPublic = ({ listener }: LogLine) => listener === "public";
    this.publicAddress = String(log.lines.find(isPublic)!.address);
    this.#listeners = listeners;
    this.#clock = clock;
  }

  /** Starts one, and waits until the directory knows it. Its clusters have no targets of their own. */
  static async start(directory: string, clusters: readonly string[]): Promise<LocalRelay> {
    const entries = clustersFor(Object.fromEntries(clusters.map((id) => [id, "target:1"])));
    const parsed = parseRelayOptions([], {
      CLUSTERS: JSON.stringify(entries),
      ADDR: "127.0.0.1:0",
      INTERNAL_ADDR: "127.0.0.1:0",
      DIRECTORY: directory,
      ADVERTISE: "http://127.0.0.1:0",
      RELAY_TOKEN: relayToken,
    });
    if (parsed.kind !== "run") throw new Error("These are options to run with");
    const { options } = parsed;
    const log = new ProgramLog("Log of the relay in this process");
    const add = (message: string, more?: object) => log.add({ ...more, message });
    const clock = { ms: 0 };
    const relay = await Relay.create(
      {
        ...options,
        services: options.services?.services,
        head: defaultHeadLimits,
        version: "0",
      },
      { debug: add, info: add, warn: add, error: add },
      {
        instruments: new PrometheusInstruments(),
        defer: setImmediate,
        relays: await relaysOf(options, await relayTlsFiles(options)),
        keepalive: {
          nowMs: () => clock.ms,
          pingIntervalMs,
          answerTimeoutMs,
          idleTimeoutMs: 3_600_000,
        },
      },
    );
    const listeners = new RelayListeners(relay, options, undefined);
    await listeners.listen();
    const started = new LocalRelay(relay, listeners, log, clock);
    relay.peers!.open(advertisedUrl(options.directory!.advertise, listeners.peerAddress));
    await eventually(() => relay.peers!.directory.isUp, "the directory to be there");
    return started;
  }

  /** Its name in the directory. */
  get name(): string {
    return this.relay.settings.instance;
  }

  /** Sessions that it holds. */
  get sessions(): number {
    return this.relay.registry.size;
  }

  /** Streams that are open in all of them. */
  get openStreams(): number {
    return [...this.relay.registry.all()].reduce(
      (sum, { session }) => sum + session.openStreams,
      0,
    );
  }

  /** Turns the clock until a Ping has been unanswered for too long: so it stays from then on. */
  async untilSuspect(cluster: string): Promise<void> {
    await eventually(() => {
      this.#clock.ms += stepMs;
      return this.relay.registry.pick(cluster)?.session.isSuspect === true;
    }, "the agent's silence to be noticed");
  }

  /** Turns the clock until it holds no session any more. */
  async untilEnded(): Promise<void> {
    await eventually(() => {
      this.#clock.ms += stepMs;
      return this.sessions === 0;
    }, "the session to be taken for dead");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.relay.drain(0);
    await this.#listeners.close(0);
    stopTimers(this.relay);
  }
}
