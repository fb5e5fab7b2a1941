import { deepEqual } from "node:assert/strict";
import type { ExchangeEnd } from "../../../lib/net/exchange.ts";
import { type AuditRecord, AuditTrail } from "../../../lib/relay/telemetry/audit.ts";

/** A trail whose log writes a record when the test says so. */
class Setup {
  readonly records: AuditRecord[] = [];
  readonly trail: AuditTrail;
  #written: ((isWritten: boolean) => void)[] = [];

  constructor() {
    const log = {
      append: (record: AuditRecord, written: (isWritten: boolean) => void) => {
        this.records.push(record);
        this.#written.push(written);
      },
    };
    const request = { auditFields: () => ({ cluster: "dev" }), code: undefined, auditFailed() {} };
    this.trail = new AuditTrail({ log, failsOpen: false }, request);
  }

  write(): void {
    this.#written.shift()!(true);
  }

  get events(): unknown[] {
    return this.records.map(({ event, complete }) => [event, complete]);
  }
}

const left: ExchangeEnd = {
  status: 0,
  bytes: 0,
  bytesIn: 0,
  ms: 1,
  firstByteMs: undefined,
  isComplete: false,
};

Deno.test("AuditTrail records a denied caller who does not wait for the answer", () => {
  const setup = new Setup();
  setup.trail.ended(left);
  deepEqual(setup.events, [["denied", false]]);
});

Deno.test("AuditTrail records an end behind its beginning, and lets nothing begin then", () => {
  const setup = new Setup();
  const never = () => {
    throw new Error("Its caller has left");
  };
  setup.trail.start(never, never);
  setup.trail.ended(left);
  deepEqual(setup.events, [["start", undefined]]);
  setup.write();
  deepEqual(setup.events, [["start", undefined], ["end", false]]);
});
