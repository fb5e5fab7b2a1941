import assert from "node:assert/strict";
import type { Log } from "../lib/log.ts";
import {
  firstPeriodMs,
  freeLines,
  linesPerSecond,
  maxKinds,
  RateLimitedLog,
  toldAtOnce,
} from "../lib/rate_limited_log.ts";

type Line = readonly [level: string, message: string, fields: Record<string, unknown>];

class Setup {
  nowMs = 0;
  readonly lines: Line[] = [];
  readonly sparse: RateLimitedLog;

  constructor() {
    const take = (level: string): Log["info"] => (message, fields = {}) => {
      this.lines.push([level, message, fields]);
    };
    const log = {
      debug: take("debug"),
      info: take("info"),
      warn: take("warn"),
      error: take("error"),
    };
    this.sparse = new RateLimitedLog(log, () => this.nowMs);
  }

  /** Causes as many lines, at a pace that is no reason to leave one out. */
  cause(count: number, peer = "203.0.113.7", reason = "unknown_token"): void {
    for (let n = 0; n < count; n++) {
      this.sparse.warn("Refused a caller", { reason, peer }, { cluster: `c${n}` });
    }
  }

  /** Lets time pass as the program does, with a look each second. */
  pass(ms: number): void {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs;) {
      this.nowMs += 1_000;
      this.sparse.sweep();
    }
  }

  get messages(): string[] {
    return this.lines.map(([, message]) => message);
  }
}

Deno.test("RateLimitedLog logs the first lines of a kind and address, and then how many more there were", () => {
  const setup = new Setup();
  setup.cause(freeLines + 297);
  const about = { reason: "unknown_token", peer: "203.0.113.7" };
  const first = Array.from({ length: freeLines }, (_, n): Line => {
    return ["warn", "Refused a caller", { ...about, cluster: `c${n}` }];
  });
  assert.deepEqual(setup.lines, first);
  setup.pass(firstPeriodMs);
  assert.deepEqual(setup.lines.slice(freeLines), [[
    "warn",
    "Refused a caller; 297 more like this from 203.0.113.7 in the last 5 s",
    { ...about, unlogged: 297 },
  ]]);
});

Deno.test("RateLimitedLog tells less and less often of what goes on, down to once a minute", () => {
  const setup = new Setup();
  setup.cause(freeLines);
  for (let second = 0; second < 600; second++) {
    setup.cause(1);
    setup.pass(1_000);
  }
  const told = setup.messages.slice(freeLines);
  assert.ok(told.length <= 14, `${told.length} lines in ten minutes`);
  assert.match(told.at(-1)!, /; 60 more like this from 203\.0\.113\.7 in the last minute$/);
});

Deno.test("RateLimitedLog logs again what comes after a pause", () => {
  const setup = new Setup();
  setup.cause(freeLines + 1);
  setup.pass(120_000);
  setup.lines.length = 0;
  setup.cause(1);
  assert.deepEqual(setup.messages, ["Refused a caller"]);
});

Deno.test("RateLimitedLog keeps kinds and addresses apart; an IPv6 host's are one", () => {
  const setup = new Setup();
  setup.cause(freeLines + 1, "2001:db8::1");
  setup.pass(2_000);
  setup.cause(1, "2001:db8::2");
  setup.cause(1, "2001:db8:0:1::1");
  setup.cause(1, "2001:db8::1", "expired");
  assert.equal(setup.lines.length, freeLines + 2);
  setup.pass(firstPeriodMs);
  assert.match(
    setup.messages.at(-1)!,
    /; 2 more like this from 2001:db8:0:0::\/64 in the last 5 s$/,
  );
});

Deno.test("RateLimitedLog logs few lines a second, whoever causes them, and counts all", () => {
  const setup = new Setup();
  const addresses = 10_000;
  for (let n = 0; n < addresses; n++) setup.cause(1, `10.${n >> 16}.${n >> 8 & 255}.${n & 255}`);
  assert.equal(setup.lines.length, linesPerSecond);
  setup.pass(firstPeriodMs);
  assert.ok(setup.lines.length <= linesPerSecond + toldAtOnce + 1, `${setup.lines.length} lines`);
  const told = setup.lines.reduce((sum, [, , { unlogged = 1 }]) => sum + Number(unlogged), 0);
  assert.equal(told, addresses);
  assert.ok(addresses > maxKinds);
  assert.match(setup.messages.at(-1)!, /; \d+ more like this from other addresses$/);
});

Deno.test("RateLimitedLog.sweep of all tells at once, for a program that ends", () => {
  const setup = new Setup();
  setup.cause(freeLines + 3);
  setup.sparse.sweep(true);
  assert.match(setup.messages.at(-1)!, /; 3 more like this/);
  setup.lines.length = 0;
  setup.sparse.sweep(true);
  assert.deepEqual(setup.lines, []);
});
