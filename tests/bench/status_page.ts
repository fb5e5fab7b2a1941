/**
 * How long the status page takes at a relay with 10,000 clusters, an agent at each, in the relay's own
 * process and without a network: `deno run -A tests/bench/status_page.ts`.
 */
import { serveFetch } from "../../lib/net/fetch_server.ts";
import type { Registration } from "../../lib/relay/agents/registry.ts";
import { AdminWorld, tokenOf } from "../admin/world.ts";

const clusterCount = 10_000;
const runs = 25;

function register({ relay }: AdminWorld, id: string, openStreams: number): void {
  const session = {
    stats: { bytesIn: openStreams, bytesOut: 2, windowStalls: 0 },
    ...{ takesStreams: true, isSuspect: false, isDraining: false, openStreams },
    ...{ roundTripMs: 1, version: 2, announceDrain() {}, drain: () => Promise.resolve() },
    close() {},
  } as unknown as Registration["session"];
  relay.registry.add({
    session,
    cluster: { id } as Registration["cluster"],
    ...{ tokenName: "default", instance: `instance-${id}`, slot: 0, sinceMs: Date.now() },
    ...{ address: "203.0.113.9", number: relay.nextNumber() },
  });
}

async function timeOf(world: AdminWorld, path: string): Promise<number> {
  const request = new Request(`http://127.0.0.1${path}`, {
    headers: { Authorization: `Bearer ${tokenOf("ops")}` },
  });
  const startMs = performance.now();
  const response = await serveFetch(request, {
    app: (request, bindings) => world.admin.fetch!(request, bindings as never),
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
  await response.text();
  if (response.status !== 200) throw new Error(`${path}: ${response.status}`);
  return performance.now() - startMs;
}

const ids = Array.from({ length: clusterCount }, (_, index) => `cluster-${index}`);
const entries = ids.map((id) => ({ id, token: `agents-of-${id}-0123456789`, targetAddr: "t:443" }));
await using world = await AdminWorld.start({ CLUSTERS: JSON.stringify(entries) });
for (const [index, id] of ids.entries()) register(world, id, index % 7);
for (const path of ["/status", "/status?sort=-streams", "/status?q=cluster-99&page=2"]) {
  const times: number[] = [];
  for (let run = 0; run < runs; run++) times.push(await timeOf(world, path));
  times.sort((one, other) => one - other);
  const [median, longest] = [times[runs >> 1]!, times.at(-1)!];
  console.log(`${path}: ${median.toFixed(0)} ms, longest ${longest.toFixed(0)} ms`);
}
