/** Operators that are killed between any two writes, whatever they write to. */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { namespaces, secrets, services } from "../../lib/kube/resources.ts";
import {
  accessPolicies,
  clusterTunnels,
  tunnelBindings,
  tunnels,
} from "../../lib/operator/api/crds.ts";
import { eventually } from "../support/deadline.ts";
import type { FakeKube } from "../support/fake_kube.ts";
import type { FakeRelay } from "../support/fake_relay.ts";
import { type Cluster, conditionsOf, type Wrap } from "./harness.ts";

/** Where operators run: a cluster and a relay. */
export interface CrashWorld {
  readonly kube: FakeKube;
  readonly relay: FakeRelay;
  start(wrap?: Wrap): RunningProgram;
}

type RunningProgram = AsyncDisposable & { readonly operator: { readonly isSettled: boolean } };

/** What a user does, and how it is known that all is done. */
export interface Story<World extends CrashWorld = Cluster> {
  readonly name: string;
  /** A cluster as it was before anything. */
  readonly cluster: () => World;
  /** What is there already when the user acts. */
  readonly before: (cluster: World) => void;
  /** Whether all of that is ready. */
  readonly isPrepared: (cluster: World) => boolean;
  readonly act: (cluster: World) => void;
  readonly isDone: (cluster: World) => boolean;
  /** What stands for this cluster's own names, which differ from another's. */
  readonly ownName?: (cluster: World) => string;
  /** What is outside the cluster besides the relay's entries. */
  readonly outside?: (cluster: World) => Promise<unknown>;
}

const patienceMs = 60_000;
/** Operators spend their time waiting: several die at once. */
const deathsAtOnce = 6;

/** Lets so many writes through; then nothing passes any more. */
function mortal(writes: number) {
  const { promise, resolve } = Promise.withResolvers<void>();
  let count = 0;
  const pass = (isWrite: boolean): void => {
    if (count > writes) throw new TypeError("the process has ended");
    if (!isWrite) return;
    if (++count <= writes) return;
    resolve();
    throw new TypeError("the process has ended");
  };
  const wrap: Wrap = {
    kube: (fetch) => async (path, init) => {
      pass(init.method !== "GET");
      return await fetch(path, init);
    },
    relay: (fetch) => async (url, init, ca) => {
      pass(init.method !== "GET");
      return await fetch(url, init, ca);
    },
    cloudflare: (fetch) => async (url, init) => {
      pass(init.method !== "GET");
      return await fetch(url, init);
    },
    dns: (exchange) => async (server, message) => {
      pass(true);
      return await exchange(server, message);
    },
  };
  return { wrap, died: promise, isDead: () => count > writes, seen: () => count };
}

/** Whether the Tunnel and all bindings are ready as they are now. */
export function isReady({ kube }: Cluster): boolean {
  const objects = [...kube.all(tunnels), ...kube.all(tunnelBindings)];
  return objects.length > 1 && objects.every((object) => {
    const { observedGeneration } = (object["status"] ?? {}) as { observedGeneration?: number };
    return observedGeneration === object.metadata.generation &&
      conditionsOf(object).find(({ type }) => type === "Ready")?.status === "True";
  });
}

/** Whether what was there before a story is ready, if anything was. */
export function isPrepared(cluster: Cluster): boolean {
  return cluster.kube.all(tunnels).length === 0 || isReady(cluster);
}

async function settled({ operator }: RunningProgram, isDone: () => boolean, what: string) {
  await eventually(isDone, what, patienceMs);
  await eventually(() => operator.isSettled, "the operator to settle", patienceMs);
}

/** The state in the end, without tokens and what is derived from them. */
async function stateOf<World extends CrashWorld>(
  cluster: World,
  story: Story<World>,
): Promise<unknown> {
  const text = JSON.stringify([
    cluster.kube.state(),
    [...cluster.relay.clusters].sort(),
    [...cluster.relay.services].sort(),
    [...cluster.relay.policies].sort(),
    await story.outside?.(cluster),
  ], (key, value) => key === "annotations" || key === "data" ? Object.keys(value ?? {}) : value);
  const own = story.ownName?.(cluster);
  const neutral = own === undefined ? text : text.replaceAll(own, "OWN");
  // Events tell of what happened on the way.
  const [objects, ...rest] = JSON.parse(
    neutral.replaceAll(/"lastConnected":"[^"]*"/g, '"lastConnected":"TIME"').replaceAll(
      /t-[0-9a-f]{8}\b/g,
      "TOKEN",
    ).replaceAll(/\b[0-9a-f]{64}\b/g, "DIGEST"),
  ) as [[string, unknown][], ...unknown[]];
  return [objects.filter(([key]) => !/^(events|pods) /.test(key)), ...rest];
}

async function prepared<World extends CrashWorld>(story: Story<World>): Promise<World> {
  const cluster = story.cluster();
  story.before(cluster);
  await using running = cluster.start();
  await settled(running, () => story.isPrepared(cluster), "all to be ready");
  return cluster;
}

/** A cluster whose operator has died after so many writes of the story. */
async function died<World extends CrashWorld>(
  story: Story<World>,
  writes: number,
): Promise<World> {
  const cluster = await prepared(story);
  story.act(cluster);
  const fate = mortal(writes);
  await using _ = cluster.start(fate.wrap);
  await eventually(() => fate.isDead() || story.isDone(cluster), "its end", patienceMs);
  return cluster;
}

/** The calm end of a story, and how many writes it takes. */
async function calmEnd<World extends CrashWorld>(
  story: Story<World>,
): Promise<{ state: unknown; writes: number }> {
  const cluster = await prepared(story);
  const all = mortal(Infinity);
  await using running = cluster.start(all.wrap);
  story.act(cluster);
  await settled(running, () => story.isDone(cluster), story.name);
  return { state: await stateOf(cluster, story), writes: all.seen() };
}

async function afterEachWrite(writes: number, test: (count: number) => Promise<void>) {
  const counts = Array.from({ length: writes }, (_, count) => count);
  const workers = Array.from({ length: deathsAtOnce }, async () => {
    for (let count = counts.shift(); count !== undefined; count = counts.shift()) {
      await test(count);
    }
  });
  await Promise.all(workers);
}

/** Kills the operator after each write of a story; the next one comes to the same end. */
export async function assertSameEnd<World extends CrashWorld>(
  story: Story<World>,
): Promise<void> {
  const { state, writes } = await calmEnd(story);
  assert.ok(writes >= 3, `${writes} writes`);
  await afterEachWrite(writes, async (count) => {
    const cluster = await died(story, count);
    await using running = cluster.start();
    await settled(running, () => story.isDone(cluster), `${story.name} after write ${count}`);
    assert.deepEqual(
      await stateOf(cluster, story),
      state,
      `killed after write ${count} of ${writes}`,
    );
  });
}

/**
 * Kills the operator after each write of a story, and deletes everything before the next one starts, as
 * a namespace does that is deleted: users' credentials are gone first.
 */
export async function assertNothingLeft(story: Story): Promise<void> {
  const empty = JSON.stringify(await story.outside?.(story.cluster()));
  const { writes } = await calmEnd(story);
  await afterEachWrite(writes, async (count) => {
    const cluster = await died(story, count);
    const { kube, relay } = cluster;
    for (const { metadata } of kube.all(clusterTunnels)) {
      kube.remove(clusterTunnels, undefined, metadata.name);
    }
    for (const resource of [secrets, services, accessPolicies, tunnelBindings, tunnels]) {
      for (const { metadata } of kube.all(resource)) {
        if (metadata.namespace === "apps") kube.remove(resource, "apps", metadata.name);
      }
    }
    await using running = cluster.start();
    const isGone = () =>
      [clusterTunnels, tunnels, tunnelBindings].every((kind) => kube.all(kind).length === 0);
    await settled(running, isGone, `all to be gone, killed after write ${count} of ${writes}`);
    const left = [relay.clusters, relay.services, relay.policies].flatMap((it) => [...it.keys()]);
    assert.deepEqual(left, [], `at the relay, killed after write ${count} of ${writes}`);
    kube.remove(namespaces, undefined, "apps");
    const kept = kube.all(secrets).map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    assert.deepEqual(kept, ["ops/relay-api"], `killed after write ${count} of ${writes}`);
    assert.equal(
      JSON.stringify(await story.outside?.(cluster)),
      empty,
      `in DNS, killed after write ${count} of ${writes}`,
    );
  });
}

/** The relay is away while a user acts; once it has returned, the end is the same. */
export async function assertSameEndAfterAbsence<World extends CrashWorld>(
  story: Story<World>,
): Promise<void> {
  const { state } = await calmEnd(story);
  const cluster = await prepared(story);
  await using running = cluster.start();
  await eventually(() => running.operator.isSettled, "the operator to settle", patienceMs);
  const { relay } = cluster;
  relay.isAway = true;
  relay.endWatches();
  story.act(cluster);
  const tries = relay.calls.length;
  // Some stories are the cluster's alone.
  const isMissed = () => relay.calls.length > tries + 3 || story.isDone(cluster);
  await eventually(isMissed, "the relay to be missed", patienceMs);
  relay.isAway = false;
  await comesTo(running, cluster, story, state);
}

/** Each write is made, and its answer lost once; the end is the same. */
export async function assertSameEndWithLostAnswers<World extends CrashWorld>(
  story: Story<World>,
): Promise<void> {
  const { state } = await calmEnd(story);
  const cluster = await prepared(story);
  await using running = cluster.start(forgetful());
  story.act(cluster);
  await comesTo(running, cluster, story, state);
}

/** Waits for an end: what failed is tried again later. */
async function comesTo<World extends CrashWorld>(
  running: RunningProgram,
  cluster: World,
  story: Story<World>,
  state: unknown,
): Promise<void> {
  await settled(running, () => story.isDone(cluster), story.name);
  const isSame = async () => isDeepStrictEqual(await stateOf(cluster, story), state);
  await eventually(isSame, `${story.name}: the same end`, patienceMs).catch(() => {});
  assert.deepEqual(await stateOf(cluster, story), state);
}

/** Loses the answer to each write that is new. */
function forgetful(): Wrap {
  const seen = new Set<string>();
  const lose = (...parts: readonly unknown[]) => {
    const key = JSON.stringify(parts);
    if (seen.has(key)) return;
    seen.add(key);
    throw new TypeError("the connection was closed");
  };
  return {
    kube: (fetch) => async (path, init) => {
      const response = await fetch(path, init);
      if (init.method !== "GET") lose(init.method, path);
      return response;
    },
    relay: (fetch) => async (url, init, ca) => {
      const response = await fetch(url, init, ca);
      if (init.method !== "GET") lose(init.method, url, init.body);
      return response;
    },
    cloudflare: (fetch) => async (url, init) => {
      const response = await fetch(url, init);
      if (init.method !== "GET") lose(init.method, url, init.body);
      return response;
    },
    dns: (exchange) => async (server, message) => {
      const answer = await exchange(server, message);
      lose(server, message.length);
      return answer;
    },
  };
}

/** Two operators act on a story at once, and come to the same end as one. */
export async function assertTwoAgree<World extends CrashWorld>(
  story: Story<World>,
): Promise<void> {
  const { state } = await calmEnd(story);
  const cluster = await prepared(story);
  await using one = cluster.start();
  await using two = cluster.start();
  story.act(cluster);
  await settled(one, () => story.isDone(cluster), story.name);
  await settled(two, () => story.isDone(cluster), story.name);
  assert.deepEqual(await stateOf(cluster, story), state);
}
