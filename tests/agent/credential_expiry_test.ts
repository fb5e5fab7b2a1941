import { deepEqual, equal } from "node:assert/strict";
import { CredentialExpiry } from "../../lib/agent/credential_expiry.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const startMs = Date.parse("2030-01-01T00:00:00Z");
const soon = "The token for the target expires soon; replace it";
const over = "The token for the target has expired; replace it";

function encode(value: unknown): string {
  return btoa(typeof value === "string" ? value : JSON.stringify(value))
    .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function jwt(claims: unknown): string {
  return `${encode({ alg: "RS256", typ: "JWT" })}.${encode(claims)}.c2lnbmF0dXJl`;
}

/** A token that is valid for so many hours, from some hours after the start. */
function tokenFor(hours: number, from = 0): string {
  const iat = startMs / 1000 + from * 3600;
  return jwt({ iat, exp: iat + hours * 3600 });
}

/** What an agent tells of its tokens, and a clock that the test moves. */
function follow() {
  const lines: unknown[] = [];
  const gauges: (number | undefined)[] = [];
  let nowMs = startMs;
  const told = (level: string) => (message: string, properties?: Record<string, unknown>): void => {
    lines.push([level, message, properties?.["expires"], properties?.["hours"]]);
  };
  const expiry = new CredentialExpiry({
    expires: (seconds) => gauges.push(seconds),
    log: { warn: told("warn"), error: told("error") },
    about: { option: "sa-token-path" },
    nowMs: () => nowMs,
  });
  /** Looks every ten minutes, from the last time until so many hours after the start. */
  const lookUntil = (hours: number): void => {
    for (; nowMs <= startMs + hours * hourMs; nowMs += hourMs / 6) expiry.look();
  };
  return { expiry, lines, gauges, lookUntil };
}

Deno.test("CredentialExpiry announces a day's token hours before its end, and then that it is over", () => {
  const { expiry, lines, gauges, lookUntil } = follow();
  expiry.loaded(tokenFor(24));
  deepEqual(gauges, [startMs / 1000 + 86_400]);
  lookUntil(21);
  deepEqual(lines, [], "not while most of its life is left");
  lookUntil(23.9);
  deepEqual(lines, [["warn", soon, "2030-01-02T00:00:00.000Z", 2]]);
  lookUntil(25);
  deepEqual(lines.slice(1), [["error", over, "2030-01-02T00:00:00.000Z", undefined]]);
});

Deno.test("CredentialExpiry warns of a year's token from 14 days before its end, once a day", () => {
  const { expiry, lines, lookUntil } = follow();
  expiry.loaded(tokenFor(365 * 24));
  lookUntil(350 * 24);
  deepEqual(lines, []);
  lookUntil(353.5 * 24);
  deepEqual(lines.length, 3);
});

Deno.test("CredentialExpiry says nothing of a token that kubelet replaces in time", () => {
  const { expiry, lines, lookUntil } = follow();
  for (let hour = 0; hour < 24; hour++) {
    expiry.loaded(tokenFor(1.25, hour));
    lookUntil(hour + 1);
  }
  deepEqual(lines, []);
});

Deno.test("CredentialExpiry tells at once of a token that has expired before it was loaded", () => {
  const { expiry, lines } = follow();
  expiry.loaded(jwt({ exp: startMs / 1000 - 1 }));
  deepEqual(lines, [["error", over, "2029-12-31T23:59:59.000Z", undefined]]);
});

Deno.test("CredentialExpiry knows no end of what is not a JWT, or has no usable exp", () => {
  const opaque = ["opaque", "a.b.c", "..", `${encode("{}")}.${encode("null")}.x`];
  const exps = ["soon", null, {}, -1, 1e300, [startMs / 1000]];
  for (const token of [...opaque, jwt({}), jwt([]), ...exps.map((exp) => jwt({ exp }))]) {
    const { expiry, lines, gauges, lookUntil } = follow();
    expiry.loaded(token);
    lookUntil(1);
    deepEqual([gauges, lines], [[undefined], []], token);
  }
});

Deno.test("CredentialExpiry measures a token without iat from when it was loaded", () => {
  const { expiry, lines, lookUntil } = follow();
  expiry.loaded(jwt({ exp: (startMs + 10 * dayMs) / 1000 }));
  lookUntil(8.9 * 24);
  equal(lines.length, 0);
  lookUntil(9.1 * 24);
  equal(lines.length, 1);
});
