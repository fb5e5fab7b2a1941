import assert from "node:assert/strict";
import { claims, resolveClaims } from "../../lib/config/claims.ts";
import { assertRefused } from "./support.ts";

const ORIGIN = "Option --hostname";
const web = { name: "web", kind: "http" };
const pg = { name: "pg", kind: "tcp" };

Deno.test("--hostname takes names in any case, each for a target of its own or the only one", () => {
  assert.deepEqual(claims.schema.parse("Hello.Example.com, b.example=pg,c=127.0.0.1:80"), [
    { hostname: "hello.example.com" },
    { hostname: "b.example", target: "pg" },
    { hostname: "c", target: "127.0.0.1:80" },
  ]);
  const wrong = [
    "",
    "a:80",
    "*.a",
    "a.",
    ".a",
    "-a",
    "a..b",
    "10.0.0.1",
    "a=",
    "a=b=c",
    "a/b",
    "ä",
  ];
  for (const text of [...wrong, `${"a".repeat(64)}.b`, `${"a.".repeat(127)}a`]) {
    assert.equal(claims.schema.safeParse(text).success, false, text);
  }
});

Deno.test("resolveClaims finds the target that a hostname is for", () => {
  const hello = { hostname: "hello" };
  assert.deepEqual(resolveClaims([hello], [web], ORIGIN), [{ hostname: "hello", target: "web" }]);
  assert.deepEqual(resolveClaims([hello], [pg], ORIGIN), [{ hostname: "hello", target: "pg" }]);
  assert.deepEqual(resolveClaims([hello], [pg, web], ORIGIN), [
    { hostname: "hello", target: "web" },
  ]);
  assert.deepEqual(resolveClaims([{ ...hello, target: "pg" }], [pg, web], ORIGIN), [
    { hostname: "hello", target: "pg" },
  ]);
});

Deno.test("resolveClaims refuses what is not clear, not there or given twice", () => {
  const hello = { hostname: "hello" };
  const other = { name: "other", kind: "http" };
  assertRefused(
    () => resolveClaims([hello], [web, other], ORIGIN),
    `${ORIGIN} must say which target hello is for, as hello=TARGET: the agent has 2 of kind http`,
  );
  assertRefused(
    () => resolveClaims([hello], [], ORIGIN),
    `${ORIGIN} must say which target hello is for, as hello=TARGET: the agent has none of kind http`,
  );
  assertRefused(
    () => resolveClaims([{ ...hello, target: "gone" }], [web], ORIGIN),
    `${ORIGIN} has hello for the target "gone", which the agent does not have`,
  );
  assertRefused(
    () => resolveClaims([hello, hello], [web], ORIGIN),
    `${ORIGIN} has hello twice; keep one`,
  );
  const targets = Array.from({ length: 1_001 }, (_, index) => ({ ...web, name: `t${index}` }));
  assertRefused(
    () => resolveClaims([], targets, ORIGIN),
    "The agent has 1001 targets, with that of --target; at most 1000",
  );
  const many = Array.from({ length: 101 }, (_, index) => ({ hostname: `h${index}` }));
  assertRefused(() => resolveClaims(many, [web], ORIGIN), `${ORIGIN} names 101 hosts; at most 100`);
});
