/** `docs/security.md`: each promise names tests, and these exist. */
import assert from "node:assert/strict";
import { exists, readText } from "./markdown.ts";

const page = "docs/security.md";

/** The numbered promises, each as one line. */
function promises(): string[] {
  const text = readText(page);
  const from = text.indexOf("\n## What is promised\n");
  const to = text.indexOf("\n## What is not promised\n");
  assert.ok(from !== -1 && to > from);
  return text.slice(from, to).split(/\n(?=\d+\. |### )/).filter((part) => /^\d+\. /.test(part))
    .map((part) => part.replaceAll(/\s+/g, " ").replaceAll("\\*", "*").trim());
}

/** Whether a file has a test, or a step of one, of this name. */
function hasTest(file: string, name: string): boolean {
  const literal = JSON.stringify(name).replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const begin = String.raw`(?:[tT]est|step)\(\s*(?:t,\s*)?|name: |async `;
  return new RegExp(`(?:${begin})${literal}`).test(readText(file));
}

Deno.test("security.md: promises are numbered, and say against whom and by what they are shown", () => {
  const all = promises();
  assert.ok(all.length > 30, `${all.length} promises`);
  for (const [index, promise] of all.entries()) {
    assert.ok(promise.startsWith(`${index + 1}. **`), promise);
    assert.match(promise, / Against: .+ Shown by `/, promise);
  }
});

Deno.test("security.md: every test that a promise names exists", () => {
  for (const promise of promises()) {
    const shown = promise.slice(promise.indexOf(" Shown by "));
    const named = [...shown.matchAll(/`(tests\/[\w/]+_test\.tsx?)`: "([^"]+)"/g)];
    assert.equal(
      named.length,
      shown.split("`tests/").length - 1,
      `a test without a name: ${promise}`,
    );
    assert.ok(named.length > 0, promise);
    for (const [, file = "", name = ""] of named) {
      assert.ok(exists(file), file);
      assert.ok(hasTest(file, name), `${file} has no test "${name}"`);
    }
  }
});

Deno.test("security.md: hasTest finds tests and steps, and nothing else", () => {
  assert.ok(
    hasTest("tests/directory/forwarding_test.ts", "a relay forwards what it has no session for"),
  );
  assert.ok(
    hasTest("tests/docs/security_test.ts", "security.md: every test that a promise names exists"),
  );
  assert.equal(hasTest("tests/docs/security_test.ts", "a test that nobody has written"), false);
  assert.equal(hasTest("tests/docs/security_test.ts", "docs/security.md"), false);
});
