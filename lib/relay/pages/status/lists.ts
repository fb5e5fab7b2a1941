/** Orders of the lists, by the names that URLs have for their columns. */
import type { ClusterStatus, ServiceStatus, StreamStatus } from "../../../domain/status.ts";
import type { SessionRow } from "./model.ts";

/** What a list can be ordered by: the name in the URL, and a value for each item. */
export type Orders<Item> = Readonly<Record<string, (item: Item) => number | string>>;

/** Whether a cluster has an agent, and whether it is well. */
export type ClusterState = "away" | "waiting" | "silent" | "draining" | "connected";

/** The state of the best of a cluster's agents. */
export function stateOf({ agents, isAccepted }: ClusterStatus): ClusterState {
  if (!isAccepted) return "waiting";
  if (agents.length === 0) return "away";
  if (agents.some(({ isSuspect, isDraining }) => !isSuspect && !isDraining)) return "connected";
  return agents.every(({ isSuspect }) => isSuspect) ? "silent" : "draining";
}

const severity: Readonly<Record<ClusterState, number>> = {
  away: 0,
  silent: 1,
  waiting: 2,
  draining: 3,
  connected: 4,
};

const sum = (cluster: ClusterStatus, of: (agent: ClusterStatus["agents"][number]) => number) =>
  cluster.agents.reduce((total, agent) => total + of(agent), 0);

/** Orders of clusters. */
export const clusterOrders: Orders<ClusterStatus> = {
  name: ({ id }) => id,
  state: (cluster) => severity[stateOf(cluster)],
  since: ({ agents }) => Math.max(0, ...agents.map(({ sinceMs }) => sinceMs)),
  rtt: ({ agents }) => Math.max(0, ...agents.map(({ roundTripMs }) => roundTripMs)),
  streams: (cluster) => sum(cluster, ({ openStreams }) => openStreams),
  bytes: (cluster) => sum(cluster, ({ bytesIn, bytesOut }) => bytesIn + bytesOut),
  stalls: (cluster) => sum(cluster, ({ windowStalls }) => windowStalls),
  disconnect: ({ lastDisconnect }) => lastDisconnect?.atMs ?? 0,
};

/** Orders of services. */
export const serviceOrders: Orders<ServiceStatus> = {
  name: ({ name }) => name,
  cluster: ({ cluster }) => cluster,
  policy: ({ policy }) => policy === "public" ? "" : policy,
  agents: ({ agents }) => agents,
};

/** Orders of streams. */
export const streamOrders: Orders<StreamStatus> = {
  since: ({ sinceMs }) => sinceMs,
  who: ({ caller }) => caller ?? "",
  where: ({ service, cluster }) => service ?? cluster,
  bytes: ({ bytesIn = 0, bytesOut = 0 }) => bytesIn + bytesOut,
};

/** Orders of people's sessions. */
export const sessionOrders: Orders<SessionRow> = {
  user: ({ user }) => user,
  since: ({ sinceMs }) => sinceMs,
  used: ({ lastUsedMs }) => lastUsedMs,
};

/** The list in the order that a URL names; as it is for an unknown one. */
export function sorted<Item>(
  list: readonly Item[],
  orders: Orders<Item>,
  sort: string,
): readonly Item[] {
  const name = sort.replace(/^-/, "");
  const value = Object.hasOwn(orders, name) ? orders[name] : undefined;
  if (!value) return list;
  const sign = sort.startsWith("-") ? -1 : 1;
  const keyed = list.map((item) => ({ item, key: value(item) }));
  keyed.sort((one, other) => one.key < other.key ? -sign : one.key > other.key ? sign : 0);
  return keyed.map(({ item }) => item);
}
