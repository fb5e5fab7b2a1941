import assert from "node:assert/strict";
import { pathOf } from "../../lib/http1/request_target.ts";

Deno.test("pathOf gives the path of each form of a request target, as it stands there", () => {
  const cases: [string, string][] = [
    ["/", "/"],
    ["/api/x?y=/z", "/api/x"],
    ["/api?", "/api"],
    ["/?x?y", "/"],
    ["//api//x", "//api//x"],
    ["/%61pi/..", "/%61pi/.."],
    ["*", ""],
    ["http://x.example/api?y", "/api"],
    ["HTTPS://x.example:8443/api/", "/api/"],
    ["http://x.example", "/"],
    ["http://x.example?y=/api", "/"],
    ["http://x.example//api", "//api"],
  ];
  for (const [target, path] of cases) assert.equal(pathOf(target), path, target);
});
