/** Creates and deletes single records at their providers, and remembers the outcomes. */
import { messageOf } from "../../message_of.ts";
import type { Context } from "../context.ts";
import { LastAnswers } from "../last_answers.ts";
import { DnsCredentials } from "./dns_credentials.ts";
import { type KeptRecord, recordKey } from "./kept_records.ts";
import type { DnsOutcome } from "./rfc2136.ts";
import { SilentServers } from "./silent_servers.ts";

/** What is known of a record at its provider. */
export interface Answer {
  /** The digest of the record and its credentials. The answer holds only for these. */
  readonly digest: string;
  /** While it is pending, the bindings that wait for it are reconciled when it is settled. */
  readonly outcome: DnsOutcome | { readonly kind: "pending" };
  /** When to ask the provider again, by `performance.now()`. */
  readonly untilMs: number;
}

type Kind = "put" | "remove";

/** The provider of a record. */
interface Provider {
  readonly digest: string;
  /** Whether changes are batched. They take seconds then, and nobody waits for one. */
  readonly isBatched: boolean;
  readonly ask: (kind: Kind) => Promise<DnsOutcome>;
}

/** Why a record's provider can't be asked. */
interface ProviderFault {
  readonly digest: string;
  readonly fault: string;
}

/** A change that is under way. */
interface Job {
  readonly kind: Kind;
  readonly digest: string;
  /** The keys of the bindings that are reconciled when the change is settled. */
  readonly bindings: Set<string>;
}

/** Is told what has changed. */
export interface ChangeListener {
  /** The changes that these bindings wait for are settled. */
  readonly settled: (bindingKeys: Iterable<string>) => void;
  /** A name has lost the record that kept another binding from having it. */
  readonly freed: (hostname: string) => void;
}

const refusalMs = 60_000;
const retryMs = 10_000;
/** When to look at a change that has not reported its end; normally it does so earlier. */
const pendingMs = 60_000;
/** When to ask again for a name that was taken, if a record was deleted meanwhile. */
const soonMs = 1_000;

/** Changes records. Each record has at most one change under way; the next one begins after it. */
export class RecordChanges {
  readonly #context: Context;
  readonly #listener: ChangeListener;
  readonly #credentials: DnsCredentials;
  readonly #pauses = new SilentServers(retryMs);
  readonly #made = new LastAnswers<Answer>();
  readonly #removed = new LastAnswers<Answer>();
  readonly #jobs = new Map<string, Job>();
  /** The number of records that have been deleted. */
  #removals = 0;

  constructor(context: Context, credentials: DnsCredentials, listener: ChangeListener) {
    this.#context = context;
    this.#credentials = credentials;
    this.#listener = listener;
  }

  /** Creates or changes a record. @param binding The key of the binding that waits for it. */
  async put(record: KeptRecord, binding: string): Promise<Answer> {
    this.#removed.delete(recordKey(record));
    return await this.#change("put", record, binding);
  }

  /** Deletes a record. @param binding The key of the binding that waits for it. */
  async remove(record: KeptRecord, binding: string): Promise<Answer> {
    this.#made.delete(recordKey(record));
    if (record.keep) return { digest: "", outcome: { kind: "done" }, untilMs: Infinity };
    return await this.#change("remove", record, binding);
  }

  /** Forgets that records exist, so that the next {@link put} asks the provider. */
  forgetMade(records: Iterable<KeptRecord>): void {
    for (const record of records) this.#made.delete(recordKey(record));
  }

  /** Forgets that records are deleted, so that the next {@link remove} asks the provider. */
  forgetRemoved(records: Iterable<KeptRecord>): void {
    for (const record of records) this.#removed.delete(recordKey(record));
  }

  async #change(kind: Kind, record: KeptRecord, binding: string): Promise<Answer> {
    const key = recordKey(record);
    const provider = await this.#providerOf(record);
    const { digest } = provider;
    const answers = kind === "put" ? this.#made : this.#removed;
    const last = answers.get(key);
    const isLast = last?.digest === digest;
    if (isLast && performance.now() < last.untilMs) return last;
    if ("fault" in provider) {
      return this.#remember(kind, record, {
        digest,
        outcome: { kind: "refused", reason: provider.fault },
      });
    }
    if (!provider.isBatched) {
      const removals = this.#removals;
      const outcome = await provider.ask(kind);
      return this.#remember(kind, record, { digest, outcome }, removals);
    }
    this.#begin(kind, record, provider, binding);
    // Until a new check has ended, the last outcome counts.
    const outcome = isLast ? last.outcome : { kind: "pending" } as const;
    return { digest, outcome, untilMs: performance.now() + pendingMs };
  }

  async #providerOf(record: KeptRecord): Promise<Provider | ProviderFault> {
    const { cloudflare, dns } = this.#context;
    if (record.server === "") {
      const token = await this.#credentials.token(record);
      const digest = this.#context.digest(JSON.stringify([record, token]));
      if (typeof token === "string") return { digest, fault: token };
      const zone = { name: record.zone, ...token };
      const ask = (kind: Kind) => cloudflare[kind](zone, record, record.owner);
      return { digest, isBatched: true, ask };
    }
    const zone = await this.#credentials.zone(record);
    const secret = typeof zone === "string" ? zone : [...zone.key.secret];
    const digest = this.#context.digest(JSON.stringify([record, secret]));
    if (typeof zone === "string") return { digest, fault: zone };
    const ask = (kind: Kind) =>
      this.#pauses.unlessSilent(zone, () => dns[kind](zone, record, record.owner));
    return { digest, isBatched: false, ask };
  }

  /** Begins a change, unless one is under way. The binding is reconciled when that change is settled. */
  #begin(kind: Kind, record: KeptRecord, provider: Provider, binding: string): void {
    const key = recordKey(record);
    const running = this.#jobs.get(key);
    if (running) {
      running.bindings.add(binding);
      return;
    }
    const { digest } = provider;
    const job: Job = { kind, digest, bindings: new Set([binding]) };
    this.#jobs.set(key, job);
    void this.#settle(record, job, provider.ask(kind));
  }

  async #settle(record: KeptRecord, job: Job, asked: Promise<DnsOutcome>): Promise<void> {
    const outcome = await asked.catch((error): DnsOutcome => (
      { kind: "unreachable", reason: messageOf(error) }
    ));
    this.#jobs.delete(recordKey(record));
    this.#remember(job.kind, record, { digest: job.digest, outcome });
    this.#listener.settled(job.bindings);
  }

  /** @param removals The number of deleted records when the provider was asked. */
  #remember(
    kind: Kind,
    record: KeptRecord,
    { digest, outcome }: { readonly digest: string; readonly outcome: DnsOutcome },
    removals = this.#removals,
  ): Answer {
    // The conflicting record may have been deleted since, and no later change would report that.
    const isOld = outcome.kind === "taken" && removals !== this.#removals;
    const forMs = isOld ? this.#soonMs : this.#forMs(kind, outcome);
    const answer = { digest, outcome, untilMs: performance.now() + forMs };
    (kind === "put" ? this.#made : this.#removed).set(recordKey(record), answer);
    if (kind === "remove" && outcome.kind === "done") this.#freeName(record);
    return answer;
  }

  /** Has those ask again who could not have the name because of the deleted record. */
  #freeName(record: KeptRecord): void {
    this.#removals++;
    const prefix = recordKey({ server: record.server, zone: record.zone, name: record.name });
    let wasTaken = false;
    for (const [key, { outcome }] of this.#made) {
      if (outcome.kind !== "taken" || !key.startsWith(prefix)) continue;
      this.#made.delete(key);
      wasTaken = true;
    }
    if (wasTaken) this.#listener.freed(record.name);
  }

  get #soonMs(): number {
    return Math.min(soonMs, this.#context.settings.checkMs);
  }

  #forMs(kind: Kind, outcome: DnsOutcome): number {
    if (outcome.kind === "done") return this.#context.settings.resyncMs;
    if (outcome.kind === "unreachable") return Math.min(outcome.retryAfterMs ?? retryMs, refusalMs);
    return kind === "put" ? refusalMs : retryMs;
  }
}
