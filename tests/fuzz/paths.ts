/** Paths of requests, and which of a target's own they lead to. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { pathFault, type PathRule, pathRuleKey, PathRules } from "../../lib/domain/path_rules.ts";
import type { FuzzTarget } from "./target.ts";

const anySegment = fc.constantFrom("a", "b", "api", "A", ".x", "a.b", "%20", "~");

const anyRule: fc.Arbitrary<PathRule> = fc.record({
  type: fc.constantFrom("Prefix", "Exact"),
  value: fc.tuple(fc.array(anySegment, { maxLength: 3 }), fc.boolean()).map(
    ([segments, ends]) => `/${segments.join("/")}${ends && segments.length > 0 ? "/" : ""}`,
  ),
});

const anyRules = fc.uniqueArray(anyRule, { maxLength: 6, selector: pathRuleKey });

/** Paths of the same segments, as clients send them. */
const anyPath = fc.array(anySegment, { maxLength: 4 }).map((segments) => `/${segments.join("/")}`);

/** Paths as attackers write them: rules' segments, and what servers read differently. */
const anyHostilePath = fc.array(
  fc.oneof(
    fc.constantFrom("/a", "/b", "/api"),
    fc.constantFrom("a", "/..", "/.", "..", ".", ".x", "/", "\\", "%", "\xe9"),
    fc.constantFrom("%2e", "%2F", "%5c", "%3b", "%61", ";"),
  ),
  { minLength: 1, maxLength: 8 },
).map((parts) => `/${parts.join("")}`.replace("//", "/"));

/** What Gateway API says of one rule and one path. */
function fits({ type, value }: PathRule, path: string): boolean {
  if (type === "Exact") return path === value;
  const [own, asked] = [value, path].map((it) => it.split("/").slice(1));
  if (own!.at(-1) === "") own!.pop();
  return own!.every((segment, index) => asked![index] === segment);
}

/** Ways of which servers take any number before they look at a path. */
const readings: readonly ((path: string) => string)[] = [
  (path) => path.replace(/%2f/gi, "/"),
  (path) => path.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16))),
  (path) => path.replaceAll("\\", "/"),
  (path) => path.replace(/;[^/]*/g, ""),
  (path) => path.replace(/\/\/+/g, "/"),
  (path) => {
    const kept: string[] = [];
    for (const segment of path.split("/").slice(1)) {
      if (segment === "..") kept.pop();
      else if (segment !== ".") kept.push(segment);
    }
    return `/${kept.join("/")}`;
  },
];

/** The targets of paths. */
export const pathTargets: readonly FuzzTarget[] = [
  {
    name: "paths",
    claim: "a path leads to its Exact rule, or else to the longest Prefix",
    property: () =>
      fc.property(anyRules, anyPath, (rules, path) => {
        for (const { value } of rules) assert.equal(pathFault(value), undefined);
        const fitting = rules.filter((rule) => fits(rule, path));
        const exact = fitting.find(({ type }) => type === "Exact");
        const lengthOf = ({ value }: PathRule) => value.replace(/\/$/, "").length;
        const [longest] = fitting.sort((one, other) => lengthOf(other) - lengthOf(one));
        const found = new PathRules(rules.map((rule) => [rule, rule])).find(path);
        assert.equal(found, exact ?? longest);
      }),
  },
  {
    name: "hostile-paths",
    claim: "a path that is let through stays below its Prefix, however a server reads it",
    property: () =>
      fc.property(
        anyRules,
        anyHostilePath,
        fc.array(fc.constantFrom(...readings), { maxLength: 4 }),
        (rules, path, steps) => {
          const found = new PathRules(rules.map((rule) => [rule, rule])).find(path);
          if (!found) return;
          const read = steps.reduce((before, step) => step(before), path);
          const plain = { ...found, value: found.value.replaceAll("%20", " ") };
          const isBelow = [found, plain].some((rule) => fits({ ...rule, type: "Prefix" }, read));
          assert.ok(isBelow, `${found.type} ${found.value} took ${path}, read as ${read}`);
        },
      ),
  },
];
