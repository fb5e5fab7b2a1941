/** The portal: what somebody who has signed in may open, and where else they are signed in. */
import type { ServiceKind } from "../../domain/service.ts";
import { Name } from "./page.tsx";
import { type PageOfList, Pager } from "./pager.tsx";
import { Table } from "./table.tsx";
import { utc, When } from "./time.tsx";
import { visible } from "./visible.ts";

/** Whether a service's requests would find an agent; `unknown` while the directory is unavailable. */
export type Connection = "connected" | "away" | "lacks target" | "unknown";

/** A service that somebody may open. */
export interface PortalService {
  readonly name: string;
  readonly kind: ServiceKind;
  /** Its hostnames, with the ports that their URLs have. */
  readonly hosts: readonly string[];
  /** What to open; undefined where all hostnames are wildcards, and for other kinds than `http`. */
  readonly url?: string | undefined;
  /** A command that opens a port of the person's own machine; for kind `tcp` only. */
  readonly command?: string | undefined;
  readonly connection: Connection;
}

/** One of somebody's sessions. */
export interface PortalSession {
  readonly id: string;
  readonly provider: string;
  /** Hostnames of the services that were opened with it. */
  readonly hosts: readonly string[];
  readonly sinceMs: number;
  readonly lastUsedMs: number;
  readonly expiresMs: number;
  /** Whether it is the one that asks. */
  readonly isThis: boolean;
}

/** What the portal shows. */
export interface PortalProps {
  readonly services: PageOfList<PortalService>;
  readonly sessions: readonly PortalSession[];
  readonly nowMs: number;
}

/** @see PortalProps */
export function Portal({ services, sessions, nowMs }: PortalProps) {
  return (
    <>
      <section aria-label="Services">
        <Search services={services} />
        <ServiceCards services={services} />
        <Pager page={services} path="/" />
      </section>
      <section aria-labelledby="sessions">
        <div class="heading">
          <h2 id="sessions">Your sessions</h2>
        </div>
        <SessionTable {...{ sessions, nowMs }} />
      </section>
    </>
  );
}

/** Fewer services are seen at a glance. */
const searchFrom = 9;

function Search({ services: { query, all } }: Pick<PortalProps, "services">) {
  if (all < searchFrom) return null;
  return (
    <form class="search" role="search" action="/" method="get">
      <input type="search" name="q" value={query} aria-label="Search services" maxlength={100} />
      <button class="quiet" type="submit">Search</button>
    </form>
  );
}

function ServiceCards({ services: { items, query, all } }: Pick<PortalProps, "services">) {
  if (items.length === 0) {
    return all === 0
      ? <p class="empty">No service lets you in. Ask whoever operates the relay.</p>
      : (
        <p class="empty">
          No service matches <bdi>{visible(query)}</bdi>. <a href="/">Show all</a>
        </p>
      );
  }
  return (
    <ul class="cards">
      {items.map((service) => <ServiceCard key={service.name} service={service} />)}
    </ul>
  );
}

function ServiceCard({ service }: { readonly service: PortalService }) {
  const { name, kind, hosts, url, command, connection } = service;
  const title = visible(name);
  return (
    <li>
      <div class="row">
        {url === undefined ? <h2 class="name">{title}</h2> : (
          <h2 class="name">
            <a class="whole" href={url}>{title}</a>
          </h2>
        )}
        <span class="tag">{kind}</span>
      </div>
      {hosts.map((host) => <span key={host} class="mono quiet-text">{visible(host)}</span>)}
      {command !== undefined && <code class="command" tabindex={0}>{visible(command, 1_000)}</code>}
      {kind === "tls" && (
        <span class="fine">Connect with TLS; the relay passes it on unopened.</span>
      )}
      <ConnectionState connection={connection} />
    </li>
  );
}

const states: Readonly<Record<Connection, readonly [kind: string, text: string]>> = {
  connected: ["good", "Connected"],
  away: ["bad", "No agent connected"],
  "lacks target": ["warn", "No agent serves its target"],
  unknown: ["none", "Connection unknown"],
};

/** Says whether a service's agent is there: by words, and by color for those who see it. */
export function ConnectionState({ connection }: { readonly connection: Connection }) {
  const [kind, text] = states[connection];
  return <span class={`state ${kind}`}>{text}</span>;
}

function SessionTable({ sessions, nowMs }: Pick<PortalProps, "sessions" | "nowMs">) {
  return (
    <Table
      caption="Your sessions"
      rows={sessions}
      columns={[
        {
          label: "Signed in",
          cell: ({ sinceMs, isThis }) => (
            <>
              <When atMs={sinceMs} nowMs={nowMs} /> {isThis && <span class="tag">this one</span>}
            </>
          ),
        },
        { label: "Provider", cell: ({ provider }) => <Name>{provider}</Name> },
        {
          label: "Opened",
          kind: "long",
          cell: ({ hosts }) =>
            hosts.length > 0 &&
            hosts.map((host) => <div key={host} class="mono">{visible(host)}</div>),
        },
        { label: "Last used", cell: ({ lastUsedMs }) => <When atMs={lastUsedMs} nowMs={nowMs} /> },
        {
          label: "Ends",
          cell: ({ expiresMs }) => <When atMs={expiresMs} nowMs={nowMs} />,
        },
        { label: "Session", cell: ({ id }) => <code>{visible(id)}</code> },
        {
          label: "End the session",
          kind: "act",
          cell: (session) => <EndSession {...session} />,
        },
      ]}
    />
  );
}

function EndSession({ id, isThis, sinceMs }: PortalSession) {
  return (
    <form method="post" action={isThis ? "/.culvert/logout" : "/.culvert/sessions"}>
      <input type="hidden" name="session" value={id} />
      <button
        class="danger small"
        type="submit"
        aria-label={isThis ? "Sign out" : `End the session of ${utc(sinceMs)}`}
      >
        {isThis ? "Sign out" : "End"}
      </button>
    </form>
  );
}

/** Who is signed in, and the way out, for the bar above. */
export function Account(
  { username, path, status }: {
    readonly username: string;
    readonly path: "/" | "/status";
    /** Whether they may see the status page. */
    readonly status: boolean;
  },
) {
  const current = (of: string) => of === path ? { "aria-current": "page" as const } : {};
  return (
    <>
      {status && (
        <nav aria-label="Pages">
          <a href="/" {...current("/")}>Services</a>
          <a href="/status" {...current("/status")}>Status</a>
        </nav>
      )}
      <div class="account">
        <Name>{username}</Name>
        <form method="post" action="/.culvert/logout">
          <button class="quiet small" type="submit">Sign out</button>
        </form>
      </div>
    </>
  );
}
