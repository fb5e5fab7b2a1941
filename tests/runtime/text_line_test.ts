import assert from "node:assert/strict";
import type { LogLevel } from "../../lib/runtime/node/log_line.ts";
import { TextLines, wantsColor } from "../../lib/runtime/node/text_line.ts";

const timeMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

const request = {
  ...{ request_id: "0123456789abcdef0123456789abcdef", cluster: "dev", caller: "alice" },
  ...{ caller_kind: "token", method: "GET", path: "/api/v1/pods", status: 502 },
  ...{ code: "cluster_not_available", detail: "no agent is connected", bytes_in: 0, bytes: 90 },
  ...{ first_byte_ms: 2, ms: 2.1, complete: true, peer: "127.0.0.1", retries: undefined },
};

function line(
  level: LogLevel,
  message: string,
  fields: Record<string, unknown>,
  options: Partial<ConstructorParameters<typeof TextLines>[0]> = {},
): string {
  const format = new TextLines({ isColored: false, isVerbose: false, ...options });
  return format.line(level, message, fields, timeMs);
}

Deno.test("a request is one short line, with what is out of the ordinary behind it", () => {
  assert.equal(
    line("info", "Request", request),
    "03:04:05.678 INFO  GET dev/api/v1/pods 502 2.1 ms caller=alice code=cluster_not_available " +
      'detail="no agent is connected"',
  );
  const { caller: _caller, code: _code, detail: _detail, ...plain } = request;
  assert.equal(
    line("info", "Request", { ...plain, status: 200, complete: false }),
    "03:04:05.678 INFO  GET dev/api/v1/pods 200 2.1 ms complete=false",
  );
});

Deno.test("a request's line stays short when its path is long, and its path can't forge a line", () => {
  const long = line("info", "Request", { ...request, path: "/" + "x".repeat(5_000) });
  assert.ok(long.length < 320, long);
  const forged = line("info", "Request", { ...request, path: "/a\n200 \x1b[2J b" });
  assert.match(forged, /GET "dev\/a\\n200 \\u001b\[2J b" 502 /);
});

Deno.test("a line of all fields is what --log-level debug has", () => {
  const verbose = line("info", "Request", request, { isVerbose: true });
  for (const name of ["request_id", "caller_kind", "first_byte_ms", "peer", "complete"]) {
    assert.ok(verbose.includes(` ${name}=`), verbose);
  }
});

Deno.test("ids are in lines that say what went wrong, and in no others", () => {
  const fields = { instance: "i-1", request_id: "r-1", cluster: "dev" };
  assert.equal(
    line("info", "Agent connected", fields),
    "03:04:05.678 INFO  Agent connected cluster=dev",
  );
  assert.equal(
    line("warn", "Request failed", fields),
    "03:04:05.678 WARN  Request failed instance=i-1 request_id=r-1 cluster=dev",
  );
});

Deno.test("colors mark the level, and dim what is read last", () => {
  assert.equal(
    line("error", "Failed", { code: "x", request_id: "r-1" }, { isColored: true }),
    "\x1b[2m03:04:05.678\x1b[0m \x1b[31mERROR\x1b[0m Failed\x1b[2m code=\x1b[0mx\x1b[2m request_id=r-1\x1b[0m",
  );
});

Deno.test("colors are for terminals, unless NO_COLOR or FORCE_COLOR say otherwise", () => {
  const cases: [Record<string, string>, boolean, boolean][] = [
    [{}, true, true],
    [{}, false, false],
    [{ NO_COLOR: "1" }, true, false],
    [{ NO_COLOR: "" }, true, true],
    [{ FORCE_COLOR: "1" }, false, true],
    [{ FORCE_COLOR: "0" }, true, false],
    [{ FORCE_COLOR: "1", NO_COLOR: "1" }, false, true],
    [{ TERM: "dumb" }, true, false],
  ];
  for (const [env, isTerminal, expected] of cases) {
    assert.equal(wantsColor(env, isTerminal), expected, JSON.stringify({ env, isTerminal }));
  }
});
