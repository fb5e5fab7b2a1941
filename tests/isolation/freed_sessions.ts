/**
 * Opens a session with requests of every kind, lets it die in their middle, again and again, in one
 * process, and says what the heap holds at two points. It is a program of its own because only a
 * process that was started with `--v8-flags=--expose-gc` can collect its garbage when it wants to.
 *
 * Relay and agent are the real ones; TCP and WebSocket are in memory.
 *
 * Arguments: how many sessions to the first point, and to the second. Prints JSON, and ends by itself
 * when nothing is left that keeps a process alive.
 */
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Agent } from "../../lib/agent/agent.ts";
import type { TargetConfig } from "../../lib/agent/target_config.ts";
import type { Log as AgentLog } from "../../lib/log.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import type { RawExchange } from "../../lib/net/raw_exchange.ts";
import { defaultConnectionTimeouts, HttpConnection } from "../../lib/net/http_connection.ts";
import type { MessageSocket, TunnelSocket } from "../../lib/protocol/socket.ts";
import { internalApp, publicApp, type RelayApp } from "../../lib/relay/app.ts";
import { noLimits } from "../../lib/relay/limits/limits.ts";
import { PrometheusInstruments } from "../../lib/runtime/node/prometheus.ts";
import { Relay } from "../../lib/relay/relay.ts";
import { type MemorySocket, memoryTunnel } from "../protocol/memory_tunnel.ts";
import { asByteSocket, MemoryConnection, memoryConnection } from "./memory_connection.ts";

/** Heap and what hangs on it outside, after a garbage collection. */
export interface HeapFigures {
  readonly sessions: number;
  readonly heapBytes: number;
  readonly externalBytes: number;
}

const cluster = "heap";
const token = "heap-token-0123456789";
const target = "target:80";
const tunnelCapacityBytes = 256 * 1024;
const requestsOfAKind = 5;
const bulk = new Uint8Array(64 * 1024);
const encoder = new TextEncoder();

/** Requests of every kind: a download, an upload, one that waits for its answer, an upgrade. */
const kinds = [
  { path: "/download", fields: "" },
  { path: "/upload", fields: "Content-Length: 1000000000\r\n" },
  { path: "/silent", fields: "" },
  { path: "/upgrade", fields: "Connection: Upgrade\r\nUpgrade: raw\r\n" },
] as const;

/** Told of each log line; nothing is written. */
class EventLog implements AgentLog {
  readonly #waiting = new Map<string, () => void>();

  /** Resolves at the next line with this message. */
  next(message: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(message, resolve));
  }

  debug(): void {}
  info(message: string): void {
    const resolve = this.#waiting.get(message);
    this.#waiting.delete(message);
    resolve?.();
  }
  warn(message: string): void {
    this.info(message);
  }
  error(message: string, properties?: Record<string, unknown>): void {
    throw new Error(`${message}: ${JSON.stringify(properties)}`);
  }
}

/** Answers with as much as is taken, according to the path; what comes it drops. */
function startTarget(end: MemoryConnection): void {
  const pump = (): void => {
    while (!end.destroyed && end.write(bulk));
  };
  end.once("data", (head: Uint8Array) => {
    end.on("data", () => {});
    const [, path] = new TextDecoder().decode(head).split(" ");
    if (path === "/upgrade") {
      end.write(
        encoder.encode("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"),
      );
    } else if (path === "/download") {
      end.write(
        encoder.encode("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3b9aca00\r\n"),
      );
    } else {
      return;
    }
    end.on("drain", pump);
    pump();
  });
  end.on("end", () => end.end());
}

/** Everything in one process. */
class Laboratory {
  readonly log: EventLog;
  readonly relay: Relay;
  readonly #public: RelayApp;
  readonly #internal: RelayApp;
  #line: MemorySocket | undefined;
  readonly #agent: Agent;
  readonly #running: Promise<void>;

  private constructor(relay: Relay, log: EventLog) {
    this.relay = relay;
    this.log = log;
    this.#public = publicApp(relay);
    this.#internal = internalApp(relay, true);
    this.#agent = this.#newAgent();
    this.#running = this.#agent.run();
  }

  static async create(): Promise<Laboratory> {
    const log = new EventLog();
    const relay = await Relay.create(
      {
        clusters: [{
          id: cluster,
          tokens: [{ name: "default", token }],
          targetAddr: target,
          impersonation: "strip",
        }],
        callers: { mode: "open" },
        limits: noLimits,
        clusterLimits: noLimits,
        idleTimeoutMs: 0,
        responseTimeoutMs: 5_000,
        maxBodyBytes: 0,
        head: defaultHeadLimits,
        maxStreams: 1024,
        version: "0",
      },
      log,
      { instruments: new PrometheusInstruments(), defer: setImmediate },
    );
    return new Laboratory(relay, log);
  }

  /** Ends the session's line without a word. */
  cutLine(): void {
    this.#line?.terminate();
  }

  /** Sends what no agent sends, for which the relay ends the session. */
  breakProtocol(): void {
    this.#line?.sendText();
  }

  /** Stops the agent, and with it the last thing that keeps this process alive. */
  async stop(): Promise<void> {
    await this.#agent.stop(0);
    await this.#running;
  }

  #newAgent(): Agent {
    const served: TargetConfig = {
      name: target,
      kind: "http",
      address: target,
      host: target,
      usesTls: false,
      identity: "",
      dial: () => {
        const [ours, theirs] = memoryConnection();
        startTarget(theirs);
        return Promise.resolve(asByteSocket(ours));
      },
    };
    return new Agent({
      serverUrl: "memory:",
      table: { targets: [served], hostnames: [] },
      maxRetryMs: 1,
      maxStreams: 1024,
      head: defaultHeadLimits,
      poolSize: 8,
      poolIdleTimeoutMs: 1_000,
      version: "0",
      dialRelay: () => this.#dialRelay(),
    }, new EventLog());
  }

  /** A caller's connection to the relay's internal listener. */
  call(): MemoryConnection {
    return this.#connect(this.#internal, () => Promise.reject(new Error("Agents come elsewhere")));
  }

  #dialRelay(): Promise<TunnelSocket> {
    const [relayEnd, agentEnd] = memoryTunnel(tunnelCapacityBytes);
    this.#line = agentEnd;
    const handshake = this.#connect(this.#public, () => Promise.resolve(relayEnd));
    handshake.write(encoder.encode(
      `GET /connect HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer ${token}\r\n` +
        "Connection: Upgrade\r\nUpgrade: websocket\r\nTunnel-Version: 2\r\n" +
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ));
    return Promise.resolve(agentEnd);
  }

  /** A connection to one of the relay's listeners. */
  #connect(app: RelayApp, accept: () => Promise<MessageSocket>): MemoryConnection {
    const [ours, theirs] = memoryConnection();
    new HttpConnection(asByteSocket(theirs), {
      peer: { address: "memory", isTls: false },
      limits: defaultHeadLimits,
      timeouts: defaultConnectionTimeouts,
      handle: (exchange) => void handle(app, exchange, accept),
      refused: (status, reason) => {
        throw new Error(`The relay refused with ${status}: ${reason}`);
      },
      closed() {},
      nowMs: () => performance.now(),
    });
    return ours;
  }
}

const alreadyAnswered = new Response(null);

/** Has the app deal with a request, as the runtime's listener does. */
async function handle(
  app: RelayApp,
  exchange: RawExchange,
  accept: () => Promise<MessageSocket>,
): Promise<void> {
  const request = new Request(`http://relay${exchange.head.target}`);
  const response = await app.fetch(request, {
    exchange,
    acceptWebSocket() {
      exchange.detach(101);
      return accept();
    },
    alreadyAnswered,
  });
  if (response !== alreadyAnswered) throw new Error(`The relay answered ${response.status}`);
}

/** One session, whose requests are all in their middle when it dies in one of two ways. */
async function liveAndDie(laboratory: Laboratory, how: "cut" | "broken"): Promise<void> {
  const callers = kinds.flatMap(({ path, fields }) =>
    Array.from({ length: requestsOfAKind }, () => {
      const caller = laboratory.call();
      const method = path === "/upload" ? "PUT" : "GET";
      caller.write(encoder.encode(
        `${method} /tunnel/${cluster}${path} HTTP/1.1\r\nHost: relay\r\n${fields}\r\n`,
      ));
      return { path, caller };
    })
  );
  await Promise.all(callers.map(({ path, caller }) => untilUnderWay(path, caller)));
  const { registry } = laboratory.relay;
  const [registration, ...others] = registry.all();
  if (others.length > 0) throw new Error("A dead session is still registered");
  const open = registration?.session.openStreams;
  if (open !== callers.length) throw new Error(`${open} streams instead of ${callers.length}`);

  const ends = callers.map(({ caller }) => caller.closed ? undefined : once(caller, "close"));
  const isBack = laboratory.log.next("Agent connected");
  if (how === "cut") laboratory.cutLine();
  else laboratory.breakProtocol();
  for (const { path, caller } of callers) {
    // Only those whose answer has not begun get one of the relay's, and may go on.
    if (path === "/silent" || path === "/upload") caller.once("data", () => caller.destroy());
    caller.resume();
  }
  await Promise.all(ends);
  await isBack;
}

/** Waits until a request has reached the target and, where there is one, its answer has begun. */
async function untilUnderWay(path: string, caller: MemoryConnection): Promise<void> {
  if (path === "/upload") {
    caller.write(bulk);
    while (caller.write(bulk)) await delay(0);
  } else if (path !== "/silent") {
    await once(caller, "readable");
  }
}

function heapFigures(sessions: number): HeapFigures {
  const { gc } = globalThis as unknown as { gc(): void };
  gc();
  gc();
  const { heapUsed, external } = Deno.memoryUsage();
  return { sessions, heapBytes: heapUsed, externalBytes: external };
}

async function main([first = 200, second = 1_000]: readonly number[]): Promise<void> {
  const laboratory = await Laboratory.create();
  await laboratory.log.next("Agent connected");
  const figures: HeapFigures[] = [];
  for (let count = 1; count <= second; count++) {
    await liveAndDie(laboratory, count % 2 === 1 ? "cut" : "broken");
    if (count === first || count === second) figures.push(heapFigures(count));
  }
  console.log(JSON.stringify(figures));
  await laboratory.stop();
}

if (import.meta.main) await main(Deno.args.map(Number));
