/** What other relays show, put together with what this one does. */
import type { ClusterStatus, RelayStatus, ServiceStatus, Status } from "../../domain/status.ts";

/** What can be ended at the relay that has it. */
export type EndableKind = "agents" | "streams";

/** The other relays, as far as their status goes. */
export interface OtherRelays {
  /** What each shows, or that it does not answer. Never rejects. */
  read(): Promise<readonly (Status | RelayStatus)[]>;
  /** Ends something, wherever it is. @returns whether it was there */
  end(kind: EndableKind, id: string, by: string): Promise<boolean>;
}

/** The whole picture. */
export function together(own: Status, others: readonly (Status | RelayStatus)[]): Status {
  const all = [own, ...others.filter((other) => "clusters" in other)];
  const silent = others.filter((other): other is RelayStatus => !("clusters" in other));
  const flat = <Key extends "streams" | "certificates" | "reloads" | "limitHits" | "requests">(
    key: Key,
  ) => all.flatMap((status) => status[key] as readonly unknown[]) as unknown as Status[Key];
  return {
    atMs: own.atMs,
    relays: [...all.flatMap(({ relays }) => relays), ...silent],
    clusters: mergeBy(all.flatMap(({ clusters }) => clusters), "id", mergeClusters),
    services: mergeBy(all.flatMap(({ services }) => services), "name", mergeServices),
    streams: [...flat("streams")].sort((a, b) => a.sinceMs - b.sinceMs),
    certificates: flat("certificates"),
    reloads: flat("reloads"),
    limitHits: flat("limitHits"),
    requests: [...flat("requests")].sort((a, b) => b.atMs - a.atMs),
  };
}

function mergeBy<Key extends string, Item extends Readonly<Record<Key, string>>>(
  items: readonly Item[],
  key: Key,
  merge: (a: Item, b: Item) => Item,
): Item[] {
  const merged = new Map<string, Item>();
  for (const item of items) {
    const known = merged.get(item[key]);
    merged.set(item[key], known ? merge(known, item) : item);
  }
  return [...merged.values()].sort((a, b) => (a[key] < b[key] ? -1 : 1));
}

function mergeClusters(a: ClusterStatus, b: ClusterStatus): ClusterStatus {
  const [first, second] = [a.lastDisconnect, b.lastDisconnect];
  const lastDisconnect = (first?.atMs ?? 0) >= (second?.atMs ?? 0) ? first : second;
  return {
    ...a,
    agents: [...a.agents, ...b.agents].sort((one, other) => other.sinceMs - one.sinceMs),
    ...lastDisconnect && { lastDisconnect },
  };
}

function mergeServices(a: ServiceStatus, b: ServiceStatus): ServiceStatus {
  return { ...a, agents: a.agents + b.agents };
}
