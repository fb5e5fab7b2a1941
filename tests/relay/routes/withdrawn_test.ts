/** A credential that is withdrawn between the look at it and the request that it is for. */
import { deepEqual, equal } from "node:assert/strict";
import { defaultHeadLimits } from "../../../lib/http1/head.ts";
import type { Log } from "../../../lib/log.ts";
import { serveFetch } from "../../../lib/net/fetch_server.ts";
import { edgeApp } from "../../../lib/relay/edge_app.ts";
import { noLimits } from "../../../lib/relay/limits/limits.ts";
import { Relay } from "../../../lib/relay/relay.ts";

const token = { name: "ci", token: "token-of-the-caller", clusters: ["dev"] };

/** A relay without agents, and what it logs as warnings. */
async function createRelay(openRequests = 0): Promise<{ relay: Relay; warnings: unknown[] }> {
  const warnings: unknown[] = [];
  const log: Log = {
    debug() {},
    info() {},
    warn: (message, fields) => void warnings.push([message, fields?.["reason"]]),
    error() {},
  };
  const relay = await Relay.create(
    {
      clusters: [],
      callers: { mode: "known", tokens: [token] },
      limits: { ...noLimits, openRequests },
      clusterLimits: noLimits,
      idleTimeoutMs: 0,
      responseTimeoutMs: 0,
      maxBodyBytes: 0,
      head: defaultHeadLimits,
      maxStreams: 1,
      version: "0",
    },
    log,
    { defer: setImmediate },
  );
  return { relay, warnings };
}

async function ask(relay: Relay): Promise<[number, string]> {
  const request = new Request("http://relay/tunnel/dev/", {
    headers: { authorization: `Bearer ${token.token}` },
  });
  const app = edgeApp(relay);
  const response = await serveFetch(request, {
    app: (request, bindings) => app.fetch(request, bindings),
    peer: { address: "192.0.2.1", isTls: true },
    host: {
      upgrade: () => {
        throw new Error("No upgrade was asked for");
      },
      copiesOnSend: true,
    },
    fault: (error) => {
      throw error;
    },
  });
  const { error } = await response.json();
  return [response.status, error.code];
}

Deno.test("a request whose token is withdrawn once it was looked at is refused with 401", async () => {
  const { relay, warnings } = await createRelay();
  deepEqual(await ask(relay), [502, "cluster_not_available"]);
  const { callers } = relay;
  const identify = callers.identify.bind(callers);
  callers.identify = async (request) => {
    const identity = await identify(request);
    await callers.replaceTokens([]);
    return identity;
  };
  deepEqual(await ask(relay), [401, "caller_unknown"]);
  deepEqual(warnings.at(-1), ["Refused a caller", "withdrawn"]);
  equal(callers.open.size, 0);
});

Deno.test("a request whose token was withdrawn gives its place among the open ones back", async () => {
  const { relay } = await createRelay(1);
  const { callers } = relay;
  const identify = callers.identify.bind(callers);
  let isWithdrawn = true;
  callers.identify = async (request) => {
    const identity = await identify(request);
    await callers.replaceTokens(isWithdrawn ? [] : [token]);
    return identity;
  };
  deepEqual(await ask(relay), [401, "caller_unknown"]);
  isWithdrawn = false;
  await callers.replaceTokens([token]);
  deepEqual(await ask(relay), [502, "cluster_not_available"]);
});
