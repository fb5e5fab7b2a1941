import assert from "node:assert/strict";
import { defaultHeadLimits } from "../../lib/http1/head.ts";
import { fromStreamError } from "../../lib/relay/stream_errors.ts";
import { handshakeTimeoutMs } from "../../lib/relay/routes/agent_session.ts";
import { CloseCode, decodeStreamError, streamErrorCodes } from "../../lib/protocol/errors.ts";
import {
  FrameType,
  headerBytes,
  maxMessageBytes,
  maxMessageFrames,
  maxSentMessageFrames,
  maxVersion2MessageBytes,
} from "../../lib/protocol/frame.ts";
import {
  allowanceBurst,
  allowancePerSecond,
  allowancePerUse,
} from "../../lib/protocol/frame_allowance.ts";
import { maxTurnFrames } from "../../lib/protocol/inbox.ts";
import {
  announcementSchema,
  decodeAnnouncement,
  decodeNotice,
  maxAnnouncedTargets,
  maxAnnouncementBytes,
  maxClaimedHostnames,
  maxNoticeBytes,
} from "../../lib/protocol/announcement.ts";
import { formatTargetKey, parseTargetKey, streamKinds } from "../../lib/protocol/target_key.ts";
import { decodeSettings, defaultSettings, settingsSchema } from "../../lib/protocol/settings.ts";
import { code, readText, table, tableAfter } from "./markdown.ts";

const page = "docs/protocol.md";

Deno.test("protocol.md: the frame table is FrameType, in its order", () => {
  const rows = table(page, ["type", "name", "sent by", "stream", "payload", "version"]);
  const written = rows.map((row) => [row["name"], Number(code(row["type"]!))]);
  assert.deepEqual(written, Object.entries(FrameType));
});

Deno.test("protocol.md: version 1 has the types up to 0x07, of which version 2 has all but Connect", () => {
  const rows = table(page, ["type", "name", "sent by", "stream", "payload", "version"]);
  for (const { type, name, version } of rows) {
    const isFirst = Number(code(type!)) <= FrameType.Pong;
    assert.equal(version, name === "Connect" ? "1" : isFirst ? "1, 2" : "2", String(name));
  }
});

Deno.test("protocol.md: the error table has every code and the status that a caller gets", () => {
  const rows = table(page, ["code", "meaning", "caller gets"]);
  const written = rows.map((row) => [code(row["code"]!), Number(row["caller gets"])]);
  const real = streamErrorCodes.map((name) => [name, fromStreamError(name).status]);
  assert.deepEqual(written, real);
});

Deno.test("protocol.md: `limit` comes with Retry-After: 1", () => {
  for (const name of streamErrorCodes) {
    const { retryAfterSeconds } = fromStreamError(name);
    assert.equal(retryAfterSeconds, name === "limit" ? 1 : undefined, name);
  }
});

Deno.test("protocol.md: the kinds are those that the code has, and Open names them as the table does", () => {
  const rows = table(page, ["kind", "target in Open", "carries"]);
  assert.deepEqual(rows.map((row) => code(row["kind"]!)), [...streamKinds]);
  for (const row of rows) {
    const kind = streamKinds.find((known) => known === code(row["kind"]!))!;
    const text = code(row["target in Open"]!);
    assert.equal(formatTargetKey("NAME", kind), text);
    assert.deepEqual(parseTargetKey(text), { kind, name: "NAME" });
  }
});

Deno.test("protocol.md: the table of Announce and its JSON example are the schema's", () => {
  const rows = table(page, ["key", "what"]);
  assert.deepEqual(rows.map((row) => code(row["key"]!)), Object.keys(announcementSchema.shape));
  const [, json] = /```json\n(\{\s+"targets"[\s\S]*?)```/.exec(readText(page)) ?? [];
  const example = decodeAnnouncement(new TextEncoder().encode(json));
  assert.deepEqual(example.targets.map(({ name }) => name), ["dashboard", "pg"]);
  assert.deepEqual(example.hostnames, [{ hostname: "hello.example.com", target: "dashboard" }]);
  assert.equal(example.hash?.length, 64);
  const notice = { code: "hostname_refused", message: "…" };
  assert.deepEqual(decodeNotice(new TextEncoder().encode(JSON.stringify(notice))), notice);
});

Deno.test("protocol.md: the bounds of Announce and Notice are the code's", () => {
  assert.equal(stated(/The payload has at most (\d+) KiB/) * 1024, maxAnnouncementBytes);
  assert.equal(stated(/at most ([\d,]+) objects, no name twice/), maxAnnouncedTargets);
  assert.equal(stated(/at most (\d+) objects, no hostname twice/), maxClaimedHostnames);
  assert.equal(stated(/1,000 UTF-16 units, the payload (\d+) KiB/) * 1024, maxNoticeBytes);
});

Deno.test("protocol.md: the close codes are CloseCode", () => {
  const written = tableAfter(page, "## Close codes").map((row) => Number(row["code"]));
  assert.deepEqual(written, Object.values(CloseCode));
});

Deno.test("protocol.md: the Settings table has the schema's keys and what is sent by default", () => {
  const rows = table(page, ["key", "type", "allowed", "culvert sends", "meaning"]);
  const keys = rows.map((row) => code(row["key"]!));
  assert.deepEqual(keys, Object.keys(settingsSchema.shape));
  for (const [key, value] of Object.entries(defaultSettings)) {
    const row = rows[keys.indexOf(key)];
    assert.equal(row?.["culvert sends"], String(value), key);
  }
});

const sample = {
  version: 2,
  window: 1024,
  maxWindow: 4096,
  maxFrame: 4096,
  maxStreams: 1,
  instance: "i",
};

function accepts(settings: Record<string, unknown>): boolean {
  return settingsSchema.safeParse(settings).success;
}

Deno.test("protocol.md: the Settings table's ranges are the schema's", () => {
  const rows = table(page, ["key", "type", "allowed", "culvert sends", "meaning"]);
  for (const row of rows.filter(({ type }) => type === "integer")) {
    const key = code(row["key"]!);
    const [least, most] = [...row["allowed"]!.matchAll(/\d+/g)].map(Number);
    assert.ok(least !== undefined, `${key} has a least value`);
    assert.ok(accepts({ ...sample, [key]: least }), `${key}: ${least}`);
    assert.ok(!accepts({ ...sample, [key]: least - 1 }), `${key}: ${least - 1}`);
    if (most === undefined) continue;
    assert.ok(accepts({ ...sample, [key]: most }), `${key}: ${most}`);
    assert.ok(!accepts({ ...sample, [key]: most + 1 }), `${key}: ${most + 1}`);
  }
  for (const key of ["instance", "software"]) {
    assert.ok(accepts({ ...sample, [key]: "x".repeat(128) }), key);
    assert.ok(!accepts({ ...sample, [key]: "x".repeat(129) }), key);
  }
  assert.ok(accepts({ ...sample, later: true }), "unknown keys");
  assert.equal(
    decodeSettings(new TextEncoder().encode(JSON.stringify(sample))).software,
    "unknown",
  );
});

/** The number in front of a unit, where the page says it in these words. */
function stated(sentence: RegExp): number {
  const match = sentence.exec(readText(page).replaceAll(/\s+/g, " "));
  assert.ok(match?.[1], `${page} says ${sentence}`);
  return Number(match[1].replace(",", ""));
}

Deno.test("protocol.md: sizes that the text gives are the code's", () => {
  assert.equal(stated(/A message may be up to (\d+) MiB/) * 1024 * 1024, maxMessageBytes);
  assert.equal(stated(/binary one of fewer than (\d+) bytes, are protocol errors/), headerBytes);
  assert.equal(stated(/culvert starts with (\d+) KiB/) * 1024, defaultSettings.window);
  assert.equal(stated(/The head has at most (\d+) KiB/) * 1024, defaultHeadLimits.maxBytes);
  assert.equal(stated(/`--max-header-bytes`\) and (\d+) fields/), defaultHeadLimits.maxFields);
  const budget = /defaultWindowBudgetBytes = (\d+) \* 1024 \* 1024;/;
  const [, budgetMiB] = budget.exec(readText("lib/protocol/session_streams.ts")) ?? [];
  assert.equal(stated(/one budget of (\d+) MiB for the session/), Number(budgetMiB));
  assert.equal(stated(/disconnected with 1002 after (\d+) s/) * 1000, handshakeTimeoutMs);
});

Deno.test("protocol.md: the bounds on a peer's work are the code's", () => {
  const rows = tableAfter(page, "## Bounds on a peer's work").map((row) => row["value"]!);
  const numbers = rows.map((value) => Number(/[\d,]+/.exec(value)![0].replaceAll(",", "")));
  assert.deepEqual(numbers, [
    maxVersion2MessageBytes / 1024 / 1024,
    maxMessageFrames,
    allowanceBurst,
    allowancePerSecond,
    allowancePerUse,
    maxTurnFrames,
  ]);
  const sent = stated(/culvert puts at most ([\d,]+) frames into a message/);
  assert.equal(sent, maxSentMessageFrames);
});

Deno.test("protocol.md: an Error that is not understood is reset, and a long text is cut", () => {
  const kept = stated(/keeps (\d+) UTF-16 units/);
  const long = JSON.stringify({ code: "tls", message: "x".repeat(kept + 1) });
  assert.equal(decodeStreamError(new TextEncoder().encode(long)).message.length, kept);
  for (const text of ['{"code":"later","message":"x"}', '{"code":"tls"}', "refused", ""]) {
    assert.equal(decodeStreamError(new TextEncoder().encode(text)).code, "reset", text);
  }
});
