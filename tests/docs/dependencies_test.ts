import assert from "node:assert/strict";
import { code, exists, readText, sources, table } from "./markdown.ts";

const page = "docs/dependencies.md";
const programs = ["relay.ts", "agent.ts", "lib"];

/** Module specifiers of what the files import; `@ts-types` too. */
function imported(...paths: string[]): Set<string> {
  const specifiers = sources(...paths).flatMap((path) =>
    [...readText(path).matchAll(/(?:\bfrom |@ts-types=)"([^".][^"]*)"/g)].map((match) => match[1]!)
  );
  return new Set(specifiers);
}

/** Name and version of a `npm:NAME@VERSION`. */
function npmPackage(specifier: string): [name: string, version: string] {
  const match = /^npm:(.+)@([^@]+)$/.exec(specifier);
  assert.ok(match, specifier);
  return [match[1]!, match[2]!];
}

Deno.test("dependencies.md: the packages are those of deno.json and their types, pinned", () => {
  const configs = ["", "tests/edge/workerd/", "tests/apps/browser/"].map((folder) =>
    `${folder}deno.json`
  );
  const imports = configs.flatMap((path) =>
    Object.values((JSON.parse(readText(path)) as { imports: Record<string, string> }).imports)
  );
  const direct = [...imported(...programs)].filter((specifier) => specifier.startsWith("npm:"));
  const real = [...imports, ...direct].map(npmPackage);
  const rows = table(page, ["package", "version", "used in", "why"]);
  const written = rows.map((row) => [code(row["package"]!), code(row["version"]!)]);
  assert.deepEqual(new Map(written.sort() as [string, string][]), new Map(real.sort()));
});

Deno.test("dependencies.md: each package is used where it says, and by the programs nowhere else", () => {
  const rooms = ["lib/bytes", "lib/http1", "lib/protocol", "lib/net", "lib/relay", "lib/agent"];
  rooms.push(
    "lib/access",
    "lib/jwt",
    "lib/config",
    "lib/commands",
    "lib/operator",
    "lib/runtime/node",
    "lib/runtime/deno",
  );
  for (const row of table(page, ["package", "version", "used in", "why"])) {
    const name = code(row["package"]!);
    const users = rooms.filter((room) =>
      [...imported(room)].some((used) => used === name || used.startsWith(`npm:${name}@`))
    );
    const written = [...row["used in"]!.matchAll(/`(lib\/[^`]+)`/g)].map((match) => match[1]!);
    assert.deepEqual(new Set(written), new Set(users), name);
  }
});

Deno.test("dependencies.md: the modules of Node's are those that the programs import", () => {
  const real = [...imported(...programs)].filter((specifier) => specifier.startsWith("node:"));
  const written = table(page, ["module", "for"]).map((row) => code(row["module"]!));
  assert.deepEqual(new Set(written), new Set(real));
});

Deno.test("dependencies.md: the places that stand in for the standard library are there", () => {
  for (const row of table(page, ["package", "need", "place"])) {
    const path = /`((?:lib|tests)\/[^`]+)`/.exec(row["place"]!)?.[1];
    assert.ok(path !== undefined && exists(path), String(row["place"]));
  }
});
