/** Makes and removes single records at their providers, and remembers what came of it. */
import { messageOf } from "../../message_of.ts";
import type { Context } from "../context.ts";
import { LastAnswers } from "../last_answers.ts";
import { DnsCredentials } from "./dns_credentials.ts";
import { type KeptRecord, recordKey } from "./kept_records.ts";
import type { DnsOutcome } from "./rfc2136.ts";
import { SilentServers } from "./silent_servers.ts";

/** What is known of a record. */
export interface Answer {
  /** Of what was asked for. */
  readonly digest: string;
  /** Pending ones are looked at again when they are settled. */
  readonly outcome: DnsOutcome | { readonly kind: "pending" };
  /** When to ask again. */
  readonly untilMs: number;
}

type Kind = "put" | "remove";

/** The provider of a record. */
interface Provider {
  readonly digest: string;
  /** Whether changes are batched, so that nobody waits for one. */
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
  /** Bindings that are looked at once it is settled. */
  readonly bindings: Set<string>;
}

/** Who hears of what has changed. */
export interface ChangeListener {
  /** What these bindings wait for has come to an end. */
  readonly settled: (bindingKeys: Iterable<string>) => void;
  /** A name has lost its record, for which another binding was refused. */
  readonly freed: (hostname: string) => void;
}

const refusalMs = 60_000;
const retryMs = 10_000;
/** A change that is under way reports its end. This is for the case that the report gets lost. */
const pendingMs = 60_000;
/** For the look at a name that was refused for a record that has gone meanwhile. */
const soonMs = 1_000;

/** Changes records. Each record has one change under way at a time; the next one begins after it. */
export class RecordChanges {
  readonly #context: Context;
  readonly #listener: ChangeListener;
  readonly #credentials: DnsCredentials;
  readonly #pauses = new SilentServers(retryMs);
  readonly #made = new LastAnswers<Answer>();
  readonly #removed = new LastAnswers<Answer>();
  readonly #jobs = new Map<string, Job>();
  /** Records that have been taken away. */
  #removals = 0;

  constructor(context: Context, credentials: DnsCredentials, listener: ChangeListener) {
    this.#context = context;
    this.#credentials = credentials;
    this.#listener = listener;
  }

  /** Creates or changes a record. @param binding Who waits for it, by its key. */
  async put(record: KeptRecord, binding: string): Promise<Answer> {
    this.#removed.delete(recordKey(record));
    return await this.#change("put", record, binding);
  }

  /** Takes a record away. */
  async remove(record: KeptRecord, binding: string): Promise<Answer> {
    this.#made.delete(recordKey(record));
    if (record.keep) return { digest: "", outcome: { kind: "done" }, untilMs: Infinity };
    return await this.#change("remove", record, binding);
  }

  /** Forgets that records are there, so that they are asked about again. */
  forgetMade(records: Iterable<KeptRecord>): void {
    for (const record of records) this.#made.delete(recordKey(record));
  }

  /** Forgets that records are gone. */
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
    // While a record is checked again, its last outcome counts.
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

  /** Begins a change, unless one is under way; the binding is looked at after either. */
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

  /** @param removals How many there had been when the name was looked at. */
  #remember(
    kind: Kind,
    record: KeptRecord,
    { digest, outcome }: { readonly digest: string; readonly outcome: DnsOutcome },
    removals = this.#removals,
  ): Answer {
    // The conflicting record may have gone since, which no later change reports.
    const isOld = outcome.kind === "taken" && removals !== this.#removals;
    const forMs = isOld ? this.#soonMs : this.#forMs(kind, outcome);
    const answer = { digest, outcome, untilMs: performance.now() + forMs };
    (kind === "put" ? this.#made : this.#removed).set(recordKey(record), answer);
    if (kind === "remove" && outcome.kind === "done") this.#freeName(record);
    return answer;
  }

  /** Has whoever was refused for a record that is gone ask again. */
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
