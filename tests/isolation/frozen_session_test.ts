/**
 * A line that goes dead and tells nobody, as when a firewall forgets a connection: keepalive finds it
 * out on both sides, and every stream ends.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { Session } from "../../lib/protocol/session.ts";
import type { SessionOptions } from "../../lib/protocol/session_options.ts";
import { defaultSettings } from "../../lib/protocol/settings.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { HttpServer } from "../../lib/runtime/node/http_server.ts";
import { TcpProxy } from "./tcp_proxy.ts";

const streams = 20;

for (
  const [name, keepalive] of [
    ["", { pingIntervalMs: 250, idleTimeoutMs: 2_000 }],
    [", sooner where streams wait", { idleTimeoutMs: 600_000, answerTimeoutMs: 1_000 }],
  ] as const
) {
  Deno.test(`a session whose line goes dead in silence is found dead by both sides${name}`, async () => {
    await withSessions(keepalive, async ({ proxy, relaySide, agentSide, accepted }) => {
      const ends: string[] = [];
      for (let index = 0; index < streams; index++) {
        recordEnd(relaySide.open("target:1", new Uint8Array(10)), "relay", ends);
      }
      await eventually(() => accepted.length === streams, "the streams to be opened");
      for (const stream of accepted) recordEnd(stream, "agent", ends);
      deepEqual(ends, []);
      proxy.freeze();

      for (const session of [relaySide, agentSide]) {
        const { code, reason, isSilence } = await within(
          session.closed,
          "a dead session to be noticed",
        );
        deepEqual([code, isSilence], [1006, true]);
        match(reason, /^No frame for \d+ s$/);
        equal(session.openStreams, 0);
      }
      const expected = (side: string) => Array.from({ length: streams }, () => `${side}: reset`);
      deepEqual(ends.toSorted(), [...expected("agent"), ...expected("relay")]);
    });
  });
}

/**
 * A message of 64 KiB takes longer than the silence that is allowed, in which the agent gets nothing
 * whole and the relay's Ping waits behind it. A session that went by whole messages would end here.
 */
Deno.test("a session whose slow line is full of bulk is not taken for dead", async () => {
  let arrived = 0;
  const ended = Promise.withResolvers<void>();
  const opened = (stream: Stream): void =>
    stream.listen({
      data(bytes) {
        arrived += bytes.length;
        stream.consumed(bytes.length);
      },
      end: () => ended.resolve(),
      closed: () => ended.reject(new Error("The stream was closed")),
      failed: (error) => ended.reject(error),
      drained() {},
    });
  await withSessions({ answerTimeoutMs: 500 }, async ({ relaySide, agentSide }) => {
    const bulk = new Uint8Array(160 * 1024);
    relaySide.open("target:1", bulk).end();
    await within(ended.promise, () => `the bulk, of which ${arrived} bytes have come`, 60_000);
    equal(arrived, bulk.length);
    deepEqual([relaySide.isClosed, agentSide.isClosed], [false, false]);
  }, { bytesPerSecond: 32 * 1024, window: 1024 * 1024, opened });
});

/** A session, both of its sides, and the line between them. */
interface Sessions {
  readonly proxy: TcpProxy;
  readonly relaySide: Session;
  readonly agentSide: Session;
  /** Streams that the agent's side was asked to open. */
  readonly accepted: readonly Stream[];
}

/** What the line and the sessions of a test are like. */
interface LineOptions {
  readonly bytesPerSecond?: number;
  readonly window?: number;
  /** Deals with the agent's streams. */
  readonly opened?: (stream: Stream) => void;
}

type Keepalive = Pick<SessionOptions, "pingIntervalMs" | "idleTimeoutMs" | "answerTimeoutMs">;

async function withSessions(
  keepalive: Keepalive,
  test: (sessions: Sessions) => Promise<void>,
  { bytesPerSecond, window = defaultSettings.window, opened }: LineOptions = {},
): Promise<void> {
  await using proxy = await TcpProxy.start();
  proxy.bytesPerSecond = bytesPerSecond;
  const atRelay = Promise.withResolvers<Session>();
  const optionsOf = (role: "relay" | "agent"): SessionOptions => ({
    role,
    settings: { ...defaultSettings, window, instance: role, software: "test" },
    offersVersion2: true,
    ...keepalive,
  });
  const relay = await startRelayServer(optionsOf("relay"), (session) => atRelay.resolve(session));
  try {
    proxy.upstream = relay.address;
    const accepted: Stream[] = [];
    const events = {
      opened(stream: Stream) {
        accepted.push(stream);
        opened?.(stream);
      },
    };
    const agentSide = new Session(await dialProxy(proxy), { ...optionsOf("agent"), events });
    const relaySide = await within(atRelay.promise, "the session to be accepted");
    await within(relaySide.ready, "the relay's side to be ready");
    await test({ proxy, relaySide, agentSide, accepted });
    for (const session of [agentSide, relaySide]) session.close(1001, "The test is over");
  } finally {
    relay.server.close();
  }
}

/** A listener that takes whoever comes for an agent. */
async function startRelayServer(
  options: SessionOptions,
  accepted: (session: Session) => void,
): Promise<{ server: HttpServer; address: string }> {
  const server = new HttpServer({
    async fetch(_request, bindings) {
      accepted(new Session(await bindings.acceptWebSocket(), options));
      return bindings.alreadyAnswered;
    },
    limits: defaultHeadLimits,
    connections: { max: 0, maxPerAddress: 0 },
    timeouts: defaultConnectionTimeouts,
    fault: (error) => {
      throw error;
    },
  });
  const { hostname, port } = await server.listen("127.0.0.1", 0);
  return { server, address: `${hostname}:${port}` };
}

async function dialProxy(proxy: TcpProxy) {
  const url = `ws://${proxy.address}/connect`;
  return await dialRelay({ url, token: "any" }, new AbortController().signal);
}

function recordEnd(stream: Stream, side: string, ends: string[]): void {
  stream.listen({
    data: (bytes) => stream.consumed(bytes.length),
    end() {},
    closed: () => ends.push(`${side}: closed`),
    failed: ({ code }) => ends.push(`${side}: ${code}`),
    drained() {},
  });
}
