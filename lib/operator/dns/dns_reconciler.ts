/** Makes the DNS records of a binding's hostnames, at the provider that its tunnel names. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import { DnsCredentials } from "./dns_credentials.ts";
import { type DnsPlan, planDns, withoutNew } from "./dns_plan.ts";
import { endpointNames, syncEndpoint } from "./endpoint_reconciler.ts";
import { type KeptRecord, recordKey } from "./kept_records.ts";
import { type Answer, type ChangeListener, RecordChanges } from "./record_changes.ts";
import type { CompiledBinding } from "../routes/route_table.ts";

/** The result of {@link DnsReconciler.sync}. */
export interface DnsResult {
  /** Whether all records are made; undefined if the tunnel names no provider. */
  readonly verdict: Verdict | undefined;
  /** The records that may exist at the provider now, for the binding's status. */
  readonly kept: readonly KeptRecord[];
  /** After how many milliseconds to reconcile again; infinite if only a change calls for it. */
  readonly againMs: number;
}

/** The result of {@link DnsReconciler.removeAll}. */
export interface Removal {
  readonly left: readonly KeptRecord[];
  /** Why the first record is left; undefined while changes are under way. */
  readonly fault: { readonly name: string; readonly reason: string } | undefined;
  readonly againMs: number;
}

/** The wanted records, as far as they are made, and what keeps others from being made. */
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

  /**
   * Plans a binding's records, as {@link planDns} does.
   *
   * @param known The records in the binding's status.
   * @param untaken Hostnames that get no new record, with the verdict on their records.
   */
  async plan(
    compiled: CompiledBinding,
    known: readonly KeptRecord[],
    untaken: ReadonlyMap<string, Verdict>,
  ): Promise<DnsPlan> {
    const plan = await planDns(compiled, {
      ownerOf: (tunnel) => this.#context.accesses.ownerOf(tunnel),
      keepCredentials: (secret) => this.#credentials.keep(secret),
    });
    const there = [
      ...known.map(({ name }) => name),
      ...endpointNames(this.#context, compiled.object),
    ];
    return withoutNew(plan, new Set(there), untaken);
  }

  /**
   * Creates, changes and deletes a binding's records.
   *
   * @param known The records in the binding's status. Those that are not in the plan are deleted.
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
    // One owner must give up a name before another can have it. Two servers may be the same one under
    // two addresses, so a record that was deleted at one of them is made again.
    const former = unwanted.filter((record) => names.has(nameOf(record)));
    const inTheWay = await this.removeAll(former, binding);
    this.#forgetMade(plan.kept, former.filter((record) => !inTheWay.left.includes(record)));
    const made = await this.#putAll(plan.kept, { known, inTheWay: inTheWay.left, binding });
    const others = unwanted.filter((record) => !names.has(nameOf(record)));
    const removed = await this.removeAll(others, binding);
    const left = [...inTheWay.left, ...removed.left];
    // The status no longer lists these records.
    this.#changes.forgetRemoved(unwanted.filter((record) => !left.includes(record)));
    const verdict = plan.provider === "None"
      ? undefined
      : made.faults[0] ?? plan.fault ?? endpoint?.verdict ?? yes("RecordsMade");
    return {
      verdict,
      kept: [...made.kept, ...left],
      againMs: Math.min(
        ...[endpoint ?? { againMs: Infinity }, inTheWay, made, removed].map((it) => it.againMs),
      ),
    };
  }

  /** @param inTheWay Old records with the same names, which must be deleted first. */
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

  /** Has records made again whose names have just lost a record. */
  #forgetMade(records: readonly KeptRecord[], removed: readonly KeptRecord[]): void {
    const names = new Set(removed.map(nameOf));
    this.#changes.forgetMade(records.filter((record) => names.has(nameOf(record))));
  }

  /**
   * Deletes records. Those that are gone are remembered until all of them are.
   *
   * @param binding The key of the binding that the records are for.
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

/** Milliseconds until an answer must be renewed. */
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
