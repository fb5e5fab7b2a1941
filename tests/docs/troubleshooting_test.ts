import assert from "node:assert/strict";
import { streamErrorCodes } from "../../lib/protocol/errors.ts";
import * as relayErrors from "../../lib/relay/errors.ts";
import { code, table } from "./markdown.ts";

const page = "docs/troubleshooting.md";

/** The relay's own answers: code and status. */
function realAnswers(): Map<string, string> {
  const answers = new Map<string, string>();
  for (const value of Object.values(relayErrors)) {
    if (typeof value === "object") answers.set(value.code, String(value.status));
  }
  for (const name of streamErrorCodes) {
    answers.set(name, String(relayErrors.fromStreamError(name).status));
  }
  const { code: edgeCode, status } = relayErrors.notConfigured("");
  answers.set(edgeCode, String(status));
  // `HttpConnection` answers these itself, before there is a request (RFC 9112 and 6585).
  answers.set("bad_request", "400, 408, 431, 501, 505");
  return answers;
}

Deno.test("troubleshooting.md: every answer of the relay's own is listed with its status", () => {
  const rows = table(page, ["code", "status", "meaning"]);
  const written = new Map(rows.map((row) => [code(row["code"]!), row["status"]!]));
  assert.deepEqual(
    new Map([...written].sort()),
    new Map([...realAnswers()].sort()),
  );
});

Deno.test("troubleshooting.md: an answer that may be tried again has Retry-After", () => {
  const all = [...Object.values(relayErrors), ...streamErrorCodes.map(relayErrors.fromStreamError)];
  const real = all.flatMap((value) =>
    typeof value === "object" && value.retryAfterSeconds !== undefined ? [value.code] : []
  );
  const rows = table(page, ["code", "status", "meaning"]);
  const written = rows.filter(({ meaning }) => meaning!.includes("`Retry-After`"));
  assert.deepEqual(new Set(written.map((row) => code(row["code"]!))), new Set(real));
});
