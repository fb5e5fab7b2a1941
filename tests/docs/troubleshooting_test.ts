import assert from "node:assert/strict";
import { streamErrorCodes } from "../../lib/protocol/errors.ts";
import * as relayErrors from "../../lib/relay/errors.ts";
import { limitErrors } from "../../lib/relay/limits/limit_errors.ts";
import { code, codes, readText, sources, type Table, table, tables } from "./markdown.ts";

const page = "docs/troubleshooting.md";

const ownErrors = [
  ...Object.values(relayErrors).filter((value) => typeof value === "object"),
  ...Object.values(limitErrors).flatMap((errors) => Object.values(errors)),
] as readonly relayErrors.RelayError[];

/** The relay's own answers: code and status. */
function realAnswers(): Map<string, string> {
  const answers = new Map<string, string>();
  for (const { code, status } of ownErrors) answers.set(code, String(status));
  for (const name of streamErrorCodes) {
    answers.set(name, String(relayErrors.fromStreamError(name).status));
  }
  const impersonation = relayErrors.impersonationNotAllowed("");
  answers.set(impersonation.code, String(impersonation.status));
  const refused = relayErrors.impersonationRefused("");
  answers.set(refused.code, String(refused.status));
  for (const error of [relayErrors.requestDenied(""), relayErrors.overrideRefused("")]) {
    answers.set(error.code, String(error.status));
  }
  const { code: edgeCode, status } = relayErrors.notConfigured("");
  answers.set(edgeCode, String(status));
  // `HttpConnection` answers these itself, before there is a request (RFC 9112 and 6585).
  answers.set("bad_request", "400, 408, 431, 501, 505");
  return answers;
}

Deno.test("troubleshooting.md: every answer of the relay's own is listed with its status", () => {
  const rows = table(page, ["message", "code", "status", "meaning"]);
  const written = new Map(rows.map((row) => [code(row["code"]!), row["status"]!]));
  assert.deepEqual(
    new Map([...written].sort()),
    new Map([...realAnswers()].sort()),
  );
});

Deno.test("troubleshooting.md: an answer that may be tried again has Retry-After", () => {
  const all = [
    ...ownErrors,
    ...streamErrorCodes.map((code) => relayErrors.fromStreamError(code)),
  ];
  const real = all.flatMap(({ code, retryAfterSeconds }) =>
    retryAfterSeconds === undefined ? [] : [code]
  );
  const rows = table(page, ["message", "code", "status", "meaning"]);
  const written = rows.filter(({ meaning }) => meaning!.includes("`Retry-After`"));
  assert.deepEqual(new Set(written.map((row) => code(row["code"]!))), new Set(real));
});

Deno.test("troubleshooting.md: every answer of the relay's own has the message that callers see", () => {
  const errors = [
    ...ownErrors,
    ...streamErrorCodes.map((code) => relayErrors.fromStreamError(code)),
  ];
  const rows = table(page, ["message", "code", "status", "meaning"]);
  for (const { code: name, message } of errors) {
    const row = rows.find((row) => code(row["code"]!) === name);
    assert.ok(row && codes(row["message"]!).includes(message), `${name}: ${message}`);
  }
});

/** The rows whose first column has what somebody sees. */
function symptoms(): Table {
  return tables(readText(page)).filter(({ headings }) => headings[0] === "text")
    .flatMap(({ rows }) => rows);
}

Deno.test("troubleshooting.md: what clients print of the relay's messages is what it says", () => {
  const messages = table(page, ["message", "code", "status", "meaning"])
    .flatMap((row) => codes(row["message"]!));
  const quoted = symptoms().flatMap((
    { text },
  ) => [...text!.matchAll(/\("([^"]+)"\)|\((?:Forbidden|BadGateway)\): ([a-z ]+)/g)]).map((match) =>
    (match[1] ?? match[2])!.trim()
  );
  assert.ok(quoted.length >= 7, `${quoted.length} messages are quoted`);
  for (const text of quoted) {
    assert.ok(messages.some((message) => message.startsWith(text)), text);
  }
});

Deno.test("troubleshooting.md: the log messages that it quotes are the programs'", () => {
  const code = ["relay.ts", "agent.ts", ...sources("lib")].map(readText).join("\n");
  const rows = symptoms().flatMap((row) => Object.values(row)).join("\n")
    .replaceAll(/`[^`]*`/g, "");
  const quoted = [...rows.matchAll(/"([A-Z]\w+ [^"]+)"/g)].map((match) => match[1]!);
  assert.ok(quoted.length > 20, `${quoted.length} messages are quoted`);
  // A status or the like is put into the text where it is logged.
  for (const text of quoted) assert.ok(code.includes(text.replace(/ \d+$/, "")), text);
});
