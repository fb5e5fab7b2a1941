/** Who did what: a record of each tunnelled request before anything of it is done, and of how it ended. */
import type { EndDecision, ExchangeEnd } from "../../net/exchange.ts";

/** One record, by the names of its fields; what is undefined is left out. */
export type AuditRecord = Readonly<Record<string, string | number | boolean | undefined>>;

/** Where records go; a runtime lends it. */
export interface AuditLog {
  /**
   * Appends a record.
   *
   * @param written Called once, soon or at once: true when the record is with the system, false when
   *   it can't be written, or not in time.
   */
  append(record: AuditRecord, written: (isWritten: boolean) => void): void;
}

/** What a relay audits with. */
export interface Audit {
  readonly log: AuditLog;
  /** Whether requests go on that can't be recorded. */
  readonly failsOpen: boolean;
}

/** What a trail asks of the request that it follows. */
export interface Audited {
  /** Who asks for what, from whom. */
  auditFields(): AuditRecord;
  /** The code of an answer of the relay's own. */
  readonly code: string | undefined;
  /** A record could not be written. */
  auditFailed(): void;
}

/**
 * The records of one request: `start` before anything of it is sent to an agent, `end` before the
 * last byte of its answer leaves; or `denied`, alone, before the answer that says no leaves.
 */
export class AuditTrail {
  readonly #audit: Audit;
  readonly #request: Audited;
  /** While it is `starting`, its beginning is being written. */
  #state: "new" | "starting" | "started" | "ended" = "new";
  /** How it ended before its beginning was written. */
  #earlyEnd: ExchangeEnd | undefined;

  constructor(audit: Audit, request: Audited) {
    this.#audit = audit;
    this.#request = request;
  }

  /** Records the end of an answer before its last byte leaves, and says what becomes of the answer. */
  hold(end: ExchangeEnd, settle: (decision: EndDecision) => void): void {
    const isNew = this.#state === "new";
    this.#end(end, (mayGoOn) => {
      if (mayGoOn) return settle("send");
      // What was done is not to be told as undone: its answer is cut. What was not may be asked again.
      settle(isNew ? "replace" : "abort");
    });
  }

  /**
   * Records the beginning. `go` is called once the request may go on, or `refused` if it must not, as
   * there is no record of it; neither if its caller has left.
   */
  start(go: () => void, refused: () => void): void {
    this.#state = "starting";
    this.#append("start", { decision: "allowed" }, (mayGoOn) => {
      this.#state = "started";
      if (this.#earlyEnd) return this.#end(this.#earlyEnd, () => {});
      if (mayGoOn) return go();
      this.#state = "ended";
      refused();
    });
  }

  /**
   * The request is over: records it if that was not done before, as nobody waits for its answer. A
   * caller who was denied may have left without it.
   */
  ended(end: ExchangeEnd): void {
    if (this.#state === "starting") this.#earlyEnd = end;
    else this.#end(end, () => {});
  }

  #end({ status, bytesIn, bytes, ms, isComplete }: ExchangeEnd, settled: Settled): void {
    if (this.#state === "ended") return settled(true);
    const isDenied = this.#state === "new";
    this.#state = "ended";
    const outcome = { status, code: this.#request.code, bytes_in: bytesIn, bytes };
    const more = { ...outcome, ms: Math.round(ms * 10) / 10, complete: isComplete };
    if (isDenied) this.#append("denied", { decision: "denied", ...more }, settled);
    else this.#append("end", more, settled);
  }

  #append(event: string, more: AuditRecord, settled: Settled): void {
    const fields = this.#request.auditFields();
    const record = {
      time: new Date().toISOString(),
      event,
      ...(event === "denied" ? shortened(fields) : fields),
      ...more,
    };
    this.#audit.log.append(record, (isWritten) => {
      if (!isWritten) this.#request.auditFailed();
      settled(isWritten || this.#audit.failsOpen);
    });
  }
}

type Settled = (mayGoOn: boolean) => void;

/**
 * Characters of each of a refused caller's words. Whoever is not let in must not be able to fill the
 * disk, or the queue, that others' records need. Of what is let in nothing is left out: long paths
 * could hide what was done.
 */
const maxDeniedChars = 1_024;

function shortened(fields: AuditRecord): AuditRecord {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => {
      const isLong = typeof value === "string" && value.length > maxDeniedChars;
      return [name, isLong ? `${value.slice(0, maxDeniedChars)}…` : value];
    }),
  );
}
