import { deepEqual } from "node:assert/strict";
import { CertificateExpiry } from "../../lib/runtime/node/certificate_expiry.ts";

const dayMs = 86_400_000;
const startMs = Date.parse("2030-01-01T00:00:00Z");

/** A certificate that ends some days after the start, and a clock that the test moves. */
function follow(endsAfterDays: number) {
  const state = {
    nowMs: startMs,
    notBeforeMs: startMs - 90 * dayMs,
    notAfterMs: startMs + endsAfterDays * dayMs,
  };
  const lines: (readonly [string, string, unknown])[] = [];
  const gauges: (readonly [string, number])[] = [];
  const told = (level: string) => (message: string, properties?: Record<string, unknown>): void => {
    lines.push([level, message, properties?.["days"]]);
  };
  const expiry = new CertificateExpiry({
    facts: () => [{
      ...{ option: "tls-cert", path: "/tls.crt", subject: "CN=relay" },
      notBeforeMs: state.notBeforeMs,
      notAfterMs: state.notAfterMs,
    }],
    expires: (option, seconds) => gauges.push([option, seconds]),
    log: { warn: told("warn"), error: told("error") },
    nowMs: () => state.nowMs,
  });
  const lookAfter = (days: number): void => {
    state.nowMs = startMs + days * dayMs;
    expiry.look();
  };
  return { state, lines, gauges, lookAfter, close: () => expiry.close() };
}

Deno.test("CertificateExpiry says nothing of a certificate that lasts, but to the metric", () => {
  const { lines, gauges, lookAfter, close } = follow(30);
  lookAfter(16);
  close();
  deepEqual(lines, []);
  const seconds = startMs / 1000 + 30 * 86_400;
  deepEqual(gauges, [["tls-cert", seconds], ["tls-cert", seconds]]);
});

Deno.test("CertificateExpiry warns once a day from 14 days before the end, then says it is over", () => {
  const { lines, lookAfter, close } = follow(15);
  for (let hour = 0; hour < 17 * 24; hour++) lookAfter(hour / 24);
  close();
  const soon = "A certificate expires soon";
  deepEqual(lines.slice(0, 2), [["warn", soon, 13], ["warn", soon, 12]]);
  deepEqual(lines.filter(([level]) => level === "warn").length, 14);
  const over = lines.filter(([level]) => level === "error");
  deepEqual(over, [
    ["error", "A certificate has expired", undefined],
    ["error", "A certificate has expired", undefined],
  ]);
});

Deno.test("CertificateExpiry says at once that a certificate has expired, and of a new one what is to say", () => {
  const { state, lines, lookAfter, close } = follow(-1);
  state.notAfterMs = startMs + 90 * dayMs;
  lookAfter(0);
  state.notAfterMs = startMs + 2 * dayMs;
  lookAfter(0);
  lookAfter(0.5);
  close();
  deepEqual(lines, [
    ["error", "A certificate has expired", undefined],
    ["warn", "A certificate expires soon", 2],
  ]);
});

Deno.test("CertificateExpiry says at once that a certificate is not valid yet, and once a day", () => {
  const { state, lines, lookAfter, close } = follow(90);
  state.notBeforeMs = startMs + 2 * dayMs;
  for (let hour = 0; hour < 72; hour++) lookAfter(hour / 24);
  close();
  const line = "A certificate is not valid yet; check this machine's clock";
  deepEqual(lines, [["error", line, undefined], ["error", line, undefined]]);
});
