import assert from "node:assert/strict";
import { codes, exists, readText, sources, table } from "./markdown.ts";

const page = "docs/architecture.md";

/** Folders of one kind, and which of them each may import from. */
interface Floor {
  readonly name: string;
  /** The folder that they are in. */
  readonly parent: string;
  /** For each folder, those that the page lets it import from. */
  readonly allowed: ReadonlyMap<string, readonly string[]>;
}

function floor(name: string, parent: string, columns: readonly string[]): Floor {
  const rows = table(page, columns);
  const roomOfRow = (row: Record<string, string>): string => codes(row[columns[0]!]!)[0]!;
  const rooms = rows.map(roomOfRow);
  const allowed = rows.map((row): [string, string[]] => {
    const others = row["imports from"]!;
    const room = roomOfRow(row);
    return [room, others === "all of these" ? rooms.filter((it) => it !== room) : codes(others)];
  });
  return { name, parent, allowed: new Map(allowed) };
}

const floors = [
  floor("lib", "lib", ["module", "contents", "knows", "imports from"]),
  floor("the relay", "lib/relay", ["module of the relay", "contents", "imports from"]),
  floor("the operator", "lib/operator", ["module of the operator", "contents", "imports from"]),
];

/** The folder below `parent` that a path is in. */
function roomOf(path: string, parent = "lib"): string | undefined {
  return path.startsWith(`${parent}/`)
    ? /^([^/]+)\//.exec(path.slice(parent.length + 1))?.[1]
    : undefined;
}

/** The rooms that the files of a room import from, itself left out. */
function importedRooms(room: string, parent: string): Set<string> {
  const rooms = new Set<string>();
  for (const path of sources(`${parent}/${room}`)) {
    for (const match of readText(path).matchAll(/\bfrom "(\.[^"]+)"/g)) {
      const target = new URL(match[1]!, `file:///${path}`).pathname.slice(1);
      const other = roomOf(target, parent);
      if (other !== undefined && other !== room) rooms.add(other);
    }
  }
  return rooms;
}

for (const { name, parent, allowed } of floors) {
  Deno.test(`architecture.md: the rooms of ${name} are its folders`, () => {
    const folders = sources(parent).map((path) => roomOf(path, parent));
    const named = new Set(folders.filter((room) => room !== undefined));
    assert.deepEqual(new Set(allowed.keys()), named);
  });

  Deno.test(`architecture.md: a room of ${name} imports from no other than the table says`, () => {
    for (const [room, others] of allowed) {
      for (const other of importedRooms(room, parent)) {
        assert.ok(others.includes(other), `${parent}/${room} imports from ${parent}/${other}`);
      }
    }
  });

  Deno.test(`architecture.md: arrows of ${name} go one way`, () => {
    const visit = (room: string, path: string[]): void => {
      assert.ok(!path.includes(room), [...path, room].join(" → "));
      for (const other of allowed.get(room) ?? []) visit(other, [...path, room]);
    };
    for (const room of allowed.keys()) visit(room, []);
  });
}

/** The files of `lib/` that each of them imports from, for types too. */
function importedFiles(): Map<string, string[]> {
  return new Map(
    sources("lib").map((path) => {
      const imports = readText(path).matchAll(/\bfrom "(\.[^"]+)"/g);
      const targets = [...imports].map(([, target]) => new URL(target!, `file:///${path}`));
      return [path, targets.map(({ pathname }) => pathname.slice(1))];
    }),
  );
}

Deno.test("architecture.md: no files of lib import each other in a circle", () => {
  const imported = importedFiles();
  const isDone = new Set<string>();
  const visit = (path: string, way: string[]): void => {
    if (isDone.has(path)) return;
    const start = way.indexOf(path);
    assert.equal(start, -1, [...way.slice(start), path].join(" → "));
    for (const next of imported.get(path) ?? []) visit(next, [...way, path]);
    isDone.add(path);
  };
  for (const path of imported.keys()) visit(path, []);
});

Deno.test("architecture.md: only runtime and config name modules of Node's, and only runtime/deno names Deno", () => {
  for (const path of sources("lib")) {
    const text = readText(path);
    const isAdapter = ["runtime", "config"].includes(roomOf(path)!);
    if (!isAdapter) assert.doesNotMatch(text, /\bfrom "node:/, path);
    if (path.startsWith("lib/runtime/deno/")) continue;
    assert.doesNotMatch(text.replaceAll(/^\s*(?:\/\/|\*|\/\*).*$/gm, ""), /\bDeno\./, path);
  }
});

/** The folders in one of the project. */
function foldersOf(parent: string): string[] {
  const entries = [...Deno.readDirSync(new URL(`../../${parent}`, import.meta.url))];
  return entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
}

for (const parent of ["deploy", "tests"]) {
  Deno.test(`architecture.md: the table of ${parent} has its folders`, () => {
    const heading = `folder of \`${parent}/\``;
    const named = table(page, [heading, "contents"]).flatMap((row) => codes(row[heading]!));
    // Those that are named after a module test it.
    const modules = parent === "tests" ? foldersOf("lib") : [];
    const others = foldersOf(parent).filter((name) => !modules.includes(name));
    assert.deepEqual(named.toSorted(), others.toSorted());
  });
}

Deno.test("architecture.md: the files that it names are there", () => {
  const paths = codes(readText(page).replaceAll(/^```[\s\S]*?^```$/gm, "")).filter((path) =>
    /^(lib|tests|docs|deploy)\//.test(path)
  );
  assert.ok(paths.length > 20, `${paths.length} paths were looked at`);
  for (const path of paths) assert.ok(exists(path), path);
});
