/** When an agent connects anew, over sockets that the test plays the relay of. */
import { equal } from "node:assert/strict";
import { Agent } from "../../lib/agent/agent.ts";
import { RelayRefusedError } from "../../lib/agent/relay_errors.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import type { Log } from "../../lib/log.ts";
import type { TunnelSocket } from "../../lib/protocol/socket.ts";
import { ManualSocket } from "../protocol/session_setup.ts";
import { eventually } from "../support/deadline.ts";

const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A socket that has closed as soon as it is told to. */
class ClosingSocket extends ManualSocket {
  override close(code: number, reason: string): void {
    super.close(code, reason);
    this.events.closed(code, reason);
  }
}

/** An agent each of whose dials ends when the test says so. */
function startAgent() {
  const dials: PromiseWithResolvers<TunnelSocket>[] = [];
  const agent = new Agent({
    serverUrl: "wss://relay.test/connect",
    table: { targets: [], hostnames: [] },
    maxRetryMs: 3_600_000,
    maxStreams: 16,
    head: defaultHeadLimits,
    poolSize: 0,
    poolIdleTimeoutMs: 30_000,
    version: "test",
    dialRelay: () => {
      const dial = Promise.withResolvers<TunnelSocket>();
      dials.push(dial);
      return dial.promise;
    },
  }, silentLog);
  const running = agent.run();
  return {
    agent,
    dials,
    async [Symbol.asyncDispose]() {
      const stopped = agent.stop(0);
      dials.at(-1)!.reject(new Error("The agent stops"));
      await stopped;
      await running;
    },
  };
}

Deno.test("an agent whose token changes while it connects uses the new one next", async () => {
  await using running = startAgent();
  const { agent, dials } = running;
  await eventually(() => dials.length === 1, "the first dial");
  agent.renewSessions();
  const socket = new ClosingSocket();
  dials[0]!.resolve(socket);
  await eventually(() => dials.length === 2, "a dial with the new token");
  equal(agent.isConnected, true);
  equal(socket.closedWith, undefined);
});

Deno.test("an agent whose token was refused does not wait if there is a new one by then", async () => {
  await using running = startAgent();
  const { agent, dials } = running;
  await eventually(() => dials.length === 1, "the first dial");
  agent.renewSessions();
  dials[0]!.reject(new RelayRefusedError(401, { retryAfterMs: 3_600_000 }));
  await eventually(() => dials.length === 2, "a dial with the new token");
});

Deno.test("an agent that waits connects at once when told that the way there has changed", async () => {
  await using running = startAgent();
  const { agent, dials } = running;
  await eventually(() => dials.length === 1, "the first dial");
  dials[0]!.reject(new RelayRefusedError(503, { retryAfterMs: 3_600_000 }));
  await eventually(() => {
    agent.hurry();
    return dials.length === 2;
  }, "the second dial");
  const socket = new ClosingSocket();
  dials[1]!.resolve(socket);
  await eventually(() => agent.isConnected, "the session");
  agent.hurry();
  equal(socket.closedWith, undefined, "a session that is up stays");
  socket.close(1001, "The relay goes");
  await eventually(() => dials.length === 3, "the dial after that session, and no other");
});
