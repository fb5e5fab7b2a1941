/** The API's description in OpenAPI 3.1, made of the schemas that requests are checked with. */
import { z } from "zod";
import { bodySchemas } from "../config/entries/api_entries.ts";
import { nestedSet, rule, ruleForms, ruleOrSet } from "../config/entries/policies.ts";
import { type EntryKind, entryKinds } from "../domain/admin.ts";

const errorStatuses: Readonly<Record<string, string>> = {
  400: "The body is not JSON, or a header or parameter is not valid",
  401: "There is no token, or it is not valid",
  403: "The id, name or hostname is out of the token's scope",
  404: "There is no such entry",
  408: "The body has not come within 30 s",
  409: "The entry belongs to another owner, to a file, or is in use, or another entry has the same",
  412: "If-Match or If-None-Match does not hold",
  413: "The body has more than 1 MiB",
  421: "The relay is not known by this name: --admin-hosts lists its names",
  422: "The body is not an entry, or the name is not valid; field names the key",
  429: "maxClusters is reached, or too many changes or wrong tokens wait",
  503: "Nothing can be stored; nothing has changed",
};

/** The names of the kinds' schemas. */
const schemaNames: Readonly<Record<EntryKind, string>> = {
  clusters: "Cluster",
  services: "Service",
  policies: "Policy",
};

const parameter = (name: string, place: "path" | "query" | "header", description?: string) => ({
  name,
  in: place,
  ...place === "path" && { required: true },
  ...description !== undefined && { description },
  schema: { type: "string" },
});

const pageParameters = [
  {
    ...parameter("limit", "query", "Items of a page"),
    schema: { type: "integer", minimum: 1, maximum: 1_000 },
  },
  parameter("continue", "query", "The value that the previous page gave"),
];

const json = (schema: object) => ({ content: { "application/json": { schema } } });
const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const listOf = (schema: object) => ({
  type: "object",
  required: ["items"],
  properties: {
    items: { type: "array", items: schema },
    continue: { type: "string", description: "Leads to the next page; missing on the last one" },
  },
});

/** Those of every operation. */
const anyErrors = [401, 421, 429];

/** @param statuses besides those of every operation */
function errors(...statuses: readonly number[]) {
  const all = new Set([...anyErrors, ...statuses].sort());
  return Object.fromEntries([...all].map((status) => [
    String(status),
    { description: errorStatuses[status]!, ...json(ref("Error")) },
  ]));
}

/** Makes the document. @param version of the relay */
export function openApi(version: string): object {
  return {
    openapi: "3.1.0",
    info: { title: "culvert admin API", version },
    security: [{ token: [] }],
    paths: { ...Object.assign({}, ...entryKinds.map(entryPaths)), ...statusPaths },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer" } },
      schemas: {
        Error: errorSchema,
        ...Object.fromEntries(entryKinds.map((kind) => [schemaNames[kind], bodySchema(kind)])),
        Rule: jsonSchema(ruleForms),
        RuleSet: jsonSchema(nestedSet),
      },
    },
  };
}

const errorSchema = {
  type: "object",
  required: ["error"],
  properties: {
    error: {
      type: "object",
      required: ["code", "message"],
      properties: {
        code: { type: "string" },
        message: { type: "string" },
        field: { type: "string" },
        allowed: { type: "array", items: { type: "string" } },
      },
    },
  },
};

/** Schemas that choose among others in code, so that a message names the kind that was meant. */
const written = new Map<unknown, object>([
  [rule, ref("Rule")],
  [ruleOrSet, { anyOf: [ref("Rule"), ref("RuleSet")] }],
]);

function jsonSchema(of: z.ZodType) {
  const { $schema: _, ...schema } = z.toJSONSchema(of, {
    io: "input",
    unrepresentable: "any",
    override: ({ zodSchema, jsonSchema }) => void Object.assign(jsonSchema, written.get(zodSchema)),
  });
  return schema;
}

/** What the parts of a schema that are code can't say is left open. */
function bodySchema(kind: EntryKind): object {
  const schema = jsonSchema(bodySchemas[kind]);
  const required = (schema.required ?? []).filter((key) => key !== "id" && key !== "name");
  const oneSet = kind === "policies" &&
    { oneOf: [{ required: ["any"] }, { required: ["all"] }] };
  return { ...schema, required, ...oneSet };
}

function entryPaths(kind: EntryKind): object {
  const entry = ref(schemaNames[kind]);
  const name = parameter("name", "path", kind === "clusters" ? "The cluster's id" : undefined);
  const owner = parameter("owner", "query");
  const ifMatch = parameter("If-Match", "header");
  const ifNoneMatch = parameter("If-None-Match", "header");
  const stored = (description: string) => ({ description, ...json(entry) });
  return {
    [`/admin/v1/${kind}`]: {
      get: {
        summary: `All ${kind} in scope`,
        parameters: [owner, ...pageParameters],
        responses: {
          200: { description: "The list", ...json(listOf(entry)) },
          ...errors(400),
        },
      },
    },
    [`/admin/v1/${kind}/{name}`]: {
      parameters: [name],
      get: {
        parameters: [ifNoneMatch],
        responses: {
          200: stored("The entry as it is stored"),
          304: { description: "The entry is the same" },
          ...errors(400, 403, 404, 422),
        },
      },
      put: {
        parameters: [ifMatch, ifNoneMatch],
        requestBody: { required: true, ...json(entry) },
        responses: {
          200: stored("The entry was changed, or is the same"),
          201: stored("The entry was added"),
          ...kind === "clusters" && { 202: stored("The cluster waits to be accepted") },
          ...errors(400, 403, 408, 409, 412, 413, 422, 503),
        },
      },
      delete: {
        parameters: [ifMatch, owner],
        responses: {
          200: stored("The entry as it was"),
          ...errors(400, 403, 404, 409, 412, 422, 503),
        },
      },
    },
    [`/admin/v1/${kind}/{name}/renew`]: {
      parameters: [name],
      post: {
        summary: "Renews the entry's lease",
        parameters: [ifMatch],
        responses: {
          200: { description: "When it ends now", ...json({ type: "object" }) },
          ...errors(400, 403, 404, 409, 412, 422, 503),
        },
      },
    },
  };
}

const object = json({ type: "object" });
const items = json(listOf({ type: "object" }));

function shows(summary: string, parameters: readonly object[] = []) {
  return {
    summary,
    parameters: [...parameters, ...pageParameters],
    responses: { 200: { description: summary, ...items }, ...errors(400, 403, 404) },
  };
}

function ends(summary: string) {
  return {
    summary,
    responses: { 200: { description: "It has ended", ...object }, ...errors(403, 404, 503) },
  };
}

const id = parameter("id", "path");
const cluster = parameter("name", "path", "The cluster's id");

const statusPaths = {
  "/admin/v1/status": {
    get: {
      summary: "Everything in scope",
      responses: { 200: { description: "The status", ...object }, ...errors() },
    },
  },
  "/admin/v1/agents": { get: shows("Agents' sessions") },
  "/admin/v1/streams": { get: shows("Requests and connections under way") },
  "/admin/v1/clusters/{name}/sessions": {
    parameters: [cluster],
    get: shows("The cluster's agents' sessions"),
  },
  "/admin/v1/clusters/{name}/sessions/{id}": {
    parameters: [cluster, id],
    delete: ends("Disconnects an agent"),
  },
  "/admin/v1/clusters/{name}/streams": {
    parameters: [cluster],
    get: shows("The cluster's requests and connections under way"),
  },
  "/admin/v1/clusters/{name}/streams/{id}": {
    parameters: [cluster, id],
    delete: ends("Ends a request or connection"),
  },
  "/admin/v1/sessions": {
    get: shows("People's sessions", [parameter("user", "query")]),
    delete: {
      summary: "Ends all sessions of a user",
      parameters: [{ ...parameter("user", "query"), required: true }],
      responses: {
        200: { description: "How many have ended", ...object },
        ...errors(400, 403, 503),
      },
    },
  },
  "/admin/v1/sessions/{id}": { parameters: [id], delete: ends("Ends a person's session") },
  "/admin/v1/watch": {
    get: {
      summary: "Changes as they happen, one JSON object a line",
      parameters: [parameter("since", "query", "The version of the last line that was read")],
      responses: {
        200: { description: "Lines", content: { "application/x-ndjson": {} } },
        ...errors(),
        410: { description: "since is too old: watch again without it", ...json(ref("Error")) },
      },
    },
  },
  "/admin/v1/openapi.json": {
    get: {
      summary: "This document",
      responses: { 200: { description: "OpenAPI 3.1", ...object }, ...errors() },
    },
  },
};
