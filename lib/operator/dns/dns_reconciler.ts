/** Makes the DNS records of a binding's hostnames, by whichever provider its tunnel names. */
import { keyOf, type KubeObject } from "../../kube/objects.ts";
import { includes, stamped } from "../applied.ts";
import { no, unknown, type Verdict, yes } from "../conditions.ts";
import type { Context } from "../context.ts";
import { dnsEndpointName, dnsEndpointOf, dnsEndpoints, stateOf } from "./dns_endpoint.ts";
import { type DnsPlan, planDns } from "./dns_plan.ts";
import { DnsCredentials } from "./dns_credentials.ts";
import { type KeptRecord, recordKey } from "./kept_records.ts";
import { SilentServers } from "./silent_servers.ts";
import type { DnsOutcome } from "./rfc2136.ts";
import { LastAnswers } from "../last_answers.ts";
import type { CompiledBinding } from "../routes/route_table.ts";

/** The outcome of a synchronization. */
export interface DnsResult {
  /** Undefined where there is no provider. */
  readonly verdict: Verdict | undefined;
  /** What may still be there. */
  readonly kept: readonly KeptRecord[];
  readonly againMs: number;
}

interface Answer {
  readonly digest: string;
  readonly outcome: DnsOutcome | { readonly kind: "pending" };
  readonly untilMs: number;
}

/** A change at Cloudflare, which is sent in a batch with others. */
interface Job {
  readonly digest: string;
  /** How many removals there had been when it began. */
  readonly removals: number;
  outcome: DnsOutcome | undefined;
}

/** The longest time until a pending change is checked again. */
const maxPendingMs = 1_000;

const refusalMs = 60_000;
const retryMs = 10_000;
/** How often a missing kind is looked for. */
const missingMs = 30_000;

/** Makes and deletes the DNS records of all bindings. */
export class DnsReconciler {
  readonly #context: Context;
  readonly #answers = new LastAnswers<Answer>();
  readonly #credentials: DnsCredentials;
  readonly #jobs = new Map<string, Job>();
  readonly #pauses = new SilentServers(retryMs);

  /** Records that have been taken away. */
  #removals = 0;
  readonly #freed: (hostname: string) => void;

  /** @param freed A name has lost its record that another binding was refused for it. */
  constructor(context: Context, freed: (hostname: string) => void) {
    this.#context = context;
    this.#freed = freed;
    this.#credentials = new DnsCredentials(context.accesses);
  }

  get #pendingMs(): number {
    return Math.min(maxPendingMs, this.#context.settings.checkMs);
  }

  #pending(): Pick<Answer, "outcome" | "untilMs"> {
    return { outcome: { kind: "pending" }, untilMs: performance.now() + this.#pendingMs };
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
    const endpoint = await this.#syncEndpoint(object, plan);
    const faults: Verdict[] = [];
    const kept: KeptRecord[] = [];
    let againMs = endpoint ? endpoint.againMs : Infinity;
    const keys = new Set(plan.kept.map(recordKey));
    const names = new Set(plan.kept.map(nameOf));
    const unwanted = known.filter((record) => !keys.has(recordKey(record)));
    // A name has to be given up by one owner before another can have it. Two servers may be one with
    // two addresses: what is taken off there is put anew.
    const former = unwanted.filter((record) => names.has(nameOf(record)));
    const inTheWay = await this.removeAll(former);
    this.#forgetAnswers(plan.kept, former.filter((record) => !inTheWay.includes(record)));
    for (const record of plan.kept) {
      const isBlocked = inTheWay.some((it) =>
        nameOf(it) === nameOf(record) && it.server === record.server
      );
      const { outcome, untilMs } = isBlocked ? this.#pending() : await this.#put(record);
      const isMade = outcome.kind === "done";
      kept.push(
        isMade ? record : known.find((it) => recordKey(it) === recordKey(record)) ?? record,
      );
      const verdict = verdictOf(record, outcome);
      if (verdict.status !== "True") faults.push(verdict);
      againMs = Math.min(againMs, Math.max(100, untilMs - performance.now()));
    }
    const others = await this.removeAll(unwanted.filter((record) => !names.has(nameOf(record))));
    const left = [...inTheWay, ...others];
    // The status will say that they are gone.
    this.#forgetRemovals(unwanted.filter((record) => !left.includes(record)));
    for (const record of left) {
      againMs = Math.min(
        againMs,
        this.#jobs.has(`remove ${recordKey(record)}`) ? this.#pendingMs : retryMs,
      );
    }
    const verdict = plan.provider === "None"
      ? undefined
      : endpoint?.verdict ?? faults[0] ?? plan.fault ?? yes("RecordsMade");
    return { verdict, kept: [...kept, ...left], againMs };
  }

  /** Forgets answers about names that have lost records, so that they are asked about again. */
  #forgetAnswers(records: readonly KeptRecord[], removed: readonly KeptRecord[]): void {
    const names = new Set(removed.map(nameOf));
    for (const record of records) {
      if (names.has(nameOf(record))) this.#answers.delete(recordKey(record));
    }
  }

  /** Takes records away, and knows which are gone until all of them are. @returns those left */
  async removeAll(records: readonly KeptRecord[]): Promise<readonly KeptRecord[]> {
    const left: KeptRecord[] = [];
    for (const record of records) {
      this.#answers.delete(recordKey(record));
      this.#jobs.delete(`put ${recordKey(record)}`);
      if (record.keep) continue;
      const outcome = await this.#remove(record);
      if (outcome?.kind !== "done") {
        left.push(record);
        continue;
      }
      this.#removals++;
      if (this.#forgetTaken(record)) this.#freed(record.name);
    }
    if (left.length === 0) this.#forgetRemovals(records);
    return left;
  }

  #forgetRemovals(records: readonly KeptRecord[]): void {
    for (const record of records) this.#jobs.delete(`remove ${recordKey(record)}`);
  }

  /** Forgets that a name was taken. @returns whether any binding was refused for that */
  #forgetTaken({ server, zone, name }: KeptRecord): boolean {
    const prefix = recordKey({ server, zone, name });
    const taken = [...this.#answers].filter(([key, { outcome }]) =>
      outcome.kind === "taken" && key.startsWith(prefix)
    );
    for (const [key] of taken) this.#answers.delete(key);
    return taken.length > 0;
  }

  async #remove(record: KeptRecord): Promise<DnsOutcome | undefined> {
    if (record.server === "") {
      const token = await this.#credentials.token(record);
      if (token === undefined) return undefined;
      const { cloudflare } = this.#context;
      const key = `remove ${recordKey(record)}`;
      const job = this.#job(
        key,
        this.#context.digest(JSON.stringify([record, token])),
        () => cloudflare.remove({ name: record.zone, token }, record, record.owner),
      );
      // A deleted record stays known until all are, so that its deletion is not repeated.
      if (job.outcome && job.outcome.kind !== "done") this.#jobs.delete(key);
      return job.outcome;
    }
    const zone = await this.#credentials.zone(record);
    if (typeof zone === "string") return undefined;
    return await this.#pauses.unlessSilent(
      zone,
      () => this.#context.dns.remove(zone, record, record.owner),
    );
  }

  /** Begins a change, or finds what became of it. */
  #job(key: string, digest: string, work: () => Promise<DnsOutcome>): Job {
    const known = this.#jobs.get(key);
    if (known?.digest === digest) return known;
    const job: Job = { digest, removals: this.#removals, outcome: undefined };
    this.#jobs.set(key, job);
    void work().then((outcome) => job.outcome = outcome);
    return job;
  }

  async #putAtCloudflare(record: KeptRecord): Promise<Answer> {
    const key = recordKey(record);
    this.#forgetRemovals([record]);
    const token = await this.#credentials.token(record);
    const digest = this.#context.digest(JSON.stringify([record, token]));
    const last = this.#answers.get(key);
    if (last?.digest === digest && performance.now() < last.untilMs) return last;
    const { cloudflare } = this.#context;
    const job = token === undefined ? undefined : this.#job(
      `put ${key}`,
      digest,
      () => cloudflare.put({ name: record.zone, token }, record, record.owner),
    );
    const refused = {
      kind: "refused",
      reason: `There is no Secret ${record.secret} with the key token`,
    } as const;
    const outcome = job ? job.outcome : refused;
    const pending = this.#pending();
    // While a record is checked again, its last outcome counts.
    if (!outcome && last?.digest === digest) return { ...last, untilMs: pending.untilMs };
    if (!outcome) return { digest, ...pending };
    this.#jobs.delete(`put ${key}`);
    return this.#remember(key, { digest, outcome }, job?.removals);
  }

  /** @param removals How many there had been when the name was looked at. */
  #remember(
    key: string,
    { digest, outcome }: { readonly digest: string; readonly outcome: DnsOutcome },
    removals: number | undefined,
  ): Answer {
    // The conflicting record may have been deleted since, which no later change reports.
    const isOld = outcome.kind === "taken" && removals !== this.#removals;
    const forMs = isOld ? this.#pendingMs : this.#forMs(outcome);
    const answer = { digest, outcome, untilMs: performance.now() + forMs };
    this.#answers.set(key, answer);
    return answer;
  }

  #forMs(outcome: DnsOutcome): number {
    if (outcome.kind === "done") return this.#context.settings.resyncMs;
    return outcome.kind === "unreachable" ? retryMs : refusalMs;
  }

  async #put(record: KeptRecord): Promise<Answer> {
    if (record.server === "") return await this.#putAtCloudflare(record);
    const key = recordKey(record);
    const zone = await this.#credentials.zone(record);
    const digest = this.#context.digest(
      JSON.stringify([record, typeof zone === "string" ? zone : [...zone.key.secret]]),
    );
    const last = this.#answers.get(key);
    if (last?.digest === digest && performance.now() < last.untilMs) return last;
    const removals = this.#removals;
    const outcome: DnsOutcome = typeof zone === "string"
      ? { kind: "refused", reason: zone }
      : await this.#pauses.unlessSilent(
        zone,
        () => this.#context.dns.put(zone, record, record.owner),
      );
    return this.#remember(key, { digest, outcome }, removals);
  }

  /** The DNSEndpoint of a binding; undefined where there is none and is to be none. */
  async #syncEndpoint(
    object: KubeObject,
    { provider, records }: DnsPlan,
  ): Promise<{ verdict: Verdict; againMs: number } | undefined> {
    const { client, world, digest } = this.#context;
    const { namespace = "", name } = object.metadata;
    const at = { namespace, name: dnsEndpointName(name) };
    const cached = world.get("dnsEndpoints", keyOf(at));
    const isOurs = ({ metadata: { ownerReferences = [] } }: KubeObject) =>
      ownerReferences.some(({ uid }) => uid === object.metadata.uid);
    if (provider !== "ExternalDNS" || records.length === 0) {
      if (cached && isOurs(cached)) await client.delete(dnsEndpoints, at, cached.metadata.uid!);
      return undefined;
    }
    if (world.isMissing("dnsEndpoints")) {
      const message = "The cluster has no kind DNSEndpoint; install external-dns' CRD";
      return { verdict: no("CRDMissing", message), againMs: missingMs };
    }
    // The cache lacks others' objects, and those whose label somebody has removed.
    const there = cached ?? await client.find(dnsEndpoints, at);
    if (there && !isOurs(there)) {
      const message = `DNSEndpoint ${at.name} is there already and belongs to somebody else`;
      return { verdict: no("Conflict", message), againMs: refusalMs };
    }
    const wanted = stamped(dnsEndpointOf(object, records), digest);
    if (there && includes(there, wanted)) return { verdict: stateOf(there), againMs: Infinity };
    const written = await client.apply(dnsEndpoints, wanted);
    world.learn("dnsEndpoints", written);
    return { verdict: stateOf(written), againMs: Infinity };
  }
}

function nameOf({ name, zone }: KeptRecord): string {
  return `${zone} ${name}`;
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
