import { deepEqual, equal } from "node:assert/strict";
import { allot, clustersSecretNames } from "../../lib/operator/management/cluster_shards.ts";

const [first, second, third] = clustersSecretNames as [string, string, string];
/** Two files of {@link text} fit into a Secret. */
const maxBytes = 300;
const text = "x".repeat(100);

function files(...names: string[]): Map<string, string> {
  return new Map(names.map((name) => [name, text]));
}

/** Names of the files by Secret. */
function namesIn(shards: ReturnType<typeof allot>): Record<string, string[]> {
  return Object.fromEntries([...shards.files].map(([name, inIt]) => [name, [...inIt.keys()]]));
}

Deno.test("Secrets are filled in order, and what is there stays where it is", () => {
  const begun = allot(files("a", "b", "c"), new Map(), maxBytes);
  deepEqual(namesIn(begun), { [first]: ["a", "b"], [second]: ["c"] });
  const gone = allot(files("b", "c"), begun.files, maxBytes);
  deepEqual(namesIn(gone), { [first]: ["b"], [second]: ["c"] });
  const come = allot(files("b", "c", "d", "e", "f"), gone.files, maxBytes);
  deepEqual(namesIn(come), { [first]: ["b", "d"], [second]: ["c", "e"], [third]: ["f"] });
});

Deno.test("a file that grows moves, and a Secret that holds nothing more is emptied", () => {
  const begun = allot(files("a", "b", "c"), new Map(), maxBytes);
  const grown = new Map([["a", text], ["b", "x".repeat(200)]]);
  deepEqual(namesIn(allot(grown, begun.files, maxBytes)), { [first]: ["a"], [second]: ["b"] });
  deepEqual(namesIn(allot(files("a"), begun.files, maxBytes)), { [first]: ["a"], [second]: [] });
});

Deno.test("what has no room is left out, and nothing else", () => {
  const names = Array.from({ length: 2 * clustersSecretNames.length + 1 }, (_, n) => `file-${n}`);
  const { files: inSecrets, leftOut } = allot(files(...names), new Map(), maxBytes);
  deepEqual([...leftOut], [names.at(-1)]);
  equal([...inSecrets.values()].reduce((sum, { size }) => sum + size, 0), names.length - 1);
});

Deno.test("a Secret's data, with its keys, stay below what etcd takes of one object", () => {
  const many = Array.from({ length: 4_000 }, (_, n) => `cluster-with-a-name-${n}.json`);
  const shards = allot(new Map(many.map((name) => [name, "{}"])), new Map());
  for (const [, inIt] of shards.files) {
    const bytes = [...inIt].reduce((sum, [name, text]) => sum + 2 * name.length + text.length, 0);
    equal(bytes < 1_048_576, true);
  }
});
