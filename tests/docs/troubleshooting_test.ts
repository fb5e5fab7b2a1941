import assert from "node:assert/strict";
import { streamErrorCodes } from "../../lib/protocol/errors.ts";
import * as availabilityErrors from "../../lib/relay/availability_errors.ts";
import * as callerErrors from "../../lib/relay/caller_errors.ts";
import { limitErrors } from "../../lib/relay/limits/limit_errors.ts";
import type { RelayError } from "../../lib/relay/relay_error.ts";
import * as requestErrors from "../../lib/relay/request_errors.ts";
import { fromStreamError } from "../../lib/relay/stream_errors.ts";
import { code, codes, readText, sources, type Table, table, tables } from "./markdown.ts";

const page = "docs/troubleshooting.md";

/** Each export is an error, or a function that makes one of a text. */
const modules = {
  availability_errors: availabilityErrors,
  caller_errors: callerErrors,
  request_errors: requestErrors,
};

const ownErrors: readonly RelayError[] = [
  ...Object.values(modules).flatMap((errors) => Object.values(errors))
    .filter((value): value is RelayError => typeof value === "object"),
  ...Object.values(limitErrors).flatMap((errors) => Object.values(errors)),
];

/** The relay's own answers: code and status. */
function realAnswers(): Map<string, string> {
  const answers = new Map<string, string>();
  for (const { code, status } of ownErrors) answers.set(code, String(status));
  for (const name of streamErrorCodes) {
    answers.set(name, String(fromStreamError(name).status));
  }
  for (const create of Object.values(modules).flatMap((errors) => Object.values(errors))) {
    if (typeof create !== "function") continue;
    const { code, status } = create("");
    answers.set(code, String(status));
  }
  // `HttpConnection` answers these itself, before there is a request (RFC 9112 and 6585).
  answers.set("bad_request", "400, 408, 431, 501, 505");
  return answers;
}

Deno.test("troubleshooting.md: every file of the relay's errors is compared", () => {
  const names = sources("lib/relay").flatMap((path) =>
    /^lib\/relay\/([a-z]+_errors)\.ts$/.exec(path)?.[1] ?? []
  );
  assert.deepEqual(names.toSorted(), [...Object.keys(modules), "stream_errors"].toSorted());
});

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
    ...streamErrorCodes.map((code) => fromStreamError(code)),
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
    ...streamErrorCodes.map((code) => fromStreamError(code)),
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
