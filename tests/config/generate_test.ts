import assert from "node:assert/strict";
import { chartSchema, chartTemplate, chartValues } from "../../deploy/generate/charts.ts";
import { optionTable, settingTable } from "../../deploy/generate/docs.ts";
import { generatedFiles } from "../../deploy/generate/files.ts";
import { replaceBlocks } from "../../deploy/generate/markers.ts";
import { boolean, hostName, integer, listOf } from "../../lib/config/options/kinds.ts";
import { edgeSettingsOf, type OptionTable } from "../../lib/config/options/option_table.ts";

const table = {
  hosts: {
    name: "host",
    env: "HOSTS",
    group: "Hosts",
    kind: listOf(hostName),
    isRepeatable: true,
    description: "Names to serve, `A|B`",
    see: "page.md#names",
    chart: { name: "hosts" },
    isEdgeSetting: true,
  },
  size: {
    name: "size",
    env: "SIZE",
    group: "Sizes",
    kind: integer({ min: 1, max: 9 }),
    default: "3",
    description: "How many",
    chart: { name: "poolSize", default: "4", note: "Even numbers only." },
  },
  loud: {
    name: "loud",
    env: "LOUD",
    group: "Sizes",
    kind: boolean,
    default: "false",
    description: "Say more",
  },
} as const satisfies OptionTable;

const readPage = (name: string) => {
  assert.equal(name, "page.md");
  return "# Page\n\n## Names\n";
};

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(`../../${path}`, import.meta.url));
}

Deno.test("generated files are what the tables of options say now", () => {
  for (const { path, write } of generatedFiles(readText)) {
    const text = readText(path);
    assert.equal(write(text), text, `${path} is stale: run deno task generate`);
  }
});

Deno.test("a row of the table becomes a row of the docs, with its range, default and link", () => {
  assert.deepEqual(
    optionTable(table, readPage).split("\n").map((line) => line.replaceAll(/ +/g, " ")),
    [
      "| option | environment | default | meaning |",
      optionTable(table, readPage).split("\n")[1],
      "| `--host NAME,…` | `HOSTS` | none | Names to serve, `A\\|B`; may be given several times. " +
      "See [Names](page.md#names) |",
      "| `--size NUMBER` | `SIZE` | `3` | How many; 1 to 9 |",
      "| `--loud` | `LOUD` | off | Say more |",
    ],
  );
});

Deno.test("an option's link must lead to a heading", () => {
  assert.throws(
    () => optionTable(table, () => "# Page\n"),
    /docs\/page\.md has no heading for page\.md#names/,
  );
});

Deno.test("an option that the edge has becomes one of its settings", () => {
  const settings = edgeSettingsOf(table);
  assert.deepEqual(Object.keys(settings), ["hosts"]);
  assert.match(settingTable(settings, readPage), /\| `HOSTS` +\| none +\| Names to serve/);
});

Deno.test("an option that the chart passes on is in its schema, values and arguments", () => {
  const before = { properties: { image: { type: "object" }, poolSize: { type: "string" } } };
  const schema = JSON.parse(chartSchema(JSON.stringify(before), table));
  assert.deepEqual(schema.properties, {
    image: { type: "object" },
    poolSize: { description: "How many", type: "integer", minimum: 1, maximum: 9 },
    hosts: {
      description: "Names to serve, A|B",
      type: ["array", "null"],
      items: { type: "string" },
    },
  });
  assert.equal(
    chartValues(table),
    [
      "# -- Names to serve, A|B. Default: none.",
      "hosts: null",
      "# -- How many. Even numbers only.",
      "poolSize: 4",
    ].join("\n"),
  );
  const template = chartTemplate("culvert-relay", table);
  assert.match(
    template,
    /\(list "host" \.Values\.hosts\)\n {2}\(list "size" \.Values\.poolSize\)\n/,
  );
  assert.doesNotMatch(template, /loud/);
});

Deno.test("generated blocks stay where their markers are, and need both of them", () => {
  const text = "a\n<!-- generated:one -->\nold\n<!-- /generated -->\nb\n";
  const after = "a\n<!-- generated:one -->\n\nnew $& $1\n\n<!-- /generated -->\nb\n";
  assert.equal(replaceBlocks(text, "markdown", { one: "new $& $1" }), after);
  assert.equal(replaceBlocks(after, "markdown", { one: "new $& $1" }), after);
  assert.throws(() => replaceBlocks(text, "markdown", {}), /Nothing generates the block "one"/);
  assert.throws(
    () => replaceBlocks("<!-- generated:one -->\n", "markdown", { one: "" }),
    /The block "one" has no end/,
  );
});
