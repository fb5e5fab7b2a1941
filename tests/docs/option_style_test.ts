import assert from "node:assert/strict";
import { programs } from "../../lib/config/programs.ts";
import { pages, readText } from "./markdown.ts";

const names = programs.flatMap(({ options }) => Object.values(options).map(({ name }) => name));

/** Of other programs too: `openssl x509 -name`, `curl -token`. */
const ours = names.filter((name) => name.includes("-"));

Deno.test("documents write options with two dashes", () => {
  const single = new RegExp(`(?<![\\w-])-(?:${ours.join("|")})(?![\\w-])`);
  for (const page of pages) {
    for (const [index, line] of readText(page).split("\n").entries()) {
      assert.doesNotMatch(line, single, `${page}, line ${index + 1}`);
    }
  }
});
