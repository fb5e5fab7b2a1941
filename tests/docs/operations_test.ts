import assert from "node:assert/strict";
import { parseAgentOptions } from "../../lib/config/agent_options.ts";
import {
  readCallerCertificates,
  readCallerClaims,
  readCallerTokens,
} from "../../lib/config/entries/callers.ts";
import { parseRelayOptions } from "../../lib/config/relay_options.ts";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { defaultConnectionTimeouts } from "../../lib/net/http_connection.ts";
import { maxMessageBytes } from "../../lib/protocol/frame.ts";
import { streamErrorCodes } from "../../lib/protocol/errors.ts";
import { defaultSettings } from "../../lib/protocol/settings.ts";
import { rememberedMs } from "../../lib/relay/callers/callers.ts";
import {
  keysCooldownMs,
  keysLastGoodMs,
  keysTimeoutMs,
  maxKeysBytes,
} from "../../lib/relay/callers/keys.ts";
import { maxTokenChars } from "../../lib/relay/agents/agent_credentials.ts";
import { freeFailures, maxWaiting, maxWaitingOverall } from "../../lib/relay/limits/failures.ts";
import * as relayErrors from "../../lib/relay/errors.ts";
import { handshakeTimeoutMs } from "../../lib/relay/routes/agent_session.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { code, codes, readText, sources, type Table, table, tableAfter } from "./markdown.ts";

const page = "docs/operations.md";

/** An option as a help text and as a table of the page have it. */
interface DocumentedOption {
  /** With its value's placeholder: `--addr ADDRESS`. */
  signature: string;
  env: string;
  /** Its default, `required`, `none`, or `off` for a switch. */
  default: string;
}

function helpOf(program: "relay" | "agent"): string {
  const parse = program === "relay" ? parseRelayOptions : parseAgentOptions;
  const parsed = parse(["--help"], {});
  assert.ok(parsed.kind === "help");
  return parsed.text;
}

function optionsInHelp(help: string): DocumentedOption[] {
  return help.split(/\n(?= {2}-)|\n\n/).flatMap((entry) => {
    const line = entry.replaceAll(/\s+/g, " ").trim();
    const match = /^(--[\w-]+(?: [A-Z|:-]+)?) .* \(env (\w+)((?:; [^;)]+)*)\)$/.exec(line);
    if (!match) return [];
    const [, signature = "", env = "", facts = ""] = match;
    return [{ signature, env, default: defaultIn(facts, signature) }];
  });
}

function defaultIn(facts: string, signature: string): string {
  if (facts.includes("; required")) return "required";
  return /; default ([^;]+)/.exec(facts)?.[1] ?? (signature.includes(" ") ? "none" : "off");
}

function optionsInTable(heading: string): DocumentedOption[] {
  return tableAfter(page, heading).map((row) => ({
    signature: code(row["option"]!),
    env: code(row["environment"]!),
    default: row["default"]!.replaceAll("`", ""),
  }));
}

Deno.test("operations.md: the tables list the options of --help, their variables and defaults", () => {
  for (const [program, heading] of [["relay", "### Relay"], ["agent", "### Agent"]] as const) {
    const help = helpOf(program);
    const real = optionsInHelp(help);
    assert.equal(real.length, [...help.matchAll(/\(env /g)].length, "every option was read");
    assert.deepEqual(optionsInTable(heading), real, program);
  }
});

Deno.test("operations.md: exit codes are those of --help, and 130", () => {
  const written = table(page, ["code", "meaning"]).map((row) => Number(row["code"]));
  for (const program of ["relay", "agent"] as const) {
    const [, section = ""] = helpOf(program).split("Exit codes:\n");
    const real = [...section.matchAll(/^ {2}(\d+) /gm)].map((match) => Number(match[1]));
    assert.deepEqual(written, [...real, 130], program);
  }
});

Deno.test("operations.md: the lists about callers that it writes are valid", () => {
  const section = readText(page).split("\n### Callers\n")[1]!.split("\n## ")[0]!;
  const [tokens, certificates, claims, ...rest] = [
    ...section.matchAll(/```json\n([\s\S]*?)```/g),
  ].map((match) => match[1]!);
  assert.deepEqual(rest, []);
  const digest = "ab".repeat(32);
  const withDigest = tokens!.replace('"tokenSha256": "…"', `"tokenSha256": "${digest}"`);
  const withTokens = withDigest.replace('"token": "…"', '"token": "0123456789abcdef"');
  assert.equal(readCallerTokens(withTokens, "The page").tokens.length, 2);
  assert.equal(readCallerCertificates(certificates!, "The page").length, 2);
  assert.equal(readCallerClaims(claims!, "The page").length, 3);
});

Deno.test("operations.md: the reasons why callers are denied are those that there are", () => {
  const written = table(page, ["reason", "status", "what is wrong"])
    .flatMap((row) => codes(row["reason"]!));
  const source = readText("lib/relay/callers/caller.ts").split("type DenialReason =")[1]!;
  const real = [...source.split(";")[0]!.matchAll(/\| "(\w+)"/g)].map((match) => match[1]!);
  assert.deepEqual(new Set(written), new Set(real));
});

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

Deno.test("operations.md: every answer of the relay's own is listed with its status", () => {
  const rows = table(page, ["code", "status", "meaning"]);
  const written = new Map(rows.map((row) => [code(row["code"]!), row["status"]!]));
  assert.deepEqual(
    new Map([...written].sort()),
    new Map([...realAnswers()].sort()),
  );
});

Deno.test("operations.md: an answer that may be tried again has Retry-After", () => {
  const all = [...Object.values(relayErrors), ...streamErrorCodes.map(relayErrors.fromStreamError)];
  const real = all.flatMap((value) =>
    typeof value === "object" && value.retryAfterSeconds !== undefined ? [value.code] : []
  );
  const rows = table(page, ["code", "status", "meaning"]);
  const written = rows.filter(({ meaning }) => meaning!.includes("`Retry-After`"));
  assert.deepEqual(new Set(written.map((row) => code(row["code"]!))), new Set(real));
});

/** Messages that a program's sources give to its log. */
function loggedMessages(...paths: string[]): Set<string> {
  const messages = new Set<string>();
  for (const path of sources(...paths)) {
    for (const match of readText(path).matchAll(/log(?:\.\w+|\[[^\]]+\])\(\s*"([^"]+)"/g)) {
      messages.add(match[1]!);
    }
  }
  return messages;
}

Deno.test("operations.md: the log tables have every message of the programs", () => {
  const [relay = [], agent = []] = [tableAfter(page, "## Log"), tableAfter(page, "Agent:")];
  const shared = ["followed_config", "certificate_expiry"]
    .map((name) => `lib/runtime/node/${name}.ts`);
  const messages = (rows: Table) => new Set(rows.map((row) => row["message"]!));
  const ofRelay = ["relay.ts", "lib/relay", "lib/runtime/node/relay", ...shared];
  assert.deepEqual(messages(relay), loggedMessages(...ofRelay));
  assert.deepEqual(messages(agent), loggedMessages("agent.ts", "lib/agent", ...shared));
});

/** Names and types of what a `/metrics` answer has, without prom-client's default metrics. */
async function metricsAt(address: string): Promise<Map<string, string>> {
  const response = await fetch(`http://${address}/metrics`);
  const text = await response.text();
  const types = [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)];
  const own = types.filter(([, name]) => !/^(process|nodejs)_/.test(name!));
  assert.ok(own.length < types.length, "the default metrics are there");
  return new Map(own.map(([, name, type]) => [name!, type!]).sort() as [string, string][]);
}

function metricsInTable(line: string): Map<string, string> {
  const rows = tableAfter(page, line).map((row) => [code(row["metric"]!), row["type"]!]);
  return new Map(rows.sort() as [string, string][]);
}

async function statusOf(url: string): Promise<number> {
  const response = await fetch(url);
  await response.body?.cancel();
  return response.status;
}

Deno.test("operations.md: metrics and endpoints are those of the running programs", async (t) => {
  const clusters = [{ id: "docs", token: "docs-room-token-0123456789", targetAddr: "127.0.0.1:1" }];
  await using relay = await startRelay({ clusters, args: ["-health-addr", "127.0.0.1:0"] });
  const health = await relay.waitForLog(
    ({ message, listener }) => message === "Listening" && listener === "health",
  );
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: clusters[0]!.token,
    target: clusters[0]!.targetAddr,
  });
  await relay.waitForAgent("docs");
  const addresses: Record<string, string> = {
    "relay public": relay.publicAddress,
    "relay internal": relay.internalAddress,
    "relay health": String(health.address),
    "agent health": agent.healthAddress,
  };

  await t.step("the relay's metrics", async () => {
    assert.deepEqual(metricsInTable("## Metrics"), await metricsAt(relay.internalAddress));
  });

  await t.step("the agent's metrics", async () => {
    const section = readText(page).split("\n## Metrics\n")[1]!;
    assert.ok(section.includes("\nAgent:\n"));
    const rows = table(page, ["metric", "type", "labels", "meaning"]);
    const own = await metricsAt(agent.healthAddress);
    const relayOnly = metricsInTable("## Metrics");
    const written = rows.filter((row) => {
      const name = code(row["metric"]!);
      return !relayOnly.has(name) || own.has(name);
    });
    assert.deepEqual(new Set(written.map((row) => code(row["metric"]!))), new Set(own.keys()));
    for (const row of written) assert.equal(row["type"], own.get(code(row["metric"]!)));
  });

  const rows = table(page, ["program", "listener", "path", "answer"]);
  for (const { program, listener, path, answer } of rows) {
    const name = code(path!);
    if (!answer!.startsWith("200") && name !== "/metrics") continue;
    await t.step(`${program} ${listener} ${name}`, async () => {
      const address = addresses[`${program} ${listener}`];
      assert.equal(await statusOf(`http://${address}${name}`), 200);
    });
  }

  await t.step("there are no others: each path is missing where it is not listed", async () => {
    const paths = new Set(
      rows.map((row) => code(row["path"]!)).filter((path) => !path.includes("…")),
    );
    for (const [name, address] of Object.entries(addresses)) {
      const listed = rows.filter((row) => `${row["program"]} ${row["listener"]}` === name);
      for (const path of paths) {
        if (listed.some((row) => code(row["path"]!) === path)) continue;
        assert.equal(await statusOf(`http://${address}${path}`), 404, `${name} ${path}`);
      }
    }
  });
});

Deno.test("operations.md: every metric's value is looked at by a test of what it is about", () => {
  const files = Deno.readDirSync(new URL("../", import.meta.url));
  const rooms = [...files].filter(({ name, isDirectory }) =>
    isDirectory && !["docs", "bench", "deploy", "e2e"].includes(name)
  );
  const tests = rooms.flatMap(({ name }) => sources(`tests/${name}`)).map(readText).join("\n");
  const rows = table(page, ["metric", "type", "labels", "meaning"]);
  const names = rows.map((row) => code(row["metric"]!));
  assert.deepEqual(names.filter((name) => !tests.includes(name)), []);
});

/** The number that a row of the limits' table gives as its default. */
function limit(name: string): string {
  const row = table(page, ["limit", "unit", "default", "who meets it sees"])
    .find((row) => row["limit"] === name);
  assert.ok(row, name);
  return row["default"]!;
}

Deno.test("operations.md: the limits that are options have the options' defaults", () => {
  const options = [...optionsInTable("### Relay"), ...optionsInTable("### Agent")];
  const rows = table(page, ["limit", "unit", "default", "who meets it sees"]);
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

Deno.test("operations.md: the limits that are fixed are the code's", () => {
  const { idleMs } = defaultConnectionTimeouts;
  assert.equal(limit("header lines in a head"), String(defaultHeadLimits.maxFields));
  assert.equal(limit("a kept connection between two requests"), `${idleMs / 1000} s`);
  assert.equal(limit("agent's Settings after the handshake"), `${handshakeTimeoutMs / 1000} s`);
  assert.equal(limit("message of a session"), String(maxMessageBytes));
  assert.equal(limit("an agent's token"), String(maxTokenChars));
  assert.equal(
    limit("agents' failed attempts of one address that are answered at once"),
    `${freeFailures}, and 1 a second`,
  );
  assert.equal(
    limit("answers to agents' failed attempts that wait, for one address and for all"),
    `${maxWaiting}, ${maxWaitingOverall}`,
  );
  assert.equal(limit("keys of callers' issuer: one attempt"), `${keysTimeoutMs / 1000} s`);
  assert.equal(limit("keys of callers' issuer: the answer"), String(maxKeysBytes));
  assert.equal(
    limit("keys of callers' issuer: used without a newer answer"),
    `${keysLastGoodMs / 3_600_000} h`,
  );
  assert.equal(
    limit("keys of callers' issuer: between two attempts"),
    `${keysCooldownMs / 1000} s`,
  );
  assert.equal(
    limit("a caller's token is remembered for its connection"),
    `${rememberedMs / 1000} s`,
  );
  const { window, maxWindow } = defaultSettings;
  assert.equal(
    limit("unread bytes of one stream, at first and at most"),
    `${window}, ${maxWindow}`,
  );
});
