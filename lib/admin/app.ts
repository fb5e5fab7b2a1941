/** The admin API: one Hono app for its listener. */
import { type Context, Hono } from "hono";
import type { StatusSource } from "../domain/status.ts";
import type { Log } from "../log.ts";
import type { Exchange } from "../net/exchange.ts";
import { Hosts } from "../relay/callers/hosts.ts";
import type { RelayEnv } from "../relay/env.ts";
import type { PeopleSessions } from "../relay/signin/people_sessions.ts";
import { requestIdLine, requestIdOf } from "../relay/forward/request_id.ts";
import { answer, answerError } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { ApiRequest, Handler } from "./api_request.ts";
import type { AdminAudit } from "./audit.ts";
import type { AdminAuth } from "./auth.ts";
import { addEntryRoutes } from "./entry_routes.ts";
import type { EntryOperations } from "./operations.ts";
import type { Scope } from "./scope.ts";
import { openApi } from "./openapi.ts";
import { addStatusRoutes } from "./status_routes.ts";
import type { Watches } from "./watch.ts";

/** What the API is put together from. */
export interface AdminApi {
  readonly auth: AdminAuth;
  /** Names by which it may be asked for, besides addresses and `localhost`; undefined for any. */
  readonly hosts: readonly string[] | undefined;
  readonly operations: EntryOperations;
  readonly status: StatusSource;
  /** Undefined where nobody signs in. */
  readonly people: () => PeopleSessions | undefined;
  readonly watches: Watches;
  /** The relay's version. */
  readonly version: string;
  readonly audit: AdminAudit;
  readonly log: Log;
  /** Answers what is no path of the API's: pages. @returns whether it does */
  readonly pages?: ((exchange: Exchange, auth: AdminAuth) => Promise<boolean>) | undefined;
}

const prefix = "/admin/v1";

/** Makes the app. */
export function adminApp(api: AdminApi): Hono<RelayEnv> {
  const app = new Hono<RelayEnv>();
  const hosts = new Hosts(api.hosts);
  const routes = new Map<string, Map<string, Handler>>();
  const on = (method: string, path: string, handler: Handler): void => {
    const methods = routes.get(path) ?? new Map<string, Handler>();
    routes.set(path, methods.set(method, handler));
  };
  addEntryRoutes(api, on);
  addStatusRoutes(api, on);
  on("GET", "/watch", (request) => api.watches.serve(request));
  on("GET", "/openapi.json", ({ exchange }) => {
    answer(exchange, 200, openApi(api.version));
    return Promise.resolve();
  });
  for (const [path, methods] of routes) {
    const handle = handlerOf(api, hosts, methods);
    app.all(`${prefix}${path}`, handle);
  }
  app.notFound(async ({ env: { exchange, alreadyAnswered } }) => {
    if (refuseHost(hosts, exchange)) return alreadyAnswered;
    if (await api.pages?.(exchange, api.auth)) return alreadyAnswered;
    answerError(
      exchange,
      new ApiError(404, "no_such_path", "the admin API has nothing at this path"),
    );
    return alreadyAnswered;
  });
  return app;
}

function refuseHost(hosts: Hosts, exchange: Exchange): boolean {
  if (!hosts.refuse(exchange.head)) return false;
  const message = "the relay is not known by this name here: --admin-hosts lists its names";
  answerError(exchange, new ApiError(421, "other_host", message));
  return true;
}

function handlerOf(
  api: AdminApi,
  hosts: Hosts,
  methods: ReadonlyMap<string, Handler>,
): (c: Context<RelayEnv>) => Promise<Response> {
  return async (c) => {
    const { exchange, alreadyAnswered } = c.env;
    const requestId = requestIdOf(exchange.head.fields);
    exchange.answerField = requestIdLine(requestId);
    if (refuseHost(hosts, exchange)) return alreadyAnswered;
    const about = { exchange, requestId, param: (name: string) => c.req.param(name) ?? "" };
    const query = (name: string): string | undefined => c.req.query(name);
    await handle(api, methods, { ...about, query });
    return alreadyAnswered;
  };
}

async function handle(
  api: AdminApi,
  methods: ReadonlyMap<string, Handler>,
  request: Omit<ApiRequest, "scope" | "isStillAllowed">,
): Promise<void> {
  const { exchange, requestId } = request;
  const { method, target, fields } = exchange.head;
  const path = target.replace(/\?.*$/, "");
  let scope: Scope | undefined;
  try {
    const identified = await api.auth.identify(fields, exchange.peer);
    const { digest } = identified;
    scope = identified.scope;
    const handler = methods.get(method === "HEAD" ? "GET" : method);
    if (!handler) throw notAllowed(methods);
    const isStillAllowed = (): boolean => api.auth.scopeOf(digest) === scope;
    await handler({ ...request, scope, isStillAllowed });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const { status, code } = error;
    const by = scope?.token.name;
    if (status === 401 || status === 403) {
      api.audit.denied({ requestId, by, method, path, status, code }, exchange.peer);
    }
    answerError(exchange, error);
  }
}

function notAllowed(methods: ReadonlyMap<string, Handler>): ApiError {
  const allow = [...methods.keys()].flatMap((it) => it === "GET" ? ["GET", "HEAD"] : it);
  const message = `this path takes ${allow.join(", ")}`;
  return new ApiError(405, "method_not_allowed", message, {}, { Allow: allow.join(", ") });
}
