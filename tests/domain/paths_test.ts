import { equal } from "node:assert/strict";
import fc from "fast-check";
import { isAmbiguousPath, listsPath } from "../../lib/domain/paths.ts";

const listed = ["/public/", "/metrics"];

for (
  const [path, isListed] of [
    ["/metrics", true],
    ["/metrics/", false],
    ["/metrics/x", false],
    ["/METRICS", false],
    ["/public/", true],
    ["/public/x/y", true],
    ["/public", false],
    ["/publicity", false],
    ["/Public/x", false],
    ["/x/public/", false],
    ["public/", false],
    ["", false],
    ["*", false],
  ] as const
) {
  Deno.test(`the path ${JSON.stringify(path)} is ${isListed ? "listed" : "not listed"}`, () => {
    equal(listsPath(listed, path), isListed);
  });
}

const clear = [
  ...["/", "/public/", "/public/app.js", "/public/a.b/c", "/public/...x", "/.well-known/x"],
  ...[
    "/public/caf%C3%A9",
    "/public/a%20b",
    "/public/%61",
    "/public/a,b:c=d@e",
    "/public/%E2%80%9C",
  ],
  ...["/public/x..y", "/public/~ann", "*"],
  ...["/public/%C2%A5100", "/public/%C2%BD", "/public/1%E2%81%842", "/public/..a%C2%A5b"],
];

for (const path of clear) {
  Deno.test(`${path} means one path alone`, () => equal(isAmbiguousPath(path), false));
}

const ambiguous = [
  // RFC 3986 section 5.2.4, encoded or not, once or twice.
  ...["/public/../admin", "/public/..", "/public/./x", "/public/.", "/..", "/public/%2e%2e/admin"],
  ...["/public/%2E./admin", "/public/.%2e/admin", "/public/%252e%252e/admin", "/public/x%2ehtml"],
  // Other separators.
  ...["/public%2f..%2fadmin", "/public/x%2Fy", "/public\\..\\admin", "/public/%5c../admin"],
  ...["/public/..\\admin", "/public/%5C", "/public/%255cadmin"],
  // Empty segments, parameters, fragments and queries.
  ...[
    "//public/",
    "/public//admin",
    "/public/;x/",
    "/public/..;/admin",
    "/public;x/",
    "/public/%3b",
  ],
  ...["/public/..%3Badmin", "/x#/public/", "/public/%23", "/public/x%3f/../admin", "/public/%3F"],
  // What some servers drop, cut or fold before they look.
  ...["/public/..%00/admin", "/public/%00", "/public/%0d%0a", "/public/%7f", "/public/%09"],
  ...["/public/..%20/admin", "/public/.%20./admin", "/public/.../admin", "/public/%20/admin"],
  ...["/public/%c2%ad", "/public/.%E2%80%8B./admin", "/public/..%C2%A0/admin"],
  // Overlong, cut and wrong encodings: `%c0%ae` is `.` to some.
  ...["/public/%c0%ae%c0%ae/admin", "/public/%c0%af", "/public/%", "/public/%2", "/public/%zz"],
  ...["/public/%u002e%u002e/admin", "/public/%e0%80%ae", "/public/%ff"],
  // Compatibility forms: two dot leader, fullwidth full stop, solidus and reverse solidus.
  ...["/public/%E2%80%A5/admin", "/public/%EF%BC%8E%EF%BC%8E/admin", "/public/..%EF%BC%8Fadmin"],
  // Separators by best fit: yen, won, fraction and division slash, set minus.
  ...["/public/..%C2%A5admin", "/public/x%C2%A5..%C2%A5..", "/public/..%E2%82%A9..%E2%82%A9admin"],
  ...["/public/..%E2%81%84admin", "/public/..%E2%88%95/admin", "/public/%E2%80%A5%C2%A5admin"],
  ...["/public/..%E2%88%96admin"],
  ...["/public/%EF%BC%BC..", "/public/%EF%BC%85", "/public/%E2%84%80"],
  // Bytes that are no part of a URL.
  ...["/public/\u00c0\u00ae", "/public/\x85", "/public/a b"],
];

for (const path of ambiguous) {
  Deno.test(`${JSON.stringify(path)} may mean another path`, () => {
    equal(isAmbiguousPath(path), true);
  });
}

/** As lenient servers resolve a path: decodes twice, folds, and takes everything for a separator. */
function resolved(path: string): string {
  const decode = (text: string) =>
    text.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => {
      try {
        return decodeURIComponent(bytes);
      } catch {
        return bytes;
      }
    });
  const segments: string[] = [];
  const separators = /[/\\\u00a5\u20a9\u2044\u2215\u2216]/;
  for (const segment of decode(decode(path)).normalize("NFKC").split(separators)) {
    const name = segment.split(/[;?#\0]/, 1)[0]!.trim();
    if (name === "..") segments.pop();
    else if (name !== "" && name !== ".") segments.push(name);
  }
  return `/${segments.join("/")}`;
}

Deno.test("no clear path below a beginning leads out of it, however a server resolves it", () => {
  const piece = fc.constantFrom(
    ...["/", ".", "..", "\\", ";", "%2e", "%2f", "%5C", "%25", "%00", "%20", "%3b", "%E2%80%A5"],
    ...["%C2%A5", "%E2%88%95", "%EF%BC%8F", "%c0%ae", "a", "x", "%61", "admin", "%C3%A9"],
    ...["\u00ff", "%", "~", ":"],
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const path = `/public/${pieces.join("")}`;
      if (isAmbiguousPath(path)) return;
      const to = `${resolved(path)}/`;
      equal(to.startsWith("/public/"), true, `${path} leads to ${to}`);
    }),
    { numRuns: 20_000 },
  );
});
