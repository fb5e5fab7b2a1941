/**
 * A line that goes dead and tells nobody, as when a firewall forgets a connection: keepalive finds it
 * out on both sides, and every stream ends.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { within } from "../support/deadline.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { Session, type SessionOptions } from "../../lib/protocol/session.ts";
import { defaultSettings } from "../../lib/protocol/settings.ts";
import type { Stream } from "../../lib/protocol/stream.ts";
import { dialRelay } from "../../lib/runtime/node/dial_relay.ts";
import { HttpServer } from "../../lib/runtime/node/http_server.ts";
import { TcpProxy } from "./tcp_proxy.ts";

/** Short for a test, and long enough that a busy machine is not taken for a dead line. */
const keepalive = { pingIntervalMs: 250, idleTimeoutMs: 2_000 };
const streams = 20;

Deno.test("a session whose line goes dead in silence is found dead by both sides", async () => {
  await using proxy = await TcpProxy.start();
  const accepted = Promise.withResolvers<Session>();
  const relay = await startRelayServer((session) => accepted.resolve(session));
  try {
    proxy.upstream = relay.address;
    const ends: string[] = [];
    const opened = Promise.withResolvers<void>();
    let count = 0;
    const agentSide = new Session(await dialProxy(proxy), {
      ...optionsOf("agent"),
      events: {
        opened(stream) {
          recordEnd(stream, "agent", ends);
          if (++count === streams) opened.resolve();
        },
      },
    });
    const relaySide = await within(accepted.promise, "the session to be accepted");
    await within(relaySide.ready, "the relay's side to be ready");
    for (let index = 0; index < streams; index++) {
      recordEnd(relaySide.open("target:1", new Uint8Array(10)), "relay", ends);
    }
    await within(opened.promise, "the streams to be opened");
    deepEqual(ends, []);
    proxy.freeze();

    for (const session of [relaySide, agentSide]) {
      const { code, reason } = await within(session.closed, "a dead session to be noticed");
      equal(code, 1006);
      match(reason, /^No frame for \d+ s$/);
      equal(session.openStreams, 0);
    }
    const expected = (side: string) => Array.from({ length: streams }, () => `${side}: reset`);
    deepEqual(ends.toSorted(), [...expected("agent"), ...expected("relay")]);
  } finally {
    relay.server.close();
  }
});

function optionsOf(role: "relay" | "agent"): SessionOptions {
  const settings = { ...defaultSettings, instance: role, software: "test" };
  return { role, settings, offersVersion2: true, ...keepalive };
}

/** A listener that takes whoever comes for an agent. */
async function startRelayServer(
  accepted: (session: Session) => void,
): Promise<{ server: HttpServer; address: string }> {
  const server = new HttpServer({
    async fetch(_request, bindings) {
      accepted(new Session(await bindings.acceptWebSocket(), optionsOf("relay")));
      return bindings.alreadyAnswered;
    },
    limits: defaultHeadLimits,
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
    data: (bytes) => stream.taken(bytes.length),
    end() {},
    closed: () => ends.push(`${side}: closed`),
    failed: ({ code }) => ends.push(`${side}: ${code}`),
    drained() {},
  });
}
