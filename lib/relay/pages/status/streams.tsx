/** Requests and connections that are under way, and the latest that are over. */
import type { RequestStatus, StreamStatus } from "../../../domain/status.ts";
import { bytes, count } from "../bytes.ts";
import { type Column, Table } from "../table.tsx";
import { When } from "../time.tsx";
import { visible } from "../visible.ts";
import { endColumn } from "./end_column.tsx";
import { sortLink } from "./links.ts";
import { streamOrders } from "./lists.ts";
import type { StatusModel } from "./model.ts";
import { ListSection, shown } from "./section.tsx";

/** What is open. */
export function Streams({ status, query, mayAct }: StatusModel) {
  const textOf = ({ caller, address, service, cluster, path, requestId }: StreamStatus) =>
    [caller, address, service, cluster, path, requestId].join(" ");
  const page = shown("streams", status.streams, query, streamOrders, textOf);
  return (
    <ListSection
      {...{ page, query }}
      section="streams"
      title="Open streams"
      empty="Nothing is open."
    >
      <Table
        caption="Open streams"
        rows={page.items}
        columns={streamColumns(status.atMs, query, mayAct)}
      />
    </ListSection>
  );
}

function streamColumns(
  nowMs: number,
  query: StatusModel["query"],
  mayAct: boolean,
): Column<StreamStatus>[] {
  const sort = (name: string) => sortLink(query, "streams", name);
  return [
    { label: "Who", sort: sort("who"), cell: (stream) => <Who {...stream} /> },
    {
      label: "Where",
      sort: sort("where"),
      cell: ({ service, cluster, hostname }) => (
        <>
          <bdi>{visible(service ?? cluster)}</bdi>
          {hostname !== undefined && <div class="fine mono">{visible(hostname)}</div>}
        </>
      ),
    },
    {
      label: "What",
      cell: ({ method, path, upgrade }) => (
        <span class="mono">
          {visible(method)} <bdi>{visible(path)}</bdi>
          {upgrade !== undefined && ` (${visible(upgrade)})`}
        </span>
      ),
    },
    {
      label: "Since",
      sort: sort("since"),
      cell: ({ sinceMs }) => <When atMs={sinceMs} nowMs={nowMs} />,
    },
    {
      label: "Bytes in / out",
      kind: "number",
      sort: sort("bytes"),
      cell: ({ bytesIn, bytesOut }) => `${amount(bytesIn)} / ${amount(bytesOut)}`,
    },
    ...endColumn<StreamStatus>(
      mayAct,
      { label: "End the stream", verb: "End" },
      ({ id }) => ({ what: "stream", id, title: `End stream ${visible(id)}` }),
    ),
  ];
}

function amount(number: number | undefined): string {
  return number === undefined ? "–" : bytes(number);
}

function Who({ caller, callerKind, address }: StreamStatus) {
  return (
    <>
      {caller === undefined
        ? <span class="quiet-text">anybody</span>
        : <bdi>{visible(caller)}</bdi>}
      {callerKind !== undefined && (
        <>
          <span class="tag">{visible(callerKind)}</span>
        </>
      )}
      <div class="fine mono">{visible(address)}</div>
    </>
  );
}

/** What is over, of the services that keep it. */
export function Requests({ status, query }: StatusModel) {
  const textOf = ({ caller, service, cluster, path, requestId, status }: RequestStatus) =>
    [caller, service, cluster, path, requestId, status].join(" ");
  const page = shown("requests", status.requests, query, {}, textOf);
  return (
    <ListSection
      {...{ page, query }}
      section="requests"
      title="Latest requests"
      empty="No request is recorded. Services record them only if recentRequests says so."
    >
      <Table caption="Latest requests" rows={page.items} columns={requestColumns(status.atMs)} />
    </ListSection>
  );
}

function requestColumns(nowMs: number): Column<RequestStatus>[] {
  return [
    { label: "When", cell: ({ atMs }) => <When atMs={atMs} nowMs={nowMs} /> },
    {
      label: "Who",
      cell: ({ caller }) =>
        caller === undefined
          ? <span class="quiet-text">anybody</span>
          : <bdi>{visible(caller)}</bdi>,
    },
    { label: "Where", cell: ({ service, cluster }) => <bdi>{visible(service ?? cluster)}</bdi> },
    {
      label: "What",
      cell: ({ method, path }) => (
        <span class="mono">
          {visible(method)} <bdi>{visible(path)}</bdi>
        </span>
      ),
    },
    {
      label: "Status",
      kind: "number",
      cell: ({ status }) => (
        <span class={status >= 500 ? "bad" : status >= 400 ? "warn" : undefined}>
          {status === 0 ? "none" : status}
        </span>
      ),
    },
    { label: "Took", kind: "number", cell: ({ ms }) => `${count(ms)} ms` },
    { label: "Bytes", kind: "number", cell: (request) => bytes(request.bytes) },
    { label: "Request", cell: ({ requestId }) => <code>{visible(requestId)}</code> },
  ];
}
