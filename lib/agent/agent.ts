/** The agent: keeps a session with the relay and serves what comes through it. */
import type { Log } from "../log.ts";
import { RateLimitedLog } from "../rate_limited_log.ts";
import { type Instruments, noInstruments } from "../instruments.ts";
import type { HeadLimits, RequestHead } from "../http1/head.ts";
import { CloseCode } from "../protocol/errors.ts";
import type { Notice } from "../protocol/announcement.ts";
import type { Session } from "../protocol/session.ts";
import { defaultSettings } from "../protocol/settings.ts";
import type { Stream } from "../protocol/stream.ts";
import type { Tracer } from "../trace.ts";
import { AgentMetrics } from "./metrics.ts";
import { type LinkConfig, type LinkHost, RelayLink } from "./relay_link.ts";
import { factsOf } from "./target.ts";
import type { TargetTable } from "./target_config.ts";
import { type TargetChanges, Targets } from "./targets.ts";

/** What an agent is configured with, and what its runtime lends it. */
export interface AgentConfig extends LinkConfig {
  /** The targets that a relay may ask for; {@link Agent.replaceTargets} replaces them. */
  table: TargetTable;
  /** Sessions that are kept up at once; 1 unless given. */
  connections?: number;
  /** Streams that may be open at once. */
  maxStreams: number;
  head: HeadLimits;
  /** Idle connections to each target, and how long they are kept, in milliseconds. */
  poolSize: number;
  poolIdleTimeoutMs: number;
  version: string;
  /** Where its metrics go; nowhere unless given. */
  instruments?: Instruments | undefined;
  /** Begins spans, where they are wanted. */
  tracer?: Tracer | undefined;
}

/** How often the agent looks whether its tokens have changed or are about to expire. */
const credentialLookMs = 60_000;

/** How often the log is told of lines that it left out, in milliseconds. */
const logSweepMs = 1_000;

/** Runs until it is stopped. */
export class Agent {
  readonly #config: AgentConfig;
  readonly #log: Log;
  readonly targets: Targets;
  /** The log for lines that others can cause as often as they like. */
  readonly rateLimitedLog: RateLimitedLog;
  readonly #links: readonly RelayLink[];
  readonly #stop = new AbortController();
  readonly metrics: AgentMetrics;

  constructor(config: AgentConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.rateLimitedLog = new RateLimitedLog(log);
    this.metrics = new AgentMetrics(
      config.instruments ?? noInstruments,
      () => this.#stats(),
      config.version,
    );
    const { head, poolSize, poolIdleTimeoutMs, tracer } = config;
    this.targets = new Targets({
      ...{ log, metrics: this.metrics, head, poolSize, poolIdleTimeoutMs, tracer },
      pathNotServed: (target, request) => this.#pathNotServed(target, request),
    }, config.table);
    const host: LinkHost = {
      config,
      log,
      metrics: this.metrics,
      settings: {
        ...defaultSettings,
        maxStreams: config.maxStreams,
        instance: crypto.randomUUID(),
        software: `culvert-agent/${config.version}`,
      },
      stopped: this.#stop.signal,
      announcement: () => this.targets.announcement,
      opened: (stream, target, kind) => this.#opened(stream, target, kind),
      noticed: (notice) => this.#noticed(notice),
    };
    const { connections = 1 } = config;
    this.#links = Array.from(
      { length: connections },
      (_, slot) => new RelayLink(host, slot, connections),
    );
  }

  /** Whether a session with the relay is up that takes new requests. */
  get isConnected(): boolean {
    return this.#links.some((link) => link.isConnected);
  }

  /** Requests and upgraded connections that are open. */
  get openRequests(): number {
    return this.#stats().openStreams;
  }

  get #sessions(): Session[] {
    return this.#links.flatMap((link) => [...link.sessions]);
  }

  /** Connects, serves and connects again, until {@link stop} is called. */
  async run(): Promise<void> {
    this.targets.lookAtCredentials();
    const timer = setInterval(() => this.targets.lookAtCredentials(), credentialLookMs);
    const sweep = setInterval(() => this.rateLimitedLog.sweep(), logSweepMs);
    try {
      await Promise.all(this.#links.map((link) => link.run()));
    } finally {
      clearInterval(timer);
      clearInterval(sweep);
      this.rateLimitedLog.sweep(true);
    }
  }

  /** Takes no new requests, lets open ones finish for `graceMs`, and ends. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#sessions.map((session) => session.drain(graceMs)));
    const open = this.#stats().openStreams;
    if (open > 0) {
      this.#log.warn("Breaking off requests: --grace is over", { open, grace_ms: graceMs });
    }
    const sessions = this.#sessions;
    for (const session of sessions) {
      const isOver = session.openStreams > 0;
      const reason = isOver ? "The agent stops, and its --grace is over" : "The agent stops";
      session.close(CloseCode.GoingAway, reason);
    }
    this.targets.close();
    // The last bytes of a response may still be in the socket: they would end with this process.
    await Promise.all(sessions.map((session) => session.disconnected));
  }

  /** Serves other targets from now on, and tells relays; streams that are open go on. */
  replaceTargets(table: TargetTable): TargetChanges {
    const changes = this.targets.replace(table);
    this.targets.lookAtCredentials();
    const { announcement } = this.targets;
    for (const session of this.#sessions) session.announce(announcement);
    return changes;
  }

  /** Connects anew, as when its token has changed; requests that are open finish. */
  renewSessions(): void {
    for (const link of this.#links) link.renew();
  }

  /** Connects at once wherever there is no session, as when the proxy on the way has changed. */
  hurry(): void {
    for (const link of this.#links) link.hurry();
  }

  #opened(stream: Stream, target: string, kind: string): void {
    if (this.targets.serve(stream, target, kind)) return;
    const peer = new URL(this.#config.serverUrl).host;
    const [only, another] = this.targets.table.targets;
    const about = { target: another ? undefined : only?.name, peer };
    this.rateLimitedLog.warn("Refused a request for another target", about, {
      asked: target,
      kind,
    });
  }

  /** Whoever may use the target may ask for any path. */
  #pathNotServed(target: string, request: RequestHead | undefined): void {
    this.metrics.pathNotServed(target);
    const peer = new URL(this.#config.serverUrl).host;
    const message = "No target serves the path of a request";
    this.rateLimitedLog.info(message, { target, peer }, factsOf(request));
  }

  /** A relay may send as many as it likes. */
  #noticed({ code, message }: Notice): void {
    const peer = new URL(this.#config.serverUrl).host;
    this.rateLimitedLog.warn("Notice from the relay", { peer }, { code, reason: message });
  }

  #stats() {
    let openStreams = 0;
    let roundTripMs = 0;
    for (const session of this.#sessions) {
      openStreams += session.openStreams;
      roundTripMs = Math.max(roundTripMs, session.roundTripMs);
    }
    return {
      connections: this.#links.filter((link) => link.isConnected).length,
      openStreams,
      roundTripMs,
      idleUpstreamConnections: this.targets.idleConnections,
      openTcp: this.targets.openConnections(),
    };
  }
}
