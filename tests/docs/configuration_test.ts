import assert from "node:assert/strict";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { maxMessageBytes } from "../../lib/protocol/frame.ts";
import { defaultSettings } from "../../lib/protocol/settings.ts";
import { maxTokenChars } from "../../lib/relay/agents/agent_credentials.ts";
import { rememberedMs } from "../../lib/relay/callers/verified_tokens.ts";
import { keysCooldownMs, keysLastGoodMs, keysTimeoutMs, maxKeysBytes } from "../../lib/jwt/keys.ts";
import { freeFailures, maxWaiting, maxWaitingOverall } from "../../lib/relay/auth_throttle.ts";
import { handshakeTimeoutMs } from "../../lib/relay/routes/agent_session.ts";
import { helpOf, optionsInHelp, optionsInTable } from "./documented_options.ts";
import { codes, table } from "./markdown.ts";

const page = "docs/configuration.md";

Deno.test("configuration.md: the tables list the options of --help, their variables and defaults", () => {
  for (
    const [program, heading] of [["relay", "### Relay"], ["agent", "### Agent"], [
      "operator",
      "### Operator",
    ]] as const
  ) {
    const help = helpOf(program);
    const real = optionsInHelp(help);
    assert.equal(real.length, [...help.matchAll(/\(env /g)].length, "every option was read");
    assert.deepEqual(optionsInTable(heading), real, program);
  }
});

Deno.test("configuration.md: exit codes are those of --help, and 130", () => {
  const written = table(page, ["code", "meaning"]).map((row) => Number(row["code"]));
  for (const program of ["relay", "agent", "operator"] as const) {
    const [, section = ""] = helpOf(program).split("Exit codes:\n");
    const real = [...section.matchAll(/^ {2}(\d+) /gm)].map((match) => Number(match[1]));
    assert.deepEqual(written, [...real, 130], program);
  }
});

/** The number that a row of the limits' table gives as its default. */
function limit(name: string): string {
  const row = table(page, ["limit", "unit", "default", "what happens at the limit"])
    .find((row) => row["limit"] === name);
  assert.ok(row, name);
  return row["default"]!;
}

Deno.test("configuration.md: the limits that are options have the options' defaults", () => {
  const options = [...optionsInTable("### Relay"), ...optionsInTable("### Agent")];
  const rows = table(page, ["limit", "unit", "default", "what happens at the limit"]);
  const named = rows.filter((row) => row["limit"]!.startsWith("`--"));
  assert.ok(named.length > 0);
  for (const row of named) {
    for (const name of codes(row["limit"]!)) {
      const option = options.find(({ signature }) => signature.split(" ")[0] === name);
      assert.ok(option, name);
      const spelled = option.default.replace(/^(\d+)s$/, "$1 s").replace(/^(\d+)m$/, "$1 minutes");
      assert.equal(row["default"]!.replace(": none", ""), spelled, name);
    }
  }
});

Deno.test("configuration.md: the limits that are fixed are the code's", () => {
  const { idleMs } = defaultConnectionTimeouts;
  assert.equal(limit("header lines"), String(defaultHeadLimits.maxFields));
  assert.equal(limit("idle kept-alive connection of a caller"), `${idleMs / 1000} s`);
  assert.equal(limit("agent's Settings after connecting"), `${handshakeTimeoutMs / 1000} s`);
  assert.equal(limit("WebSocket message"), String(maxMessageBytes));
  assert.equal(limit("agent's token"), String(maxTokenChars));
  assert.equal(
    limit("agents' failed attempts from one address"),
    `${freeFailures}, and 1 a second`,
  );
  assert.equal(
    limit("delayed responses to agents' failed attempts, per address and in all"),
    `${maxWaiting}, ${maxWaitingOverall}`,
  );
  assert.equal(limit("issuer's keys: one fetch"), `${keysTimeoutMs / 1000} s`);
  assert.equal(limit("issuer's keys: size"), String(maxKeysBytes));
  assert.equal(
    limit("issuer's keys: used after the last successful fetch"),
    `${keysLastGoodMs / 3_600_000} h`,
  );
  assert.equal(
    limit("issuer's keys: between two fetches"),
    `${keysCooldownMs / 1000} s`,
  );
  assert.equal(
    limit("caller's accepted token: between two checks"),
    `${rememberedMs / 1000} s`,
  );
  const { window, maxWindow } = defaultSettings;
  assert.equal(
    limit("flow-control window of a stream, initial and maximum"),
    `${window}, ${maxWindow}`,
  );
});
