/** The API's description of itself. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { Validator } from "@seriousme/openapi-schema-validator";
import { openApi } from "../../lib/admin/openapi.ts";
import { AdminWorld, withState } from "./world.ts";

// deno-lint-ignore no-explicit-any
type Json = any;

const document: Json = openApi("0");

/** Schemas that allow everything, by where they are. */
function openSchemas(schema: Json, path: string): string[] {
  if (schema === null || typeof schema !== "object") return [];
  if (Object.keys(schema).length === 0) return [path];
  const parts: [string, Json][] = [
    ...Object.entries(schema.properties ?? {}),
    ...Object.entries(schema.anyOf ?? {}),
    ...schema.items ? [["items", schema.items] as [string, Json]] : [],
    ...schema.additionalProperties ? [["*", schema.additionalProperties] as [string, Json]] : [],
  ];
  return parts.flatMap(([name, part]) => openSchemas(part, `${path}.${name}`));
}

Deno.test("the OpenAPI document holds to OpenAPI 3.1's own JSON Schema", async () => {
  const { valid, errors } = await new Validator().validate(structuredClone(document));
  ok(valid, JSON.stringify(errors));
});

Deno.test("the OpenAPI document says of each key of an entry what it may be", () => {
  const { schemas } = document.components;
  deepEqual(Object.keys(schemas).flatMap((name) => openSchemas(schemas[name], name)), []);
});

Deno.test("each reference and path parameter of the OpenAPI document is there", () => {
  const text = JSON.stringify(document);
  for (const [, name = ""] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
    ok(name in document.components.schemas, name);
  }
  for (const [path, item] of Object.entries<Json>(document.paths)) {
    const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const declared = (item.parameters ?? []).map(({ name }: { name: string }) => name);
    deepEqual(declared, inPath, path);
  }
});

Deno.test("each operation answers good and bad requests with statuses of its description", () =>
  withState(async (state) => {
    await using world = await AdminWorld.start({ STATE: state });
    const bodies = [undefined, {}, { any: [] }, { token: "x", targetAddr: 1 }];
    for (const [path, item] of Object.entries<Json>(document.paths)) {
      if (path === "/admin/v1/watch") continue;
      for (const method of Object.keys(item).filter((it) => it !== "parameters")) {
        for (const name of ["x", "x%20y", "%00"]) {
          for (const as of ["ops", "small", ""]) {
            for (const body of method === "put" ? bodies : [undefined]) {
              const url = path.replaceAll(/\{\w+\}/g, name);
              const { status } = await world.ask(method.toUpperCase(), url, body, { as });
              const statuses = Object.keys(item[method].responses);
              ok(statuses.includes(String(status)), `${method} ${url} as ${as}: ${status}`);
            }
          }
        }
      }
    }
    equal((await world.ask("GET", "/admin/v1/openapi.json")).body.openapi, "3.1.0");
  }));
