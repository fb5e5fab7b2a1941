/**
 * An API server in this process, as far as controllers can tell: collections with resource versions,
 * pages, watches with bookmarks, server-side apply, status subresources, finalizers, owner references;
 * and the faults of a real one, on demand.
 */
import type { ApiRequest } from "../../lib/api_request.ts";
import type { KubeFetch } from "../../lib/kube/client.ts";
import type { KubeObject, ObjectMeta } from "../../lib/kube/objects.ts";
import { apiVersionOf, type Resource } from "../../lib/kube/resources.ts";

/** One request that came in. */
export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string | undefined;
}

/** What answers instead of the server; undefined lets the request through. */
export type Intercept = (request: SeenRequest, init: ApiRequest) =>
  | Response
  | Promise<Response | undefined>
  | undefined;

type Stored = { -readonly [Key in keyof KubeObject]: KubeObject[Key] } & { metadata: Meta };
type Meta = { -readonly [Key in keyof ObjectMeta]: ObjectMeta[Key] } & { name: string };

interface Watcher {
  readonly plural: string;
  readonly namespace: string | undefined;
  readonly selector: string;
  readonly send: (line: unknown) => void;
  readonly end: () => void;
}

interface Change {
  readonly version: number;
  readonly type: string;
  readonly plural: string;
  readonly object: KubeObject;
  readonly before: KubeObject | undefined;
}

/** The server. */
export class FakeKube {
  /** Requests in the order in which they came. */
  readonly requests: SeenRequest[] = [];
  intercept: Intercept | undefined;
  /** Whether what an erased object owned goes with it. */
  hasGarbageCollector = true;
  readonly #resources: readonly Resource[];
  readonly #objects = new Map<string, Stored>();
  readonly #applied = new Map<string, Record<string, unknown>>();
  readonly #watchers = new Set<Watcher>();
  readonly #changes: Change[] = [];
  #version = 1;
  #compacted = 0;
  #uids = 0;

  constructor(resources: readonly Resource[]) {
    this.#resources = resources;
  }

  /** Requests that change something, Leases and Events left out. */
  get writes(): readonly SeenRequest[] {
    return this.requests.filter(({ method, path }) =>
      method !== "GET" && !/\/(leases|events)\b/.test(path)
    );
  }

  readonly fetch: KubeFetch = async (path, init) => {
    init.signal.throwIfAborted();
    const url = new URL(path, "https://kube");
    const request = {
      method: init.method,
      path: url.pathname,
      query: url.searchParams,
      body: init.body,
    };
    this.requests.push(request);
    const answer = await this.intercept?.(request, init);
    return answer ?? this.#answer(request, init);
  };

  /** Puts an object there as a user would; its status too, if it has one. */
  put(resource: Resource, object: KubeObject): KubeObject {
    const key = keyOf(resource.plural, object.metadata);
    const before = this.#objects.get(key);
    return this.#store(resource, {
      ...before && "status" in before && { status: before["status"] },
      ...object,
      metadata: { ...before?.metadata, ...object.metadata },
    }, before);
  }

  /** Removes an object as a user would: finalizers hold it. */
  remove(resource: Resource, namespace: string | undefined, name: string): void {
    const key = keyOf(resource.plural, { namespace, name });
    const object = this.#objects.get(key);
    if (object) this.#delete(resource, key, object);
  }

  read(resource: Resource, namespace: string | undefined, name: string): KubeObject | undefined {
    return this.#objects.get(keyOf(resource.plural, { namespace, name }));
  }

  all(resource: Resource): KubeObject[] {
    return [...this.#objects].filter(([key]) => key.startsWith(`${resource.plural} `))
      .map(([, object]) => object);
  }

  /** Everything, as YAML's order has it, without what differs between two runs. */
  state(): unknown {
    return [...this.#objects].sort(([a], [b]) => a < b ? -1 : 1).map(([key, object]) => [
      key,
      stripped(object),
    ]);
  }

  /** Forgets old versions, as etcd's compaction does: watches that ask for them get 410. */
  compact(): void {
    this.#compacted = this.#version;
    this.#changes.length = 0;
  }

  /** Ends all watches, as a restart of the server does. */
  endWatches(): void {
    for (const watcher of [...this.#watchers]) watcher.end();
  }

  /** Sends each watch a bookmark. */
  bookmark(): void {
    for (const watcher of this.#watchers) {
      watcher.send({
        type: "BOOKMARK",
        object: { metadata: { name: "", resourceVersion: String(this.#version) } },
      });
    }
  }

  get openWatches(): number {
    return this.#watchers.size;
  }

  #answer(request: SeenRequest, init: ApiRequest): Response {
    const match =
      /^\/(?:api|apis\/([^/]+))\/([^/]+)(?:\/namespaces\/([^/]+)(?=\/))?\/([^/]+)(?:\/([^/]+))?(?:\/(status|scale))?$/
        .exec(request.path);
    const [, group = "", , namespace, plural = "", name, subresource] = match ?? [];
    const resource = this.#resources.find((it) => it.plural === plural && it.group === group);
    if (!match || !resource) return failure(404, "NotFound", "the server could not find it");
    const body = () => JSON.parse(request.body ?? "{}");
    if (name === undefined) {
      if (request.method === "POST") return this.#create(resource, namespace, body());
      return request.query.get("watch") === "true"
        ? this.#watch(resource, namespace, request.query, init.signal)
        : this.#list(resource, namespace, request.query);
    }
    const key = keyOf(plural, { namespace, name });
    const object = this.#objects.get(key);
    if (request.method === "PATCH" && init.headers["content-type"]?.includes("apply")) {
      return this.#apply(resource, key, body(), {
        subresource,
        manager: request.query.get("fieldManager") ?? "",
      });
    }
    if (!object) return failure(404, "NotFound", `${plural} "${name}" not found`);
    switch (request.method) {
      case "GET":
        return ok(object);
      case "PUT":
        return this.#update(resource, object, body());
      case "PATCH":
        return this.#update(resource, object, merged(object, body()) as Stored);
      case "DELETE":
        if ((body().preconditions?.uid ?? object.metadata.uid) !== object.metadata.uid) {
          return failure(409, "Conflict", "the uid differs");
        }
        this.#delete(resource, key, object);
        return ok({ metadata: { name } });
    }
    return failure(405, "MethodNotAllowed", "no such method");
  }

  #create(resource: Resource, namespace: string | undefined, object: Stored): Response {
    const metadata = { ...object.metadata, ...namespace !== undefined && { namespace } };
    if (this.#objects.has(keyOf(resource.plural, metadata))) {
      return failure(409, "AlreadyExists", `"${metadata.name}" already exists`);
    }
    return ok(this.#store(resource, { ...object, metadata }, undefined), 201);
  }

  #update(resource: Resource, before: Stored, after: Stored): Response {
    const version = after.metadata.resourceVersion;
    if (version !== undefined && version !== before.metadata.resourceVersion) {
      return failure(409, "Conflict", "the object has been modified");
    }
    return ok(this.#store(resource, after, before));
  }

  #apply(
    resource: Resource,
    key: string,
    fields: Stored,
    { subresource, manager }: { subresource: string | undefined; manager: string },
  ): Response {
    const before = this.#objects.get(key);
    if (!before && subresource) return failure(404, "NotFound", "not found");
    if (fields.metadata.uid !== undefined && fields.metadata.uid !== before?.metadata.uid) {
      return failure(409, "Conflict", "Precondition failed: UID in precondition differs");
    }
    const managed = `${key} ${manager}`;
    const { resourceVersion: version } = fields.metadata;
    if (version !== undefined && version !== before?.metadata.resourceVersion) {
      return failure(409, "Conflict", "the object has been modified");
    }
    const { apiVersion: _a, kind: _k, ...rest } = fields;
    const own = subresource === "status" ? { status: rest["status"] } : rest;
    const last = this.#applied.get(managed);
    const kept = last && before ? without(before, last, own) : before ?? {};
    this.#applied.set(managed, structuredClone(own));
    const isFresh = before === undefined;
    const stored = this.#store(resource, mergedFields(kept, own) as Stored, before);
    return ok(stored, isFresh ? 201 : 200);
  }

  #list(resource: Resource, namespace: string | undefined, query: URLSearchParams): Response {
    const limit = Number(query.get("limit") ?? 1_000);
    const from = Number(query.get("continue") ?? 0);
    const selector = query.get("labelSelector") ?? "";
    const items = this.all(resource).filter((object) =>
      (namespace === undefined || object.metadata.namespace === namespace) &&
      selects(selector, object)
    );
    const rest = from + limit < items.length ? { continue: String(from + limit) } : {};
    return ok({
      kind: `${resource.kind}List`,
      metadata: { resourceVersion: String(this.#version), ...rest } as unknown as Meta,
      items: items.slice(from, from + limit),
    });
  }

  #watch(
    resource: Resource,
    namespace: string | undefined,
    query: URLSearchParams,
    signal: AbortSignal,
  ): Response {
    const since = Number(query.get("resourceVersion"));
    if (since === 0) return this.#beginning(resource, namespace, query);
    const selector = query.get("labelSelector") ?? "";
    const encoder = new TextEncoder();
    const watchers = this.#watchers;
    const missed = this.#changes.filter(({ version }) => version > since);
    const compacted = this.#compacted;
    let watcher: Watcher;
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        const send = (line: unknown) =>
          controller.enqueue(encoder.encode(`${JSON.stringify(line)}\n`));
        const end = () => {
          if (!watchers.delete(watcher)) return;
          signal.removeEventListener("abort", abort);
          controller.close();
        };
        const abort = () => {
          if (!watchers.delete(watcher)) return;
          controller.error(new DOMException("aborted", "AbortError"));
        };
        watcher = { plural: resource.plural, namespace, selector, send, end };
        if (since < compacted) {
          send({ type: "ERROR", object: { code: 410, reason: "Expired", message: "too old" } });
          return controller.close();
        }
        watchers.add(watcher);
        signal.addEventListener("abort", abort);
        for (const change of missed) tell(watcher, change);
      },
      cancel() {
        watchers.delete(watcher);
      },
    });
    return new Response(body);
  }

  /** A watch without a version begins with everything that there is; this one ends there. */
  #beginning(
    resource: Resource,
    namespace: string | undefined,
    query: URLSearchParams,
  ): Response {
    const lines = this.all(resource).filter((object) =>
      (namespace === undefined || object.metadata.namespace === namespace) &&
      selects(query.get("labelSelector") ?? "", object)
    ).map((object) => `${JSON.stringify({ type: "ADDED", object })}\n`);
    return new Response(lines.join(""));
  }

  #store(resource: Resource, given: Stored, before: Stored | undefined): Stored {
    const after = withData(given);
    const { resourceVersion: _, ...metadata } = after.metadata;
    const isChanged = before === undefined || !isEqual(specOf(before), specOf(after));
    const object: Stored = {
      ...after,
      apiVersion: apiVersionOf(resource),
      kind: resource.kind,
      metadata: {
        ...metadata,
        uid: before?.metadata.uid ?? `uid-${++this.#uids}`,
        creationTimestamp: before?.metadata.creationTimestamp ??
          after.metadata.creationTimestamp ?? new Date(Date.now() + this.#uids)
          .toISOString(),
        generation: (before?.metadata.generation ?? 0) + Number(isChanged),
      },
    };
    const old = before && { ...before, metadata: { ...before.metadata, resourceVersion: "" } };
    if (old && isEqual(old, { ...object, metadata: { ...object.metadata, resourceVersion: "" } })) {
      return before;
    }
    (object.metadata as Meta).resourceVersion = String(++this.#version);
    const key = keyOf(resource.plural, object.metadata);
    const isOver = object.metadata.deletionTimestamp !== undefined &&
      (object.metadata.finalizers ?? []).length === 0;
    if (isOver) this.#erase(resource, key, object);
    else {
      this.#objects.set(key, object);
      this.#tell(before ? "MODIFIED" : "ADDED", resource, object, before);
    }
    return object;
  }

  #delete(resource: Resource, key: string, object: Stored): void {
    if ((object.metadata.finalizers ?? []).length === 0) return this.#erase(resource, key, object);
    if (object.metadata.deletionTimestamp !== undefined) return;
    const deletionTimestamp = new Date().toISOString();
    this.#store(
      resource,
      { ...object, metadata: { ...object.metadata, deletionTimestamp } },
      object,
    );
  }

  #erase(resource: Resource, key: string, object: Stored): void {
    this.#objects.delete(key);
    for (const managed of [...this.#applied.keys()]) {
      if (managed.startsWith(`${key} `)) this.#applied.delete(managed);
    }
    this.#tell("DELETED", resource, {
      ...object,
      metadata: { ...object.metadata, resourceVersion: String(++this.#version) },
    });
    if (!this.hasGarbageCollector) return;
    for (const [ownedKey, owned] of [...this.#objects]) {
      const owners = owned.metadata.ownerReferences ?? [];
      if (!owners.some(({ uid }) => uid === object.metadata.uid)) continue;
      const kind = this.#resources.find(({ plural }) => ownedKey.startsWith(`${plural} `))!;
      this.#delete(kind, ownedKey, owned);
    }
  }

  #tell(type: string, resource: Resource, object: KubeObject, before?: KubeObject): void {
    const change = { version: this.#version, type, plural: resource.plural, object, before };
    this.#changes.push(change);
    for (const watcher of this.#watchers) tell(watcher, change);
  }
}

/** A Secret's `stringData` is for writing only. */
function withData(object: Stored): Stored {
  const { stringData, ...rest } = object;
  if (!isMap(stringData)) return object;
  const encoded = Object.entries(stringData).map(([key, text]) => [key, btoa(String(text))]);
  return { ...rest, data: { ...rest["data"] as object, ...Object.fromEntries(encoded) } };
}

function tell({ plural, namespace, selector, send }: Watcher, change: Change): void {
  const { type, object, before } = change;
  if (plural !== change.plural) return;
  if (namespace !== undefined && namespace !== object.metadata.namespace) return;
  const isSelected = selects(selector, object);
  if (type !== "MODIFIED") return isSelected ? send({ type, object }) : undefined;
  // Objects come and go with the labels by which they are selected.
  const wasSelected = before !== undefined && selects(selector, before);
  if (isSelected) return send({ type: wasSelected ? type : "ADDED", object });
  if (!wasSelected) return;
  const { resourceVersion } = object.metadata;
  send({
    type: "DELETED",
    object: { ...before, metadata: { ...before.metadata, resourceVersion } },
  });
}

function selects(selector: string, { metadata }: KubeObject): boolean {
  if (selector === "") return true;
  return selector.split(",").every((term) => {
    const [label = "", value] = term.split("=");
    const has = metadata.labels?.[label];
    return value === undefined ? has !== undefined : has === value;
  });
}

function keyOf(
  plural: string,
  { namespace = "", name }: { namespace?: string | undefined; name: string },
) {
  return `${plural} ${namespace}/${name}`;
}

function ok(object: unknown, status = 200): Response {
  return Response.json(object, { status });
}

/** An answer as the API server has it for errors. */
export function failure(
  status: number,
  reason: string,
  message: string,
  headers: Record<string, string> = {},
): Response {
  return Response.json({ kind: "Status", status: "Failure", reason, message, code: status }, {
    status,
    headers,
  });
}

/** What counts for the generation: all but metadata and status. */
function specOf({ metadata: _m, status: _s, ...rest }: KubeObject): unknown {
  return rest;
}

function isEqual(one: unknown, other: unknown): boolean {
  return sorted(one) === sorted(other);
}

function sorted(value: unknown): string {
  return JSON.stringify(
    value,
    (_key, inner) =>
      isMap(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1))
        : inner,
  );
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** RFC 7396. */
function merged(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  const result: Record<string, unknown> = isMap(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return result;
}

/** A configuration's webhooks are a map by name; other lists are replaced whole. */
function mergedFields(target: unknown, fields: unknown): unknown {
  if (!isMap(fields)) return fields;
  const result: Record<string, unknown> = isMap(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    result[key] = key === "webhooks"
      ? mergedByName(result[key], value)
      : mergedFields(result[key], value);
  }
  return result;
}

function mergedByName(target: unknown, fields: unknown): unknown {
  const named = (list: unknown) => new Map((list as Named[] ?? []).map((it) => [it.name, it]));
  const result = named(target);
  for (const [name, value] of named(fields)) {
    result.set(name, mergedFields(result.get(name), value) as Named);
  }
  return [...result.values()];
}

interface Named {
  readonly name: string;
}

/** An object without the fields that were applied before and are not now. */
function without(
  object: unknown,
  last: Record<string, unknown>,
  now: Record<string, unknown>,
): unknown {
  if (!isMap(object)) return object;
  const result = { ...object };
  for (const [key, value] of Object.entries(last)) {
    if (!(key in now) || now[key] === undefined) {
      if (isMap(value) && isMap(result[key])) {
        const rest = without(result[key], value, {}) as Record<string, unknown>;
        if (Object.keys(rest).length === 0) delete result[key];
        else result[key] = rest;
      } else delete result[key];
    } else if (isMap(value) && isMap(now[key])) {
      result[key] = without(result[key], value, now[key]);
    }
  }
  return result;
}

const volatile = new Set([
  ...["uid", "resourceVersion", "creationTimestamp", "lastTransitionTime", "generation"],
  ...["observedGeneration"],
]);

function stripped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(stripped);
  if (!isMap(value)) return value;
  return Object.fromEntries(
    Object.entries(value).filter(([key]) => !volatile.has(key)).sort(([a], [b]) => a < b ? -1 : 1)
      .map(([key, inner]) => [key, stripped(inner)]),
  );
}
