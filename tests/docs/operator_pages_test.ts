/** The operator's pages: their manifests fit the CRDs, and the code has every reason they name. */
import assert from "node:assert/strict";
import { parse, parseAllDocuments } from "yaml";
import { ownKinds } from "../../lib/operator/api/crds.ts";
import { blocks, code, codes, pages, readText, sources, tables } from "./markdown.ts";

const apiVersion = "culvert.dev/v1alpha1";

interface Manifest {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly spec?: unknown;
}

/** What a fragment of a spec leaves out. */
const restOfSpec: Readonly<Record<string, Record<string, unknown>>> = {
  Tunnel: {
    relay: {
      url: "wss://relay.example.com/connect",
      registration: { existing: { tokenRef: { name: "relay-api" } } },
    },
  },
  TunnelBinding: { tunnelRef: { name: "main" } },
};

/** Our objects in the blocks of a page; a fragment begins with the comment `# spec of a KIND`. */
function manifests(page: string): Manifest[] {
  return blocks(page).flatMap(({ info, text }): Manifest[] => {
    const [, kind] = /^# spec of an? (\w+)\n/.exec(text) ?? [];
    if (kind !== undefined) {
      return [{ apiVersion, kind, spec: { ...restOfSpec[kind], ...parse(text) } }];
    }
    const here = /<< 'END'\n([\s\S]*?)\nEND\n/.exec(text)?.[1];
    const yaml = info === "yaml" ? text : here ?? "";
    return parseAllDocuments(yaml).map((it): Manifest => it.toJS() ?? {})
      .filter((it) => it.apiVersion === apiVersion);
  });
}

/** Paths of a value that its schema has not kept. */
function lost(given: unknown, kept: unknown, path = "spec"): string[] {
  if (typeof given !== "object" || given === null) return [];
  return Object.entries(given).flatMap(([name, value]) => {
    const there = (kept as Record<string, unknown> | undefined)?.[name];
    return there === undefined ? [`${path}.${name}`] : lost(value, there, `${path}.${name}`);
  });
}

Deno.test("docs: manifests of the operator's kinds fit their CRDs", () => {
  let count = 0;
  for (const page of pages) {
    for (const { kind, spec } of manifests(page)) {
      const own = ownKinds.find(({ resource }) => resource.kind === kind);
      assert.ok(own, `${page}: ${kind}`);
      const { success, data, error } = own.spec.safeParse(spec);
      assert.ok(success, `${page}, ${kind}: ${error?.message}`);
      assert.deepEqual(lost(spec, data), [], `${page}, ${kind}`);
      count++;
    }
  }
  assert.ok(count > 10, `${count} manifests`);
});

/** What the tables of conditions on a page name. */
function conditionsOf(page: string): { conditions: string[]; reasons: string[] } {
  const rows = tables(readText(page)).filter(({ headings }) =>
    headings.includes("condition") && headings.some((name) => name.startsWith("reason"))
  ).flatMap(({ headings, rows }) =>
    rows.map((row) => ({
      condition: row["condition"]!,
      reason: row[headings.find((name) => name.startsWith("reason"))!]!,
    }))
  );
  return {
    conditions: rows.filter(({ condition }) => condition !== "").map(({ condition }) =>
      code(condition)
    ),
    reasons: rows.flatMap(({ reason }) => codes(reason)).filter((it) => /^[A-Z]\w+$/.test(it)),
  };
}

Deno.test("docs: conditions and reasons of the operator's resources are the code's", () => {
  const text = sources("lib/operator").map(readText).join("\n");
  for (const page of ["docs/operator-monitoring.md", "docs/operator-clusters.md"]) {
    const { conditions, reasons } = conditionsOf(page);
    assert.ok(conditions.length > 3 && reasons.length > 10, page);
    for (const name of conditions) assert.match(text, new RegExp(`\\b${name}\\b`), page);
    for (const name of reasons) assert.ok(text.includes(`"${name}"`), `${page}: ${name}`);
  }
});
