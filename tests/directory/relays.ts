/** Several real relays that share a real Redis, for the tests of this folder. */
import { sha256 } from "../interop/contents.ts";
import { type RunningRelay, startRelay } from "../support/programs.ts";
import type { Redis } from "../support/redis.ts";

/** What the tests' relays show to each other. */
export const relayToken = "relays-of-the-tests-0123456789";

/** Clusters that all relays of the tests know. */
export function clustersFor(targets: Readonly<Record<string, string>>) {
  return Object.entries(targets).map(([id, targetAddr]) => ({
    id,
    token: tokenOf(id),
    targetAddr,
  }));
}

/** The token of a cluster's agents. */
export function tokenOf(cluster: string): string {
  return `token-of-${cluster}-0123456789abcdef`;
}

/** How to start a relay that works with others. */
export interface PeerOptions {
  /** Redis, or a proxy in front of it. */
  readonly directory: string;
  readonly targets: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  /** Holds the relays' tokens; without it all have {@link relayToken}. */
  readonly tokenFile?: string;
  readonly usesTls?: boolean;
  /** What it advertises; 127.0.0.1 without it. */
  readonly host?: string;
  /** Whether to wait until the directory knows it (the default). */
  readonly waitsForDirectory?: boolean;
}

/** Starts a relay that advertises the port it listens on. */
export async function startPeer(options: PeerOptions): Promise<RunningRelay> {
  const { directory, targets, args = [], tokenFile } = options;
  const { usesTls = false, waitsForDirectory = true, host = "127.0.0.1" } = options;
  const advertised = `${usesTls ? "https" : "http"}://${host}:0`;
  const relay = await startRelay({
    clusters: clustersFor(targets),
    args: ["--directory", directory, "--advertise", advertised, ...args],
    env: tokenFile === undefined ? { RELAY_TOKEN: relayToken } : { RELAY_TOKEN_FILE: tokenFile },
  });
  try {
    if (waitsForDirectory) await untilInDirectory(relay);
    return relay;
  } catch (error) {
    await relay.kill();
    throw error;
  }
}

/** Waits for a relay's `times`-th word that the directory is there. */
export async function untilInDirectory(relay: RunningRelay, times = 1): Promise<void> {
  await relay.waitForLogs(times, ({ message }) => message === "The directory is available");
}

/** The value of a metric's series, as Prometheus would read it; 0 when there is none. */
export async function metric(
  { internalAddress }: Pick<RunningRelay, "internalAddress">,
  series: string,
): Promise<number> {
  const response = await fetch(`http://${internalAddress}/metrics`);
  const line = (await response.text()).split("\n").find((line) => line.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

/** The key of a cluster's leases. */
export function clusterKey(cluster: string): string {
  return `culvert:cluster:${sha256(new TextEncoder().encode(cluster))}`;
}

/** Writes a lease as a relay would, of a session that begins now. */
export async function claim(
  redis: Redis,
  relay: string,
  cluster: string,
  more: object,
): Promise<void> {
  const lease = { relay, number: 1, slot: 0, sinceMs: Date.now(), renewedMs: Date.now(), ...more };
  await redis.ask("HSET", clusterKey(cluster), `${relay}/1`, JSON.stringify(lease));
}

/** Writes what says that a relay is alive. */
export async function announce(redis: Redis, relay: string, url: string): Promise<void> {
  await redis.ask("SET", `culvert:relay:${relay}`, JSON.stringify({ url }), "PX", "60000");
}
