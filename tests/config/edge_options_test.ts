import assert from "node:assert/strict";
import { ConfigError } from "../../lib/config/config_error.ts";
import { readEdgeOptions } from "../../lib/config/edge_options.ts";

const clusters = ["one", "two", "three"].map((id) => ({
  id,
  token: `token-of-${id}-0123456789abcdef`,
  targetAddr: "127.0.0.1:1",
}));
const callers = [{ name: "me", token: "callers-token-0123456789", clusters: ["*"] }];

/** A setting as it is when a platform takes only so many characters. */
function parts(name: string, text: string, length: number): Record<string, string> {
  const found: Record<string, string> = {};
  for (let at = 0; at < text.length; at += length) {
    found[at === 0 ? name : `${name}_${at / length + 1}`] = text.slice(at, at + length);
  }
  return found;
}

Deno.test("readEdgeOptions() joins settings that are cut, wherever that is", () => {
  for (const length of [1, 7, 100, 10_000]) {
    const options = readEdgeOptions({
      ...parts("CLUSTERS", JSON.stringify(clusters), length),
      ...parts("CALLER_TOKENS", JSON.stringify(callers), length),
    });
    assert.deepEqual(options.clusters.map(({ id }) => id), ["one", "two", "three"]);
    assert.equal(options.callers.tokens?.length, 1);
  }
});

Deno.test("readEdgeOptions() refuses settings of which a part is missing", () => {
  const { CLUSTERS_2: _lost, ...rest } = parts("CLUSTERS", JSON.stringify(clusters), 50);
  assert.throws(
    () => readEdgeOptions({ ...rest, CALLER_TOKENS: JSON.stringify(callers) }),
    (error) =>
      error instanceof ConfigError && /^Setting CLUSTERS: it is not JSON/.test(error.message),
  );
});

/** The modules that a module imports when it is loaded, and those that they do. */
function modulesOf(url: URL, found = new Set<string>()): Set<string> {
  if (found.has(url.href)) return found;
  found.add(url.href);
  if (url.protocol !== "file:") return found;
  const imports = /^(?:import|export)\b(?! type)[^;]*?\bfrom "(\.[^"]+|node:[^"]+)"/gm;
  for (const [, specifier] of Deno.readTextFileSync(url).matchAll(imports)) {
    modulesOf(new URL(specifier!, url), found);
  }
  return found;
}

Deno.test("readEdgeOptions() needs no module of Node's, which workerd does not have", () => {
  const modules = modulesOf(new URL("../../deploy/edge_relay.ts", import.meta.url));
  assert.ok([...modules].some((module) => module.endsWith("lib/config/edge_options.ts")));
  assert.deepEqual([...modules].filter((module) => module.startsWith("node:")), []);
});

Deno.test("a relay at the edge refuses the settings of the admin API", () => {
  for (const name of ["ADMIN_ADDR", "ADMIN_TOKENS", "STATE"]) {
    assert.throws(
      () => readEdgeOptions({ CLUSTERS: "[]", [name]: "x" }),
      new RegExp(`Setting ${name}: a relay at the edge has no admin API`),
    );
  }
});
