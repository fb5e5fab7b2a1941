/** A thousand callers that do not read: others are served, and memory stays within bounds. */
import { ok } from "node:assert/strict";
import { openStalled } from "../bench/stalled.ts";
import { eventually } from "../support/deadline.ts";
import type { Program } from "../support/programs.ts";
import { piece } from "./service.ts";
import { askSmall, openRequests, type Tunnel, untilOpen, withTunnel } from "./tunnel.ts";

const streams = 1_000;
/**
 * What each side may grow by. Hundreds of MB pass into the kernel's buffers before the streams stall,
 * and leave garbage that V8 is slow to collect, so this is a bound against disasters. That the streams
 * are open at all shows the flow control: without it they would be over, unread. The benchmark, which
 * keeps the kernel's buffers small, knows the real goal.
 */
const maxGrowthBytes = 448 * 1024 * 1024;
const timeoutMs = 60_000;

Deno.test({
  name: "1,000 downloads that nobody reads leave others alone, memory bounded and no trace",
  // The callers' small buffers, without which the system would take the downloads whole, and the
  // figures of memory are Linux's.
  ignore: Deno.build.os !== "linux",
  // The system's library that makes buffers small stays loaded.
  sanitizeResources: false,
  fn: async () => {
    await withTunnel({}, async (tunnel) => {
      const { relay, agent } = tunnel;
      await askSmall(relay);
      const before = await residentBytes(relay.program, agent.program);
      {
        using callers = await openStalled({
          url: new URL(`${relay.tunnelUrl("blue")}/piece`),
          bytes: piece.length,
          count: streams,
          signal: AbortSignal.timeout(timeoutMs),
        });
        await untilMostOpen(tunnel);
        for (let count = 0; count < 100; count++) await askSmall(relay);
        await checkGrowth(tunnel, before);
        await callers.checkOneGoesOn();
      }
      await untilOpen(tunnel, 0, timeoutMs);
      await askSmall(relay);
    });
  },
});

/** Waits for the streams; now and then the system's buffers take one of the downloads whole. */
async function untilMostOpen(tunnel: Tunnel): Promise<void> {
  const least = streams * 0.95;
  let open = await openRequests(tunnel);
  await eventually(
    async () => {
      open = await openRequests(tunnel);
      return open.relay >= least && open.agent >= least;
    },
    () => `${least} open requests on both sides (now ${JSON.stringify(open)})`,
  );
}

async function residentBytes(...programs: readonly Program[]): Promise<number[]> {
  return await Promise.all(programs.map((program) => program.residentBytes()));
}

async function checkGrowth({ relay, agent }: Tunnel, before: readonly number[]): Promise<void> {
  const after = await residentBytes(relay.program, agent.program);
  for (const [index, name] of ["relay", "agent"].entries()) {
    const [from = 0, to = 0] = [before[index], after[index]];
    console.log(`${name}: ${mebibytes(from)} before, ${mebibytes(to)} with ${streams} streams`);
    ok(to - from <= maxGrowthBytes, `the ${name} grew by ${mebibytes(to - from)}`);
  }
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}
