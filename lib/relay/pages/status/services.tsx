/** Services, who may use them, and whether they can be reached. */
import type { ServiceStatus } from "../../../domain/status.ts";
import { publicPolicy } from "../../../domain/policy.ts";
import { counted } from "../bytes.ts";
import { type Column, Table } from "../table.tsx";
import { visible } from "../visible.ts";
import { sortLink, statusPath } from "./links.ts";
import { serviceOrders } from "./lists.ts";
import type { StatusModel } from "./model.ts";
import { ListSection, shown } from "./section.tsx";

/** The list. */
export function Services({ status, query, mayAct }: StatusModel) {
  const textOf = ({ name, hostnames, cluster, target, policy }: ServiceStatus) =>
    [name, ...hostnames, cluster, target, policy].join(" ");
  const page = shown("services", status.services, query, serviceOrders, textOf);
  return (
    <ListSection
      {...{ page, query }}
      section="services"
      title="Services"
      empty="No service is configured, or none that you may see."
    >
      <Table caption="Services" rows={page.items} columns={columns(query, mayAct)} />
    </ListSection>
  );
}

function columns(query: StatusModel["query"], mayAct: boolean): Column<ServiceStatus>[] {
  const sort = (name: string) => sortLink(query, "services", name);
  return [
    {
      label: "Service",
      sort: sort("name"),
      cell: ({ name, kind, source }) => (
        <>
          <bdi>{visible(name)}</bdi> <span class="tag">{kind}</span>{" "}
          {source === "api" && <span class="tag">api</span>}
        </>
      ),
    },
    {
      label: "Hostnames",
      cell: ({ hostnames }) =>
        hostnames.map((name) => <div key={name} class="mono">{visible(name)}</div>),
    },
    {
      label: "Cluster",
      sort: sort("cluster"),
      cell: ({ cluster }) => <bdi>{visible(cluster)}</bdi>,
    },
    {
      label: "Target",
      cell: ({ target }) =>
        target === undefined
          ? <span class="quiet-text">claimed</span>
          : <bdi>{visible(target)}</bdi>,
    },
    { label: "Policy", sort: sort("policy"), cell: (service) => <Policy service={service} /> },
    {
      label: "Agents",
      sort: sort("agents"),
      cell: ({ agents }) => (
        <span class={`state ${agents > 0 ? "good" : "bad"}`}>
          {agents > 0 ? counted(agents, "agent") : "No agent serves it"}
        </span>
      ),
    },
    ...mayAct
      ? [{
        label: "Check the service",
        kind: "act" as const,
        cell: ({ name }: ServiceStatus) => (
          <a
            class="button quiet small"
            href={`${statusPath}/check?${new URLSearchParams({ service: name })}`}
            aria-label={`Check ${visible(name)} end to end`}
          >
            Check
          </a>
        ),
      }]
      : [],
  ];
}

function Policy({ service: { policy, provider } }: { readonly service: ServiceStatus }) {
  if (policy === publicPolicy) return <span class="tag warn">public: open to everybody</span>;
  return (
    <>
      <bdi>{visible(policy)}</bdi>
      {provider !== undefined && <div class="fine">Provider: {visible(provider)}</div>}
    </>
  );
}
