import assert from "node:assert/strict";
import fc from "fast-check";
import { NamePatterns } from "../../lib/domain/name_patterns.ts";
import { check } from "../protocol/property.ts";

Deno.test("NamePatterns takes names as they are, and beginnings with a * behind", () => {
  const patterns = new NamePatterns(["prod", "dev-*"]);
  for (const name of ["prod", "dev-", "dev-1", "dev-*"]) assert.ok(patterns.matches(name), name);
  for (const name of ["", "prod-1", "pro", "PROD", "dev", "Dev-1", "x-dev-1", "*"]) {
    assert.ok(!patterns.matches(name), name);
  }
});

Deno.test("NamePatterns without any takes nothing, and * takes everything", () => {
  check(fc.property(fc.string(), (name) => {
    assert.equal(new NamePatterns([]).matches(name), false);
    assert.equal(new NamePatterns(["*"]).matches(name), true);
    assert.equal(new NamePatterns([`${name}*`]).matches(`${name}x`), true);
  }));
});

Deno.test("NamePatterns reads no other character as anything but itself", () => {
  for (const pattern of ["a.c", "a?", "[ab]", "a|b", "^a", "a*b"]) {
    assert.ok(new NamePatterns([pattern]).matches(pattern), pattern);
    for (const name of ["abc", "a", "b", "ab", "aXb"]) {
      assert.ok(!new NamePatterns([pattern]).matches(name), `${pattern} ${name}`);
    }
  }
});
