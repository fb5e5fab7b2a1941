/** Clusters and their agents. */
import type { AgentStatus, ClusterStatus } from "../../../domain/status.ts";
import { bytes, count, counted } from "../bytes.ts";
import { type Column, Table } from "../table.tsx";
import { When } from "../time.tsx";
import { visible } from "../visible.ts";
import { shortId } from "./attention.ts";
import { endColumn } from "./end_column.tsx";
import { pathOf, sortLink } from "./links.ts";
import { clusterOrders, type ClusterState, stateOf } from "./lists.ts";
import type { StatusModel } from "./model.ts";
import { ListSection, shown } from "./section.tsx";

/** Agents of one cluster that are shown among other clusters. */
const maxAgents = 8;

/** A cluster with one of its agents, or without any. */
interface Row {
  readonly cluster: ClusterStatus;
  readonly agent: AgentStatus | undefined;
  readonly isFirst: boolean;
  /** Agents that are not shown, behind the last one that is. */
  readonly left: number;
}

/** The list. */
export function Clusters({ status, query, mayAct }: StatusModel) {
  const textOf = ({ id, owner, agents }: ClusterStatus) =>
    [id, owner, ...agents.flatMap((agent) => [agent.instance, agent.address, agent.software])]
      .join(" ");
  const page = shown("clusters", status.clusters, query, clusterOrders, textOf);
  const rows = page.items.flatMap((cluster) => rowsOf(cluster, page.items.length === 1));
  return (
    <ListSection
      {...{ page, query }}
      section="clusters"
      title="Clusters and agents"
      empty="No cluster is configured, or none that you may see."
    >
      <Table
        caption="Clusters and agents"
        rows={rows}
        columns={columns(status.atMs, query, mayAct)}
      />
    </ListSection>
  );
}

function rowsOf(cluster: ClusterStatus, isAlone: boolean): Row[] {
  const { agents } = cluster;
  if (agents.length === 0) return [{ cluster, agent: undefined, isFirst: true, left: 0 }];
  const some = isAlone ? agents : agents.slice(0, maxAgents);
  const left = agents.length - some.length;
  return some.map((agent, index) => ({
    cluster,
    agent,
    isFirst: index === 0,
    left: index === some.length - 1 ? left : 0,
  }));
}

function columns(
  nowMs: number,
  query: StatusModel["query"],
  mayAct: boolean,
): Column<Row>[] {
  const sort = (name: string) => sortLink(query, "clusters", name);
  return [
    { label: "Cluster", sort: sort("name"), cell: (row) => <ClusterCell {...row} /> },
    { label: "State", sort: sort("state"), cell: (row) => <StateCell {...row} /> },
    { label: "Agent", kind: "long", cell: ({ agent }) => agent && <AgentCell agent={agent} /> },
    {
      label: "Connected",
      sort: sort("since"),
      cell: ({ agent }) => agent && <When atMs={agent.sinceMs} nowMs={nowMs} />,
    },
    {
      label: "Round trip",
      kind: "number",
      sort: sort("rtt"),
      cell: ({ agent }) => agent && roundTrip(agent.roundTripMs),
    },
    {
      label: "Streams",
      kind: "number",
      sort: sort("streams"),
      cell: ({ agent }) => agent && count(agent.openStreams),
    },
    {
      label: "Bytes in / out",
      kind: "number",
      sort: sort("bytes"),
      cell: ({ agent }) => agent && `${bytes(agent.bytesIn)} / ${bytes(agent.bytesOut)}`,
    },
    {
      label: "Stalls",
      kind: "number",
      sort: sort("stalls"),
      cell: ({ agent }) => agent && count(agent.windowStalls),
    },
    {
      label: "Last disconnect",
      kind: "long",
      sort: sort("disconnect"),
      cell: ({ cluster, isFirst }) => isFirst && <Disconnect cluster={cluster} nowMs={nowMs} />,
    },
    ...endColumn<Row>(
      mayAct,
      { label: "Disconnect the agent", verb: "Disconnect" },
      ({ agent }) =>
        agent && {
          what: "agent",
          id: agent.id,
          title: `Disconnect agent ${visible(agent.id)} of ${visible(agent.cluster)}`,
        },
    ),
  ];
}

/** The round trip as text; a dash before the first measurement. */
function roundTrip(ms: number): string {
  return ms === 0 ? "–" : ms < 10 ? `${ms.toFixed(1)} ms` : `${count(ms)} ms`;
}

function ClusterCell({ cluster: { id, source, owner, leaseEndsMs }, left }: Row) {
  return (
    <>
      <bdi>{visible(id)}</bdi> {source === "api" && <span class="tag">api</span>}
      {owner !== undefined && <div class="fine">Owner: {visible(owner)}</div>}
      {leaseEndsMs !== undefined && (
        <div class="fine">Lease until {new Date(leaseEndsMs).toISOString().slice(0, 16)}Z</div>
      )}
      {left > 0 && (
        <div class="fine">
          <a href={`${pathOf("clusters")}?${new URLSearchParams({ q: id })}`}>
            {count(left)} more
          </a>
        </div>
      )}
    </>
  );
}

const states: Readonly<Record<ClusterState, readonly [kind: string, text: string]>> = {
  connected: ["good", "Connected"],
  draining: ["warn", "Draining"],
  silent: ["warn", "Not answering"],
  waiting: ["warn", "To be accepted"],
  away: ["bad", "No agent"],
};

function StateCell({ cluster, agent }: Row) {
  const state = agent ? stateOf({ ...cluster, agents: [agent] }) : stateOf(cluster);
  const [kind, text] = states[state];
  return <span class={`state ${kind}`}>{text}</span>;
}

function AgentCell({ agent }: { readonly agent: AgentStatus }) {
  const { instance, slot, address, software, protocolVersion, targets } = agent;
  const id = instance === undefined ? "no instance" : shortId(instance);
  return (
    <>
      <span class="mono" title={instance === undefined ? undefined : visible(instance)}>
        {visible(id)}
        {slot > 0 && `/${slot}`}
      </span>
      <div class="fine mono">{visible(address)}</div>
      <div class="fine">{visible(software ?? `protocol version ${protocolVersion}`)}</div>
      <details id={`agent-${agent.id}`}>
        <summary>{targets ? counted(targets.length, "target") : "More"}</summary>
        <AgentDetails agent={agent} />
      </details>
    </>
  );
}

function AgentDetails({ agent }: { readonly agent: AgentStatus }) {
  const { relay, tokenName, targets, claims } = agent;
  return (
    <dl>
      <dt>Relay</dt>
      <dd class="mono">{visible(shortId(relay))}</dd>
      <dt>Token</dt>
      <dd>{visible(tokenName)}</dd>
      {targets && (
        <>
          <dt>Targets</dt>
          {targets.length === 0 && <dd>none</dd>}
          {targets.map(({ name, kind }) => (
            <dd key={name}>
              <bdi>{visible(name)}</bdi> <span class="tag">{visible(kind)}</span>
            </dd>
          ))}
        </>
      )}
      {claims.length > 0 && (
        <>
          <dt>Claimed hostnames</dt>
          {claims.map((name) => <dd key={name} class="mono">{visible(name)}</dd>)}
        </>
      )}
    </dl>
  );
}

function Disconnect(
  { cluster: { lastDisconnect }, nowMs }: {
    readonly cluster: ClusterStatus;
    readonly nowMs: number;
  },
) {
  if (!lastDisconnect) return <span class="quiet-text">None</span>;
  const { atMs, code, reason, address } = lastDisconnect;
  return (
    <>
      <When atMs={atMs} nowMs={nowMs} />
      <div class="fine">
        <bdi>{visible(reason)}</bdi> ({code}), {visible(address)}
      </div>
    </>
  );
}
