/** A client of the fake API server, and caches with times short enough for tests. */
import { Cache, type CacheTiming } from "../../lib/kube/cache.ts";
import { KubeClient, type KubeClientOptions } from "../../lib/kube/client.ts";
import type { KubeMetrics } from "../../lib/kube/metrics.ts";
import type { KubeObject } from "../../lib/kube/objects.ts";
import { configMaps, leases, type Resource, secrets } from "../../lib/kube/resources.ts";
import type { Log } from "../../lib/log.ts";
import { FakeKube } from "../support/fake_kube.ts";

/** A log that keeps its lines. */
export function keptLog(): Log & { lines: string[] } {
  const lines: string[] = [];
  const keep = (level: string) => (message: string, properties?: Record<string, unknown>) => {
    lines.push(`${level}: ${message} ${JSON.stringify(properties ?? {})}`);
  };
  return {
    lines,
    debug: keep("debug"),
    info: keep("info"),
    warn: keep("warn"),
    error: keep("error"),
  };
}

export const quickTiming: CacheTiming = {
  silenceMs: 60_000,
  watchSeconds: 300,
  firstBackoffMs: 1,
  maxBackoffMs: 5,
  missingMs: 5,
};

/** A fake API server and a client of it. */
export function fakeCluster(
  resources: readonly Resource[] = [configMaps, secrets, leases],
  options: Partial<KubeClientOptions> = {},
): { kube: FakeKube; client: KubeClient } {
  const kube = new FakeKube(resources);
  return { kube, client: new KubeClient({ fetch: kube.fetch, fieldManager: "test", ...options }) };
}

/** Counts of a client's metrics. */
export function countedMetrics(): KubeMetrics & { lists: number; ends: string[] } {
  const counts = {
    lists: 0,
    ends: [] as string[],
    requested() {},
    listed() {
      counts.lists++;
    },
    watchEnded(_resource: string, why: string) {
      counts.ends.push(why);
    },
  };
  return counts;
}

/** A cache that runs, with what it told. */
export function runningCache(
  client: KubeClient,
  { metrics, timing, ...rest }: Partial<ConstructorParameters<typeof Cache>[0]> = {},
): AsyncDisposable & { cache: Cache; told: string[] } {
  const told: string[] = [];
  const cache = new Cache({
    client,
    resource: configMaps,
    keep: (object: KubeObject) => object,
    changed: (key, after, before) =>
      told.push(`${before ? after ? "changed" : "gone" : "new"} ${key}`),
    log: keptLog(),
    ...metrics && { metrics },
    timing: timing ?? quickTiming,
    ...rest,
  });
  const stop = new AbortController();
  const running = cache.run(stop.signal);
  return {
    cache,
    told,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

export function configMap(name: string, data: Record<string, string> = {}): KubeObject {
  return { metadata: { name, namespace: "apps" }, data };
}
