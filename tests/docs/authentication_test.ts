import assert from "node:assert/strict";
import {
  readCallerCertificates,
  readCallerClaims,
  readCallerTokens,
} from "../../lib/config/entries/callers.ts";
import { codes, readText, table } from "./markdown.ts";

const page = "docs/authentication.md";

Deno.test("authentication.md: the lists about callers that it writes are valid", () => {
  const recipes = readText(page).split("\n## Recipe: ");
  const listOf = (recipe: string): string => {
    const section = recipes.find((text) => text.startsWith(recipe))!.split("\n## ")[0]!;
    const lists = [...section.matchAll(/```json\n([\s\S]*?)```/g)].map((match) => match[1]!);
    assert.equal(lists.length, 1, recipe);
    return lists[0]!;
  };
  const [tokens, claims, certificates] = ["a token", "a JWT", "a certificate"].map(listOf);
  const digest = "ab".repeat(32);
  const withDigest = tokens!.replace('"tokenSha256": "…"', `"tokenSha256": "${digest}"`);
  const withTokens = withDigest.replace('"token": "…"', '"token": "0123456789abcdef"');
  assert.equal(readCallerTokens(withTokens, "The page").tokens.length, 2);
  assert.equal(readCallerCertificates(certificates!, "The page").length, 2);
  assert.equal(readCallerClaims(claims!, "The page").length, 3);
});

Deno.test("authentication.md: the reasons why callers are denied are those that there are", () => {
  const written = table(page, ["reason", "status", "what is wrong"])
    .flatMap((row) => codes(row["reason"]!));
  const source = readText("lib/relay/callers/caller.ts").split("type DenialReason =")[1]!;
  const real = [...source.split(";")[0]!.matchAll(/\| "(\w+)"/g)].map((match) => match[1]!);
  assert.deepEqual(new Set(written), new Set(real));
});
