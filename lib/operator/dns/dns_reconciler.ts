/** Makes the DNS records of a binding's hostnames, by whichever provider its tunnel names. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import { DnsCredentials } from "./dns_credentials.ts";
import { type DnsPlan, planDns } from "./dns_plan.ts";
import { syncEndpoint } from "./endpoint_reconciler.ts";
import { type KeptRecord, recordKey } from "./kept_records.ts";
import { type Answer, type ChangeListener, RecordChanges } from "./record_changes.ts";
import type { CompiledBinding } from "../routes/route_table.ts";

/** The outcome of a synchronization. */
export interface DnsResult {
  /** Undefined where there is no provider. */
  readonly verdict: Verdict | undefined;
  /** What may still be there. */
  readonly kept: readonly KeptRecord[];
  /** After how many milliseconds to look again; infinite if only a change tells. */
  readonly againMs: number;
}

/** What came of taking records away. */
export interface Removal {
  readonly left: readonly KeptRecord[];
  /** Why the first one of them is left; undefined while changes are under way. */
  readonly fault: { readonly name: string; readonly reason: string } | undefined;
  readonly againMs: number;
}

/** Records that are there or are to be, with what is known of them. */
interface Made {
  readonly kept: readonly KeptRecord[];
  readonly faults: readonly Verdict[];
  readonly againMs: number;
}

/** Makes and deletes the DNS records of all bindings. */
export class DnsReconciler {
  readonly #context: Context;
  readonly #credentials: DnsCredentials;
  readonly #changes: RecordChanges;

  constructor(context: Context, listener: ChangeListener) {
    this.#context = context;
    this.#credentials = new DnsCredentials(context.accesses);
    this.#changes = new RecordChanges(context, this.#credentials, listener);
  }

  /** As {@link planDns}. */
  async plan(compiled: CompiledBinding): Promise<DnsPlan> {
    return await planDns(compiled, {
      ownerOf: (tunnel) => this.#context.accesses.ownerOf(tunnel),
      keepCredentials: (secret) => this.#credentials.keep(secret),
    });
  }

  /**
   * Creates, changes and deletes a binding's records.
   *
   * @param known What the binding's status says: the records of the plan, and others, which go.
   */
  async sync(
    object: KubeObject,
    plan: DnsPlan,
    known: readonly KeptRecord[],
  ): Promise<DnsResult> {
    if (plan.isUndecided) return { verdict: plan.fault, kept: known, againMs: Infinity };
    const endpoint = await syncEndpoint(this.#context, object, plan);
    const binding = keyOf(object.metadata);
    const keys = new Set(plan.kept.map(recordKey));
    const names = new Set(plan.kept.map(nameOf));
    const unwanted = known.filter((record) => !keys.has(recordKey(record)));
    // A name has to be given up by one owner before another can have it. Two servers may be one with
    // two addresses: what is taken off there is put anew.
    const former = unwanted.filter((record) => names.has(nameOf(record)));
    const inTheWay = await this.removeAll(former, binding);
    this.#forgetMade(plan.kept, former.filter((record) => !inTheWay.left.includes(record)));
    const made = await this.#putAll(plan.kept, { known, inTheWay: inTheWay.left, binding });
    const others = unwanted.filter((record) => !names.has(nameOf(record)));
    const removed = await this.removeAll(others, binding);
    const left = [...inTheWay.left, ...removed.left];
    // The status will say that they are gone.
    this.#changes.forgetRemoved(unwanted.filter((record) => !left.includes(record)));
    const verdict = plan.provider === "None"
      ? undefined
      : endpoint?.verdict ?? made.faults[0] ?? plan.fault ?? yes("RecordsMade");
    return {
      verdict,
      kept: [...made.kept, ...left],
      againMs: Math.min(
        ...[endpoint ?? { againMs: Infinity }, inTheWay, made, removed].map((it) => it.againMs),
      ),
    };
  }

  /** @param inTheWay Records of these names that have to go first. */
  async #putAll(
    wanted: readonly KeptRecord[],
    { known, inTheWay, binding }: {
      readonly known: readonly KeptRecord[];
      readonly inTheWay: readonly KeptRecord[];
      readonly binding: string;
    },
  ): Promise<Made> {
    const kept: KeptRecord[] = [];
    const faults: Verdict[] = [];
    let againMs = Infinity;
    for (const record of wanted) {
      const isBlocked = inTheWay.some((it) =>
        nameOf(it) === nameOf(record) && it.server === record.server
      );
      const answer = isBlocked ? undefined : await this.#changes.put(record, binding);
      const isMade = answer?.outcome.kind === "done";
      kept.push(
        isMade ? record : known.find((it) => recordKey(it) === recordKey(record)) ?? record,
      );
      const verdict = verdictOf(record, answer?.outcome ?? { kind: "pending" });
      if (verdict.status !== "True") faults.push(verdict);
      if (answer) againMs = Math.min(againMs, millisecondsTo(answer));
    }
    return { kept, faults, againMs };
  }

  /** Names that have lost records are asked about again. */
  #forgetMade(records: readonly KeptRecord[], removed: readonly KeptRecord[]): void {
    const names = new Set(removed.map(nameOf));
    this.#changes.forgetMade(records.filter((record) => names.has(nameOf(record))));
  }

  /**
   * Takes records away, and knows which are gone until all of them are.
   *
   * @param binding Whose they are, by its key.
   */
  async removeAll(records: readonly KeptRecord[], binding: string): Promise<Removal> {
    const left: KeptRecord[] = [];
    const faults: { readonly name: string; readonly reason: string }[] = [];
    let againMs = Infinity;
    for (const record of records) {
      const answer = await this.#changes.remove(record, binding);
      const { outcome } = answer;
      if (outcome.kind === "done") continue;
      left.push(record);
      if ("reason" in outcome) faults.push({ name: record.name, reason: outcome.reason });
      againMs = Math.min(againMs, millisecondsTo(answer));
    }
    if (left.length === 0) this.#changes.forgetRemoved(records);
    const fault = faults.length === left.length ? faults[0] : undefined;
    return { left, fault, againMs };
  }
}

function nameOf({ name, zone }: KeptRecord): string {
  return `${zone} ${name}`;
}

/** Until an answer is to be renewed. */
function millisecondsTo({ untilMs }: Answer): number {
  return Math.max(100, untilMs - performance.now());
}

function verdictOf({ name }: KeptRecord, outcome: Answer["outcome"]): Verdict {
  switch (outcome.kind) {
    case "done":
      return yes("RecordsMade");
    case "pending":
      return unknown("Pending", `${name} is about to get its record`);
    case "taken":
      return no("Conflict", `${name} has a record that is not this binding's`);
    case "refused":
      return no("Refused", `${name}: ${outcome.reason}`);
    case "unreachable":
      return unknown("Unreachable", `${name}: ${outcome.reason}`);
  }
}
