/** People's sessions. */
import { type Column, Table } from "../table.tsx";
import { When } from "../time.tsx";
import { visible } from "../visible.ts";
import { endColumn } from "./end_column.tsx";
import { sortLink } from "./links.ts";
import { sessionOrders } from "./lists.ts";
import type { SessionRow, StatusModel } from "./model.ts";
import { ListSection, shown } from "./section.tsx";

/** The list; nothing for those who may not see it. */
export function Sessions({ status, people, query, mayAct }: StatusModel) {
  if (!people) return null;
  const textOf = ({ user, provider, hosts, id }: SessionRow) =>
    [user, provider, ...hosts, id].join(" ");
  const page = shown("sessions", people.sessions, query, sessionOrders, textOf);
  return (
    <ListSection
      {...{ page, query }}
      section="sessions"
      title="People's sessions"
      empty="Nobody is signed in."
    >
      {!people.isComplete && <p class="note warn">There are more sessions than can be listed.</p>}
      <Table
        caption="People's sessions"
        rows={page.items}
        columns={columns(status.atMs, query, mayAct)}
      />
    </ListSection>
  );
}

function columns(
  nowMs: number,
  query: StatusModel["query"],
  mayAct: boolean,
): Column<SessionRow>[] {
  const sort = (name: string) => sortLink(query, "sessions", name);
  return [
    { label: "User", sort: sort("user"), cell: ({ user }) => <bdi>{visible(user)}</bdi> },
    { label: "Provider", cell: ({ provider }) => visible(provider) },
    {
      label: "Hosts",
      cell: ({ hosts }) => hosts.map((host) => <div key={host} class="mono">{visible(host)}</div>),
    },
    {
      label: "Signed in",
      sort: sort("since"),
      cell: ({ sinceMs }) => <When atMs={sinceMs} nowMs={nowMs} />,
    },
    {
      label: "Last used",
      sort: sort("used"),
      cell: ({ lastUsedMs }) => <When atMs={lastUsedMs} nowMs={nowMs} />,
    },
    { label: "Ends", cell: ({ expiresMs }) => <When atMs={expiresMs} nowMs={nowMs} /> },
    { label: "Session", cell: ({ id }) => <code>{visible(id)}</code> },
    ...endColumn<SessionRow>(
      mayAct,
      { label: "Revoke the session", verb: "Revoke" },
      ({ id, user }) => ({
        what: "session",
        id,
        title: `Revoke the session ${visible(id)} of ${visible(user)}`,
      }),
    ),
  ];
}
