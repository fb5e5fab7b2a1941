/** A relay's admin API in this process: owners, scopes, conflicts, and a relay that is away. */
import type { AgentSession, RelayFetch } from "../../lib/operator/relay/relay_api.ts";

/** One token of the API. */
export interface FakeAdminToken {
  /** Ids begin with one of these. */
  readonly prefixes: readonly string[];
  /** Hostnames end with one of these. */
  readonly suffixes: readonly string[];
  readonly maxClusters?: number;
  readonly autoAccept?: boolean;
  /** Begins the names of its policies. */
  readonly name?: string;
}

type Entry = Record<string, unknown>;

/** The relay. */
export class FakeRelay {
  readonly tokens = new Map<string, FakeAdminToken>();
  readonly clusters = new Map<string, Entry>();
  readonly services = new Map<string, Entry>();
  readonly policies = new Map<string, Entry>();
  /** Agents' sessions, as the API lists them. */
  agents: readonly Entry[] = [];
  /** How many relays share their agents, if this one tells. */
  relays: number | undefined;
  /** Method and path of each call, in order. */
  readonly calls: string[] = [];
  isAway = false;
  /** The services of the requests that are under way. */
  streams: readonly string[] = [];
  /** The sessions of a cluster's agents. */
  sessions: (id: string) => readonly AgentSession[] = () => [];

  constructor() {
    this.tokens.set("admin-token", { prefixes: [""], suffixes: [""] });
  }

  /** Calls that change something. */
  get writes(): readonly string[] {
    return this.calls.filter((call) => !call.startsWith("GET"));
  }

  /** Writers of the watches that are open. */
  readonly watches = new Set<(line: unknown) => void>();
  /** Queries of all watches, in order. */
  readonly watchQueries: string[] = [];
  /** Whether versions from before have been forgotten. */
  isExpired = false;
  #version = 0;

  /** Tells watches of a change. */
  tell(type: string, kind: string, object: unknown): void {
    this.#version++;
    for (const write of this.watches) write({ type, kind, object, version: `v-${this.#version}` });
  }

  /** Somebody deletes an entry by hand. */
  lose(kind: "clusters" | "services", name: string): void {
    this[kind].delete(name);
    this.tell("DELETED", kind, kind === "clusters" ? { id: name } : { name });
  }

  /** Cuts all watches. */
  endWatches(): void {
    for (const end of this.#ends) end();
  }

  readonly #ends = new Set<() => void>();

  #watch(query: URLSearchParams, signal: AbortSignal): Response {
    this.watchQueries.push(String(query));
    if (query.has("since") && this.isExpired) {
      return refused(410, "expired", "the version is too old");
    }
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        const write = (line: unknown) =>
          controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
        if (!query.has("since")) {
          for (const id of this.clusters.keys()) {
            write({ type: "ADDED", kind: "clusters", object: { id } });
          }
          for (const name of this.services.keys()) {
            write({ type: "ADDED", kind: "services", object: { name } });
          }
        }
        write({ type: "BOOKMARK", version: `v-${this.#version}` });
        this.watches.add(write);
        const end = () => {
          this.watches.delete(write);
          this.#ends.delete(end);
          controller.error(new TypeError("the connection was closed"));
        };
        this.#ends.add(end);
        signal.addEventListener("abort", end, { once: true });
      },
    });
    return new Response(body);
  }

  readonly fetch: RelayFetch = async (url, { method, headers, body, signal }) => {
    await Promise.resolve();
    const { pathname, searchParams } = new URL(url);
    if (pathname === "/admin/v1/watch") {
      if (this.isAway) throw new TypeError("connection refused");
      return this.#watch(searchParams, signal);
    }
    this.calls.push(`${method} ${pathname}`);
    if (this.isAway) throw new TypeError("connection refused");
    const token = this.tokens.get((headers["authorization"] ?? "").replace("Bearer ", ""));
    if (!token) return answer(401, { error: { code: "unauthorized", message: "unknown token" } });
    const list = /^\/admin\/v1\/([a-z]+)$/.exec(pathname)?.[1];
    if (list !== undefined) {
      const { relays } = this;
      const items = this.#list(list);
      return answer(200, { items, ...list === "agents" && relays !== undefined && { relays } });
    }
    const [, collection = "", id = ""] = /^\/admin\/v1\/([a-z]+)\/(.+)$/.exec(pathname) ?? [];
    const [, sessionsOf] = /^clusters\/([^/]+)\/sessions$/.exec(`${collection}/${id}`) ?? [];
    if (sessionsOf !== undefined) {
      return answer(200, { items: this.sessions(sessionsOf) });
    }
    const [, streamsOf] = /^clusters\/([^/]+)\/streams$/.exec(`${collection}/${id}`) ?? [];
    if (streamsOf !== undefined) {
      const items = this.streams.filter((service) =>
        this.services.get(service)?.["cluster"] === streamsOf
      );
      return answer(200, { items: items.map((service) => ({ service, cluster: streamsOf })) });
    }
    const entries = { clusters: this.clusters, services: this.services, policies: this.policies }[
      collection
    ];
    if (!entries) return answer(404, { error: { code: "not_found", message: "no such path" } });
    const name = decodeURIComponent(id);
    const before = entries.get(name);
    if (method === "GET") {
      return before ? answer(200, { id: name, ...before }) : answer(404, notFound);
    }
    if (method === "DELETE") {
      const isUsed = [...this.services.values()].some(({ cluster }) => cluster === name);
      if (collection === "clusters" && isUsed) return refused(409, "in_use", "services use it");
      const isInUse = [...this.services.values()].some(({ policy }) => policy === name);
      if (collection === "policies" && isInUse) return refused(409, "in_use", "a service uses it");
      entries.delete(name);
      if (before && collection === "services") this.tell("DELETED", "services", { name });
      return answer(before ? 204 : 404, undefined);
    }
    return this.#put(collection, entries, name, JSON.parse(body ?? "{}"), token);
  };

  #list(collection: string): readonly Entry[] {
    if (collection === "agents") return this.agents;
    const entries = collection === "policies" ? this.policies : this.clusters;
    const key = collection === "policies" ? "name" : "id";
    return [...entries].map(([name, entry]) => ({ [key]: name, ...entry }));
  }

  #put(
    collection: string,
    entries: Map<string, Entry>,
    name: string,
    entry: Entry,
    token: FakeAdminToken,
  ): Response {
    const before = entries.get(name);
    if (before && before["owner"] !== entry["owner"]) {
      return refused(409, "other_owner", `${name} belongs to another owner`);
    }
    if (collection === "policies") {
      const prefix = `${token.name ?? "ops"}-`;
      if (!name.startsWith(prefix)) {
        return answer(403, {
          error: { code: "out_of_scope", message: "another's policy", allowed: [`${prefix}*`] },
        });
      }
      const unknown = /"provider":"([^"]*)"/.exec(JSON.stringify(entry))?.[1];
      if (unknown !== undefined) {
        return refused(422, "invalid", `there is no provider "${unknown}"`);
      }
      entries.set(name, entry);
      return answer(before ? 200 : 201, entry);
    }
    const inScope = (text: string) => token.prefixes.some((prefix) => text.startsWith(prefix));
    if (!inScope(collection === "clusters" ? name : String(entry["cluster"]))) {
      return refused(403, "out_of_scope", `ids must begin with ${token.prefixes.join(", ")}`);
    }
    if (collection === "services") {
      const hostnames = entry["hostnames"] as string[];
      const outside = hostnames.find((it) => !token.suffixes.some((end) => it.endsWith(end)));
      if (outside) return refused(403, "out_of_scope", `${outside} is out of scope`);
      const other = [...this.services].find(([key, { hostnames: theirs }]) =>
        key !== name && (theirs as string[]).some((it) => hostnames.includes(it))
      );
      if (other) return refused(409, "hostname_taken", `a hostname is ${other[0]}'s`);
      if (!this.clusters.has(String(entry["cluster"]))) {
        return refused(422, "invalid", "there is no such cluster");
      }
    } else if (!before && this.clusters.size >= (token.maxClusters ?? Infinity)) {
      return refused(429, "too_many_clusters", "the token has no clusters left");
    }
    entries.set(name, entry);
    if (token.autoAccept === false) return answer(202, entry);
    return answer(before ? 200 : 201, entry);
  }
}

const notFound = { error: { code: "not_found", message: "there is no such entry" } };

function answer(status: number, body: unknown): Response {
  return new Response(body === undefined ? null : JSON.stringify(body), { status });
}

function refused(status: number, code: string, message: string): Response {
  return answer(status, { error: { code, message } });
}
