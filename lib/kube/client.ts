/**
 * A client of the Kubernetes API: the verbs that this program needs, each bounded in time and size.
 * How bytes reach the API server is passed in.
 */
import type { ApiRequest } from "../api_request.ts";
import { messageOf } from "../message_of.ts";
import { textOf } from "../response_text.ts";
import { delay, within } from "./delay.ts";
import { isConflict, isNotFound, KubeError, KubeUnreachable } from "./errors.ts";
import { jsonLines } from "./json_lines.ts";
import { type KubeMetrics, noKubeMetrics } from "./metrics.ts";
import type { KubeObject } from "./objects.ts";
import { apiVersionOf, type ObjectPath, pathOf, type Resource } from "./resources.ts";
import { SilenceDeadline } from "./silence.ts";
import { Slots } from "./slots.ts";

/** Sends one request to the API server. `path` begins with `/` and has the query. */
export type KubeFetch = (path: string, init: ApiRequest) => Promise<Response>;

/** What a client runs with. */
export interface KubeClientOptions {
  readonly fetch: KubeFetch;
  /** Who applies fields, as `managedFields` has it. */
  readonly fieldManager: string;
  /** Called before each write; throws if this process must not write now. */
  readonly mayWrite?: (write: KubeWrite) => void;
  readonly metrics?: KubeMetrics;
  /** How long an answer may take, its body included, in milliseconds. Watches have their own deadline. */
  readonly timeoutMs?: number;
  readonly pageSize?: number;
}

/** A request that changes something. */
export interface KubeWrite {
  readonly method: string;
  readonly path: string;
}

/** Which objects of a kind are listed or watched. */
export interface Selection {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

/** One line of a watch. */
export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK";
  readonly object: KubeObject;
}

/** A whole collection at one resource version. */
export interface ObjectList {
  readonly items: readonly KubeObject[];
  readonly resourceVersion: string;
}

/** How a watch is followed. */
export interface WatchOptions {
  readonly resourceVersion: string;
  /** When the API server ends it in order. */
  readonly timeoutSeconds: number;
  /** A watch without a byte for so long is dead; bookmarks come each minute. */
  readonly silenceMs: number;
  readonly signal: AbortSignal;
}

const defaultTimeoutMs = 30_000;
const defaultPageSize = 250;
/** Requests at once, watches aside. */
const maxRequests = 16;
/** The maximum size of an answer. Only a page of objects of etcd's maximum size would be larger. */
const maxBodyBytes = 128 * 1024 * 1024;
/** Tries of a request that the API server asks to send again later. */
const maxTries = 4;
/** The longest `Retry-After` that is waited for within a request. */
const maxRetryAfterMs = 30_000;
const defaultRetryAfterMs = 1_000;

/** Talks to one API server. */
export class KubeClient {
  readonly #options: KubeClientOptions;
  readonly #metrics: KubeMetrics;
  readonly #timeoutMs: number;
  readonly #slots = new Slots(maxRequests);
  /** Nothing is sent before, as the API server asked for it. */
  #pausedUntilMs = 0;

  constructor(options: KubeClientOptions) {
    this.#options = options;
    this.#metrics = options.metrics ?? noKubeMetrics;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  /** Reads one object. @throws {KubeError} with status 404 if there is none */
  async get(resource: Resource, at: ObjectPath): Promise<KubeObject> {
    return await this.#object({ verb: "get", resource, method: "GET", at });
  }

  /** Reads one object; undefined if there is none. */
  async find(resource: Resource, at: ObjectPath): Promise<KubeObject | undefined> {
    try {
      return await this.get(resource, at);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  /** Reads a whole collection, page by page. */
  async list(resource: Resource, selection: Selection = {}): Promise<ObjectList> {
    this.#metrics.listed(resource.plural);
    const items: KubeObject[] = [];
    let token = "";
    for (;;) {
      const query = queryOf(selection, {
        limit: String(this.#options.pageSize ?? defaultPageSize),
        ...token !== "" && { continue: token },
      });
      const answer = await this.#object({
        ...{ verb: "list", resource, method: "GET", query },
        at: { namespace: selection.namespace },
      });
      const page = checkedPage(answer, resource);
      items.push(...page.items);
      if (page.token === "") return { items, resourceVersion: page.resourceVersion };
      token = page.token;
    }
  }

  /** Follows the changes of a collection. Ends in order when the API server ends it. */
  async *watch(
    resource: Resource,
    selection: Selection,
    { resourceVersion, timeoutSeconds, silenceMs, signal }: WatchOptions,
  ): AsyncGenerator<WatchEvent> {
    const ended = new AbortController();
    const end = () => ended.abort();
    signal.addEventListener("abort", end);
    const silence = new SilenceDeadline(silenceMs, end);
    try {
      if (signal.aborted) return;
      silence.heard();
      const query = queryOf(selection, {
        watch: "true",
        allowWatchBookmarks: "true",
        ...{ resourceVersion, timeoutSeconds: String(timeoutSeconds) },
      });
      const at = { namespace: selection.namespace };
      const request = { verb: "watch", resource, method: "GET", query, at };
      const response = await Promise.race([this.#send(request, ended.signal), silence.failure]);
      if (!response.ok) throw await errorOf(response);
      for await (const line of jsonLines(response.body, silence)) yield eventOf(line);
    } finally {
      silence.stop();
      signal.removeEventListener("abort", end);
      end();
    }
  }

  /** Creates an object. @throws {KubeError} with status 409 if there is one of this name */
  async create(resource: Resource, object: KubeObject): Promise<KubeObject> {
    const { namespace } = object.metadata;
    const query = `?fieldManager=${encodeURIComponent(this.#options.fieldManager)}`;
    return await this.#object({
      ...{ verb: "create", resource, method: "POST", query, at: { namespace } },
      body: { contentType: "application/json", value: typed(resource, object) },
    });
  }

  /** Replaces an object; its `resourceVersion` must be that of what is replaced. */
  async update(resource: Resource, object: KubeObject): Promise<KubeObject> {
    const { namespace, name } = object.metadata;
    const query = `?fieldManager=${encodeURIComponent(this.#options.fieldManager)}`;
    return await this.#object({
      ...{ verb: "update", resource, method: "PUT", query, at: { namespace, name } },
      body: { contentType: "application/json", value: typed(resource, object) },
    });
  }

  /**
   * Applies the fields that an object has: fields that it does not have stay as others set them, and
   * those that this manager applied before and leaves out now go.
   *
   * @param part What is applied apart from the rest, with a manager of its own: the status
   * subresource, or an object's finalizers.
   */
  async apply(
    resource: Resource,
    object: KubeObject,
    part?: "status" | "finalizers",
  ): Promise<KubeObject> {
    const { namespace, name } = object.metadata;
    const subresource = part === "status" ? part : undefined;
    const manager = part === undefined
      ? this.#options.fieldManager
      : `${this.#options.fieldManager}-${part}`;
    return await this.#object({
      ...{ verb: "apply", resource, method: "PATCH" },
      query: `?fieldManager=${encodeURIComponent(manager)}&force=true`,
      at: { namespace, name, subresource },
      body: { contentType: "application/apply-patch+yaml", value: typed(resource, object) },
    });
  }

  /** Changes the fields of a JSON merge patch (RFC 7396). */
  async merge(resource: Resource, at: ObjectPath, patch: unknown): Promise<KubeObject> {
    return await this.#object({
      ...{ verb: "patch", resource, method: "PATCH", at },
      query: `?fieldManager=${encodeURIComponent(this.#options.fieldManager)}`,
      body: { contentType: "application/merge-patch+json", value: patch },
    });
  }

  /** Deletes an object if it is still this one; that there is none any more is no error. */
  async delete(resource: Resource, at: ObjectPath, uid: string): Promise<void> {
    try {
      await this.#object({
        ...{ verb: "delete", resource, method: "DELETE", at },
        body: {
          contentType: "application/json",
          value: {
            ...{ apiVersion: "v1", kind: "DeleteOptions", propagationPolicy: "Background" },
            preconditions: { uid },
          },
        },
      });
    } catch (error) {
      // 409: another object has the name by now, with another uid.
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  async #object(request: Outgoing): Promise<KubeObject> {
    return await this.#slots.run(async () => {
      for (let tries = 1;; tries++) {
        await delay(this.#pausedUntilMs - performance.now());
        const answer = await within(this.#timeoutMs, async (signal) => {
          const response = await this.#send(request, signal);
          return response.ok ? await jsonOf(response) : await errorOf(response);
        });
        if (!(answer instanceof KubeError)) return answer;
        const error = answer;
        if (!isAskedToWait(error) || tries === maxTries) throw error;
        const waitMs = Math.min(error.retryAfterMs ?? defaultRetryAfterMs, maxRetryAfterMs);
        this.#pausedUntilMs = Math.max(this.#pausedUntilMs, performance.now() + waitMs);
      }
    });
  }

  async #send(request: Outgoing, signal: AbortSignal): Promise<Response> {
    const { verb, resource, method, at, query = "", body } = request;
    await delay(this.#pausedUntilMs - performance.now(), signal);
    const path = pathOf(resource, at);
    if (method !== "GET") this.#options.mayWrite?.({ method, path });
    const count = (code: string) => this.#metrics.requested(verb, resource.plural, code);
    try {
      const response = await this.#options.fetch(path + query, {
        method,
        headers: {
          accept: "application/json",
          ...body && { "content-type": body.contentType },
        },
        ...body && { body: JSON.stringify(body.value) },
        signal,
      });
      count(String(response.status));
      return response;
    } catch (error) {
      count("error");
      throw unreachable(error);
    }
  }
}

interface Outgoing {
  readonly verb: string;
  readonly resource: Resource;
  readonly method: string;
  readonly at: ObjectPath;
  readonly query?: string;
  readonly body?: { readonly contentType: string; readonly value: unknown };
}

function queryOf(selection: Selection, more: Readonly<Record<string, string>>): string {
  const query = new URLSearchParams(more);
  for (const key of ["labelSelector", "fieldSelector"] as const) {
    const value = selection[key];
    if (value !== undefined) query.set(key, value);
  }
  return `?${query}`;
}

function typed(resource: Resource, object: KubeObject): KubeObject {
  return { ...object, apiVersion: apiVersionOf(resource), kind: resource.kind };
}

function isAskedToWait({ status, retryAfterMs }: KubeError): boolean {
  return status === 429 || (status === 503 && retryAfterMs !== undefined);
}

/** What stands between may answer 200 with anything: it must not pass for an empty collection. */
function checkedPage(
  { kind, metadata, items }: KubeObject,
  resource: Resource,
): { items: readonly KubeObject[]; resourceVersion: string; token: string } {
  const { resourceVersion, continue: token = "" } = (metadata ?? {}) as {
    resourceVersion?: unknown;
    continue?: unknown;
  };
  const isList = kind === `${resource.kind}List` && (items === null || Array.isArray(items)) &&
    typeof resourceVersion === "string" && resourceVersion !== "" && typeof token === "string";
  if (!isList) {
    throw new KubeUnreachable(`The answer to a list of ${resource.plural} is not such a list`);
  }
  return { items: (items ?? []) as readonly KubeObject[], resourceVersion, token };
}

function eventOf(line: unknown): WatchEvent {
  const { type, object } = line as { type?: unknown; object?: unknown };
  if (type === "ERROR") {
    const { code, reason, message } = object as {
      code?: number;
      reason?: string;
      message?: string;
    };
    throw new KubeError(code ?? 500, reason ?? "Unknown", message ?? "The watch failed");
  }
  const isKnown = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK"].includes(String(type));
  if (!isKnown || typeof object !== "object" || object === null) {
    throw new KubeUnreachable("A line of the watch is not an event");
  }
  return { type, object } as WatchEvent;
}

async function jsonOf(response: Response): Promise<KubeObject> {
  const text = await bodyOf(response);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as KubeObject;
  } catch {
    // Said below: what came may hold a secret, so nothing of it is shown.
  }
  throw new KubeUnreachable(`The answer with status ${response.status} is not a JSON object`);
}

async function bodyOf(response: Response): Promise<string> {
  try {
    return await textOf(response, maxBodyBytes, "The answer");
  } catch (error) {
    throw unreachable(error);
  }
}

async function errorOf(response: Response): Promise<KubeError> {
  const text = await bodyOf(response);
  let status: { reason?: unknown; message?: unknown } = {};
  try {
    status = JSON.parse(text) ?? {};
  } catch {
    // Not from an API server; its status has to do.
  }
  const reason = typeof status.reason === "string" ? status.reason : `Status${response.status}`;
  const message = typeof status.message === "string"
    ? status.message
    : `The API server answered with status ${response.status}`;
  const after = Number(response.headers.get("retry-after") ?? NaN);
  const retryAfterMs = Number.isFinite(after) && after >= 0 ? after * 1_000 : undefined;
  return new KubeError(response.status, reason, message, retryAfterMs);
}

function unreachable(error: unknown): Error {
  if (error instanceof KubeUnreachable) return error;
  const isTimeout = error instanceof DOMException && error.name === "TimeoutError";
  const message = isTimeout ? "The API server did not answer in time" : messageOf(error);
  return new KubeUnreachable(message, { cause: error });
}
