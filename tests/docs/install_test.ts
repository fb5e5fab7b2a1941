/** install.md names values of the charts, files and Secrets: they must be the real ones. */
import assert from "node:assert/strict";
import { parse } from "yaml";
import { blocks, exists, pages, readText } from "./markdown.ts";

const page = "docs/install.md";

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

const schemas: readonly Schema[] = ["relay", "agent"].map((chart) =>
  JSON.parse(readText(`deploy/helm/culvert-${chart}/values.schema.json`))
);

/** Whether one of the charts has a value of this name, such as `clusters[].id` or `tls.enabled`. */
function isValue(name: string): boolean {
  const steps = name.replaceAll(/\[\d*\]/g, "").split(".");
  return schemas.some((schema) => {
    let at: Schema | undefined = schema;
    for (const step of steps) at = (at?.items ?? at)?.properties?.[step];
    return at !== undefined;
  });
}

Deno.test("install.md: the values that its commands set are the charts'", () => {
  const set = blocks(page).flatMap(({ text }) =>
    [...text.matchAll(/--set '?([\w.[\]]+)=/g)].map((match) => match[1]!)
  );
  assert.ok(set.length >= 8, `${set.length} values are set`);
  assert.deepEqual(set.filter((name) => !isValue(name)), []);
});

Deno.test("install.md: the values that its text names are the charts'", () => {
  const prose = readText(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
  const named = [...prose.matchAll(/`([a-z]\w*(?:(?:\[\])?\.[a-z]\w*)+)(?:=[^`]*)?`/gi)]
    .map((match) => match[1]!)
    .filter((name) => !/\.(?:crt|key|yaml|json|sh|md|com)$/.test(name));
  assert.ok(named.length > 30, `${named.length} values are named`);
  assert.deepEqual(named.filter((name) => !isValue(name)), []);
});

Deno.test("install.md: the files that it names are there", () => {
  const paths = [...readText(page).matchAll(/(?<![\w/])deploy\/[\w./-]+/g)]
    .map((match) => match[0].replace(/[./]+$/, ""));
  const named = paths.filter((path) => !path.endsWith("docker"));
  assert.ok(named.length > 8, `${named.length} files are named`);
  assert.deepEqual(named.filter((path) => !exists(path)), []);
});

/** The names in a values file, as `a.b`; lists and free maps are leaves. */
function valueNames(values: Record<string, unknown>, schema: Schema, prefix = ""): string[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const inner = schema.properties?.[key];
    const isMap = typeof value === "object" && value !== null && !Array.isArray(value);
    if (!inner?.properties || !isMap) return [prefix + key];
    return valueNames(value as Record<string, unknown>, inner, `${prefix}${key}.`);
  });
}

Deno.test("docs: the charts' values in `yaml` blocks are the charts'", () => {
  let count = 0;
  for (const { text, info } of pages.flatMap((page) => blocks(page))) {
    // Fragments of the operator's kinds, which operator_pages_test.ts reads.
    if (info !== "yaml" || text.startsWith("# spec of ")) continue;
    const values: Record<string, unknown> = parse(text);
    const schema = schemas.find(({ properties }) =>
      Object.keys(values).every((key) => properties?.[key])
    );
    if (!schema) {
      // What is no values file says what it is, or is culvert's own or Traefik's.
      const known = ["apiVersion", "http", "tcp", "entryPoints", "targets"].concat(
        ["policies", "providers", "services"],
      );
      assert.ok(Object.keys(values).some((key) => known.includes(key)), text);
      continue;
    }
    const named = valueNames(values, schema);
    assert.deepEqual(named.filter((name) => !isValue(name)), []);
    count += named.length;
  }
  assert.ok(count > 10, `${count} values were looked at`);
});
