import assert from "node:assert/strict";
import { nearestName } from "../../../lib/config/options/suggestion.ts";

const NAMES = [
  "addr",
  "clusters",
  "tls-cert",
  "tls-key",
  "tls-client-ca",
  "log-level",
  "log-format",
];

Deno.test("nearestName finds what a typing error was meant to be", () => {
  const cases: [string, string][] = [
    ["clutsers", "clusters"],
    ["cluster", "clusters"],
    ["Clusters", "clusters"],
    ["adr", "addr"],
    ["tlscert", "tls-cert"],
    ["tls-kye", "tls-key"],
    ["loglevel", "log-level"],
    ["tls-clientca", "tls-client-ca"],
  ];
  for (const [typed, meant] of cases) assert.equal(nearestName(typed, NAMES), meant, typed);
});

Deno.test("nearestName counts two letters that changed places as one edit", () => {
  assert.equal(nearestName("badcfe", ["abcdef"]), undefined, "three swaps");
  assert.equal(nearestName("badcef", ["abcdef"]), "abcdef", "two swaps");
});

Deno.test("nearestName stays silent when nothing is near", () => {
  for (const typed of ["verbose", "x", "port", "certificate-authority"]) {
    assert.equal(nearestName(typed, NAMES), undefined, typed);
  }
  assert.equal(nearestName("abc", ["xy"]), undefined);
});
