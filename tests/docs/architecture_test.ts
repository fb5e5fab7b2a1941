import assert from "node:assert/strict";
import { codes, exists, readText, sources, table } from "./markdown.ts";

const page = "docs/architecture.md";

/** The folder below `lib/` that a path is in. */
function roomOf(path: string): string | undefined {
  return /^lib\/([^/]+)\//.exec(path)?.[1];
}

/** The rooms that the files of a room import from, itself left out. */
function importedRooms(room: string): Set<string> {
  const rooms = new Set<string>();
  for (const path of sources(`lib/${room}`)) {
    for (const match of readText(path).matchAll(/\bfrom "(\.[^"]+)"/g)) {
      const target = new URL(match[1]!, `file:///${path}`).pathname.slice(1);
      const other = roomOf(target);
      if (other !== undefined && other !== room) rooms.add(other);
    }
  }
  return rooms;
}

const rows = table(page, ["room", "what is in it", "knows", "imports from"]);

Deno.test("architecture.md: the rooms are the folders of lib", () => {
  const folders = new Set(
    sources("lib").map(roomOf).filter((room) => room !== undefined),
  );
  assert.deepEqual(new Set(rows.flatMap((row) => codes(row["room"]!))), folders);
});

Deno.test("architecture.md: a room imports from no other than the table says", () => {
  for (const row of rows) {
    const [room = ""] = codes(row["room"]!);
    const allowed = codes(row["imports from"]!);
    for (const other of importedRooms(room)) {
      assert.ok(allowed.includes(other), `lib/${room} imports from lib/${other}`);
    }
  }
});

Deno.test("architecture.md: arrows go one way", () => {
  const allowed = new Map(
    rows.map((row) => [codes(row["room"]!)[0]!, codes(row["imports from"]!)]),
  );
  const visit = (room: string, path: string[]): void => {
    assert.ok(!path.includes(room), [...path, room].join(" → "));
    for (const other of allowed.get(room) ?? []) visit(other, [...path, room]);
  };
  for (const room of allowed.keys()) visit(room, []);
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

Deno.test("architecture.md: the files that it names are there", () => {
  const paths = codes(readText(page).replaceAll(/^```[\s\S]*?^```$/gm, "")).filter((path) =>
    /^(lib|tests|docs|deploy)\//.test(path)
  );
  assert.ok(paths.length > 20, `${paths.length} paths were looked at`);
  for (const path of paths) assert.ok(exists(path), path);
});
