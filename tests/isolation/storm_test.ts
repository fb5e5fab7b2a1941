/** A storm of one cluster's callers, and how long another cluster's callers wait meanwhile. */
import { equal, ok } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import { Program, type RunningRelay, startAgent, startRelay } from "../support/programs.ts";
import { statusOf } from "../support/raw_http.ts";
import { startRawTarget } from "../support/target.ts";
import { service } from "./service.ts";
import { ask, metric } from "./tunnel.ts";

const limits = { requestsPerSecond: 20, openRequests: 10, bytesPerSecond: 2 * 1024 * 1024 };
const connections = 32;
/** Requests of which the middle one counts, so that no pause of the machine does. */
const sampleSize = 40;
const samples = 5;
/** What the others may wait longer by. */
const maxFactor = 5;

/** A relay with a cluster that is limited, and one whose callers are measured. */
async function withClusters(test: (relay: RunningRelay) => Promise<void>): Promise<void> {
  await using target = await startRawTarget(service);
  const tokens = { stormy: "stormy-token-0123456789", calm: "calm-token-0123456789" };
  const entry = (id: keyof typeof tokens) => ({
    id,
    token: tokens[id],
    targetAddr: target.address,
  });
  await using relay = await startRelay({
    clusters: [{ ...entry("stormy"), limits }, entry("calm")],
  });
  const agentOf = (id: keyof typeof tokens) =>
    startAgent({ relayUrl: relay.connectUrl, token: tokens[id], target: target.address });
  await using _stormy = await agentOf("stormy");
  await using _calm = await agentOf("calm");
  await test(relay);
}

/** Milliseconds that a small request to the calm cluster takes: the middle one of several. */
async function medianMs(relay: RunningRelay): Promise<number> {
  const times: number[] = [];
  for (let count = 0; count < sampleSize; count++) {
    const startMs = performance.now();
    equal(statusOf(await ask(relay, "/small", "calm")), 200);
    times.push(performance.now() - startMs);
  }
  return times.toSorted((a, b) => a - b)[sampleSize / 2]!;
}

Deno.test("one cluster's storm of requests leaves another's latency alone", async (t) => {
  for (const path of ["/small", "/piece", "/silent"]) {
    await t.step(`requests for ${path}`, () =>
      withClusters(async (relay) => {
        await medianMs(relay); // The programs get warm.
        const factors: number[] = [];
        // The machine may do other things as well: one quiet pair of samples is enough to show it.
        while (factors.length < samples && !factors.some((factor) => factor <= maxFactor)) {
          factors.push(await factorInStorm(relay, path));
        }
        ok(
          factors.at(-1)! <= maxFactor,
          `it took ${factors.map((x) => x.toFixed(1))} times as long`,
        );
      }));
  }
});

/** How many times as long the calm cluster's callers wait while the other's ask for `path`. */
async function factorInStorm(relay: RunningRelay, path: string): Promise<number> {
  const calmMs = await medianMs(relay);
  const hits = () => metric(relay.internalAddress, "culvert_limit_hits_total");
  const before = await hits();
  await using _storm = Program.startDeno("the storm", [
    ...["run", "--allow-net", new URL("./storm.ts", import.meta.url).pathname],
    ...[relay.tunnelUrl("stormy") + path, String(connections)],
  ]);
  await eventually(async () => await hits() > before + connections, "the storm to begin");
  const stormyMs = await medianMs(relay);
  console.log(`${path}: ${calmMs.toFixed(1)} ms alone, ${stormyMs.toFixed(1)} ms in the storm`);
  return stormyMs / calmMs;
}
