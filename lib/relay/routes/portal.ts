/** What the portal shows: the services that the policies of now let somebody open. */
import type { Hostname } from "../../domain/hostname.ts";
import { allowsAddress, type Service } from "../../domain/service.ts";
import { anyName } from "../../domain/name_patterns.ts";
import type { Caller } from "../callers/caller.ts";
import { DirectoryError } from "../directory/directory.ts";
import { type ListRequest, pageOf, type PageOfList, withItems } from "../pages/pager.tsx";
import type { Connection, PortalService } from "../pages/portal.tsx";
import type { Relay } from "../relay.ts";

/** Services on one page of the portal. */
const pageSize = 60;

/** Somebody at the login host. */
export interface Visitor {
  readonly caller: Caller;
  /** Their provider: services of another one do not know them. */
  readonly provider: string;
  readonly address: string;
}

/** The services that somebody may open, by their names. */
export async function portalServices(
  relay: Relay,
  scheme: "https" | "http",
  visitor: Visitor,
  list: ListRequest,
): Promise<PageOfList<PortalService>> {
  const open = openServices(relay, visitor);
  const textOf = ({ name, hostnames }: Service) =>
    [name, ...hostnames.map(hostText)].join(" ").toLowerCase();
  const page = pageOf(open, list, pageSize, textOf);
  const items = page.items.map(async (service) => ({
    ...described(service, scheme),
    connection: await connectionOf(relay, service),
  }));
  return withItems(page, await Promise.all(items));
}

/** Configured services, and the hostnames that agents claim here, each as a service. */
function openServices(relay: Relay, visitor: Visitor): Service[] {
  const { table } = relay.services;
  const claimed = table.claimable.flatMap((service) =>
    relay.registry.claimed(service.cluster).filter((name) => table.find(name)?.service === service)
      .map((name) => ({ ...service, name, hostnames: [{ name, port: portOf(service, name) }] }))
  );
  return [...table.services, ...claimed].filter((service) => mayOpen(relay, service, visitor))
    .sort((one, other) => one.name < other.name ? -1 : one.name > other.name ? 1 : 0);
}

const stranger: Caller = { kind: "network", name: "network", clusters: anyName };

function mayOpen(relay: Relay, service: Service, { caller, provider, address }: Visitor): boolean {
  const { policy, audience } = service;
  const requirements = { policy, provider: service.provider, audience };
  const isKnown = service.provider === provider && service.kind !== "tls";
  const peer = { address, isTls: true };
  const attributes = relay.people.attributes(
    isKnown ? caller : stranger,
    peer,
    requirements,
    "anything",
  );
  return relay.people.allows(requirements, attributes) &&
    (service.kind === "http" || allowsAddress(service, address));
}

function portOf({ hostnames }: Service, name: string): number | undefined {
  return hostnames.find((hostname) => hostname.name === name)?.port;
}

function described(
  { name, kind, hostnames }: Service,
  scheme: "https" | "http",
): Omit<PortalService, "connection"> {
  const exact = hostnames.find(({ name }) => !name.startsWith("*."));
  const url = exact && `${scheme}://${hostText(exact)}`;
  return {
    name,
    kind,
    hosts: hostnames.map(hostText),
    ...kind === "http" && url !== undefined && { url: `${url}/` },
    ...kind === "tcp" && url !== undefined && {
      command: `access tcp ${scheme === "https" ? hostText(exact!) : url} --listen 127.0.0.1:0`,
    },
  };
}

function hostText({ name, port }: Hostname): string {
  return port === undefined ? name : `${name}:${port}`;
}

async function connectionOf(relay: Relay, service: Service): Promise<Connection> {
  const { cluster, hostnames: [hostname] } = service;
  const route = hostname && relay.services.table.route(hostname.name, "/");
  const here = route ? relay.registry.serving(cluster, route) : "none";
  if (here === "here") return "connected";
  const elsewhere = await heldElsewhere(relay, cluster);
  if (elsewhere !== "no") return elsewhere === "yes" ? "connected" : "unknown";
  return here === "others" ? "lacks target" : "away";
}

/** Whether another relay says that it holds a session of a cluster. */
async function heldElsewhere(
  { peers }: Relay,
  cluster: string,
): Promise<"yes" | "no" | "unknown"> {
  if (!peers) return "no";
  try {
    const holders = await peers.findHolders(cluster);
    return holders.length > 0 ? "yes" : "no";
  } catch (error) {
    if (error instanceof DirectoryError) return "unknown";
    throw error;
  }
}
