/** Paths of the API that show what is connected and open, and end it. */
import type { ClusterStatus, StatusSource } from "../domain/status.ts";
import type { PeopleSessions } from "../relay/signin/people_sessions.ts";
import { answer } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { ApiRequest, On } from "./api_request.ts";
import type { AdminAudit } from "./audit.ts";
import { pageOf, type QueryOf } from "./page.ts";
import type { Scope } from "./scope.ts";
import { agentJson, personJson, streamJson } from "./status_json.ts";

/** What they are put together from. */
export interface StatusParts {
  readonly status: StatusSource;
  /** Undefined where nobody signs in. */
  readonly people: () => PeopleSessions | undefined;
  readonly audit: AdminAudit;
}

/** Adds them. */
export function addStatusRoutes({ status, people, audit }: StatusParts, on: On): void {
  addReads(status, on);
  addEnds(status, audit, on);
  addPeopleRoutes(people, audit, on);
}

function addReads(status: StatusParts["status"], on: On): void {
  on("GET", "/status", async ({ exchange, scope }) => {
    const { clusters, streams, ...rest } = await status.read(scope);
    const shown = clusters.map(({ agents, ...cluster }) => ({
      ...cluster,
      agents: agents.map(agentJson),
    }));
    answer(exchange, 200, { ...rest, clusters: shown, streams: streams.map(streamJson) });
  });
  on("GET", "/agents", async ({ exchange, scope, query }) => {
    const { clusters, relays } = await status.read(scope);
    const agents = clusters.flatMap((cluster) => cluster.agents);
    answer(exchange, 200, { ...shownPage(agents, agentJson, query), relays: relays.length });
  });
  on("GET", "/streams", async ({ exchange, scope, query }) => {
    const { streams } = await status.read(scope);
    answer(exchange, 200, shownPage(streams, streamJson, query));
  });
  on("GET", "/clusters/:name/sessions", async (request) => {
    const { agents, lastDisconnect } = await clusterOf(status, request);
    answer(request.exchange, 200, {
      ...shownPage(agents, agentJson, request.query),
      ...lastDisconnect && { lastDisconnect: disconnectJson(lastDisconnect) },
    });
  });
  on("GET", "/clusters/:name/streams", async (request) => {
    const { id, streams } = await clusterOf(status, request);
    const own = streams.filter(({ cluster }) => cluster === id);
    answer(request.exchange, 200, shownPage(own, streamJson, request.query));
  });
}

function addEnds(status: StatusParts["status"], audit: AdminAudit, on: On): void {
  on("DELETE", "/clusters/:name/sessions/:id", async (request) => {
    const { agents } = await clusterOf(status, request);
    const id = request.param("id");
    const isThere = agents.some((agent) => agent.id === id);
    await end(
      request,
      audit,
      { action: "disconnect", kind: "agents", name: id, isThere },
      () => status.disconnectAgent(id, request.scope.token.name, request.scope),
    );
  });
  on("DELETE", "/clusters/:name/streams/:id", async (request) => {
    const { id: cluster, streams } = await clusterOf(status, request);
    const id = request.param("id");
    const isThere = streams.some((stream) => stream.id === id && stream.cluster === cluster);
    await end(
      request,
      audit,
      { action: "end_stream", kind: "streams", name: id, isThere },
      () => status.endStream(id, request.scope.token.name, request.scope),
    );
  });
}

function addPeopleRoutes(
  people: StatusParts["people"],
  audit: AdminAudit,
  on: On,
): void {
  on("GET", "/sessions", async ({ exchange, scope, query }) => {
    checkPeople(scope);
    const user = query("user");
    const page = await people()?.list(user === undefined ? {} : { user });
    const { sessions = [], isComplete = true } = page ?? {};
    answer(exchange, 200, { ...shownPage(sessions, personJson, query), isComplete });
  });
  on("DELETE", "/sessions", async (request) => {
    const { exchange, scope, query } = request;
    checkPeople(scope);
    const user = query("user");
    if (user === undefined || user === "") {
      throw new ApiError(400, "bad_request", "?user= must name whose sessions are to end");
    }
    const subject = { kind: "sessions", name: user } as const;
    await audit.allow(request, "revoke", subject);
    const ended = await people()?.revokeUser(user, scope.token.name) ?? 0;
    audit.done(request, "revoke", subject);
    answer(exchange, 200, { ended });
  });
  on("DELETE", "/sessions/:id", async (request) => {
    checkPeople(request.scope);
    const id = request.param("id");
    const about = { action: "revoke", kind: "sessions", name: id, isThere: true } as const;
    await end(
      request,
      audit,
      about,
      async () => await people()?.revoke(id, request.scope.token.name) ?? false,
    );
  });
}

interface Ending {
  readonly action: "disconnect" | "end_stream" | "revoke";
  readonly kind: "agents" | "streams" | "sessions";
  readonly name: string;
  readonly isThere: boolean;
}

async function end(
  request: ApiRequest,
  audit: AdminAudit,
  { action, isThere, ...subject }: Ending,
  work: () => Promise<boolean>,
): Promise<void> {
  const gone = new ApiError(404, "not_found", `there is no such ${subject.kind.slice(0, -1)}`);
  if (!isThere) throw gone;
  await audit.allow(request, action, subject);
  if (!await work()) return audit.refused(request, action, subject)(gone);
  audit.done(request, action, subject);
  answer(request.exchange, 200, { id: subject.name, ended: true });
}

/** A cluster that a request is for. @throws {ApiError} 403, 404 */
async function clusterOf(status: StatusSource, { scope, param }: ApiRequest) {
  const id = param("name");
  scope.checkName("clusters", id);
  const { clusters, streams } = await status.read(scope);
  const cluster = clusters.find((it) => it.id === id);
  if (!cluster) throw new ApiError(404, "not_found", `there is nothing at clusters/${id}`);
  return { ...cluster, streams };
}

/** Cuts first: what is not shown need not be made. */
function shownPage<Item extends { readonly id: string }>(
  items: readonly Item[],
  toJson: (item: Item) => object,
  query: QueryOf,
) {
  const { items: page, ...rest } = pageOf(items, ({ id }) => id, query);
  return { items: page.map(toJson), ...rest };
}

function disconnectJson(
  { atMs, ...rest }: NonNullable<ClusterStatus["lastDisconnect"]>,
) {
  return { ...rest, at: new Date(atMs).toISOString() };
}

/** @throws {ApiError} unless the token may see people's sessions */
function checkPeople({ token }: Scope): void {
  if (token.people) return;
  const message = 'only tokens with "people": true see people\'s sessions';
  throw new ApiError(403, "out_of_scope", message, { allowed: [] });
}
