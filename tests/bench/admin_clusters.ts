/**
 * A relay with 10,000 clusters that were added through its admin API: what it needs to take them, to
 * start with them, and to show them. `deno run -A tests/bench/admin_clusters.ts`
 */
import { addressOf, type RunningRelay, startRelay } from "../support/programs.ts";
import { adminTokens, entryFor, tokenOf } from "../admin/world.ts";

const clusterCount = 10_000;
const parallel = 64;
const runs = 15;
const headers = { Authorization: `Bearer ${tokenOf("ops")}` };

async function start(state: string) {
  const startMs = performance.now();
  const relay = await startRelay({
    clusters: [],
    args: ["--admin-addr", "127.0.0.1:0", "--state", state],
    env: { ADMIN_TOKENS: JSON.stringify(adminTokens) },
  });
  const address = await addressOf(relay, "admin");
  return { relay, url: `http://${address}`, tookMs: performance.now() - startMs };
}

async function put(url: string, index: number): Promise<void> {
  const id = `cluster-${index}`;
  const body = JSON.stringify(entryFor(id));
  const response = await fetch(`${url}/admin/v1/clusters/${id}`, { method: "PUT", headers, body });
  await response.body?.cancel();
  if (response.status !== 201) throw new Error(`${id}: ${response.status}`);
}

async function timesOf(url: string, path: string): Promise<string> {
  const times: number[] = [];
  for (let run = 0; run < runs; run++) {
    const startMs = performance.now();
    const response = await fetch(url + path, { headers });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${path}: ${response.status}`);
    if (!text.includes("cluster-")) throw new Error(`${path} shows no cluster`);
    times.push(performance.now() - startMs);
  }
  times.sort((one, other) => one - other);
  return `${times[runs >> 1]!.toFixed(0)} ms, longest ${times.at(-1)!.toFixed(0)} ms`;
}

async function memoryOf(relay: RunningRelay): Promise<string> {
  return `${Math.round(await relay.program.residentBytes() / 1024 ** 2)} MiB`;
}

const folder = await Deno.makeTempDir({ prefix: "culvert-bench-" });
try {
  const first = await start(`${folder}/state`);
  console.log(`start without clusters: ${first.tookMs.toFixed(0)} ms`);
  console.log(`memory: ${await memoryOf(first.relay)}`);
  const startMs = performance.now();
  let next = 0;
  await Promise.all(Array.from({ length: parallel }, async () => {
    while (next < clusterCount) await put(first.url, next++);
  }));
  console.log(`${clusterCount} PUTs: ${((performance.now() - startMs) / 1_000).toFixed(1)} s`);
  console.log(`memory: ${await memoryOf(first.relay)}`);
  await first.relay.stop();
  const second = await start(`${folder}/state`);
  console.log(`start with ${clusterCount} clusters: ${second.tookMs.toFixed(0)} ms`);
  console.log(`memory: ${await memoryOf(second.relay)}`);
  for (
    const path of [
      "/status",
      "/status/clusters?q=cluster-99&page=2",
      "/admin/v1/clusters?limit=500",
    ]
  ) {
    console.log(`${path}: ${await timesOf(second.url, path)}`);
  }
  console.log(`memory: ${await memoryOf(second.relay)}`);
  await second.relay.stop();
} finally {
  await Deno.remove(folder, { recursive: true });
}
