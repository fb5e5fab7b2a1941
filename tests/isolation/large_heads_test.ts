/**
 * A burst of requests while the agent's line stands still, as a slow line does to a fast caller: they
 * wait their turn, and the session that carries everybody's requests goes on.
 */
import { equal } from "node:assert/strict";
import { eventually, within } from "../support/deadline.ts";
import { readResponse, statusOf } from "../support/raw_http.ts";
import { askSmall, call, metric, relayLogUpToNow, withTunnel } from "./tunnel.ts";

/** Twice what one message of the tunnel may measure. */
const requests = 640;
/** Near what a head may measure. */
const fieldBytes = 50 * 1024;
const timeoutMs = 60_000;

Deno.test("a burst of large heads towards an agent that stands still is answered afterwards", async () => {
  await withTunnel({}, async ({ relay, agent }) => {
    await askSmall(relay);
    const ask = async () => {
      await using caller = await call(relay, "GET", "/small", [
        `X-Large: ${"x".repeat(fieldBytes)}`,
      ]);
      return statusOf(await readResponse(caller.reader));
    };
    Deno.kill(agent.program.pid, "SIGSTOP");
    let answers: Promise<number>[];
    try {
      answers = Array.from({ length: requests }, ask);
      const areHeld = async () =>
        await metric(relay.internalAddress, "tunnel_active_connections") === requests;
      await eventually(areHeld, "the relay to have all requests", timeoutMs);
    } finally {
      Deno.kill(agent.program.pid, "SIGCONT");
    }

    for (const status of await within(Promise.all(answers), "all answers", timeoutMs)) {
      equal(status, 200);
    }
    const log = await relayLogUpToNow(relay);
    equal(log.some(({ message }) => message === "Agent disconnected"), false);
  });
});
