/**
 * Records in a zone at Cloudflare, through its API. Ownership is a TXT record, as in zones with dynamic
 * updates; but the API can't make a change conditional, so that it is looked at right before.
 */
import { messageOf } from "../../message_of.ts";
import type { ApiRequest } from "../../api_request.ts";
import { textOf } from "../response_text.ts";
import {
  addressesIn,
  type ApiRecord,
  asciiName,
  automaticTtl,
  type CloudflareRecord,
  isDelegated,
  isSame,
  isSameTarget,
  isText,
  type Listing,
  ownerIn,
  quoted,
  wantedOf,
} from "./cloudflare_records.ts";
import { type OldRecord, ownerName } from "./records.ts";
import type { DnsOutcome } from "./rfc2136.ts";

/** Sends a request to the API. */
export type CloudflareFetch = (
  url: string,
  init: ApiRequest,
) => Promise<Response>;

/** A zone, and who may change it. */
export interface CloudflareZone {
  readonly name: string;
  readonly token: string;
}

interface Page {
  readonly result: readonly ApiRecord[];
  readonly pages: number;
}

/** A change as a batch has it. */
interface ApiChange {
  readonly kind: "deletes" | "puts" | "posts";
  readonly record: Readonly<Record<string, unknown>>;
}

/** Changes of one name, and who waits for them. */
interface Group {
  readonly changes: readonly ApiChange[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What is known of a zone by one token, and done with it. What another token may see and do is another's. */
interface ZoneState {
  readonly name: string;
  id: string | undefined;
  listing: { readonly atMs: number; readonly records: Promise<Listing> } | undefined;
  /** Changes that go together. */
  queue: Group[];
  usedMs: number;
}

/** What runs a client of the API. */
export interface CloudflareOptions {
  readonly fetch: CloudflareFetch;
  readonly baseUrl?: string;
  readonly mayWrite?: () => void;
  readonly nowMs?: () => number;
  /** How long a zone's list is good for. */
  readonly listMs?: number;
  /** How long changes are gathered. */
  readonly batchMs?: number;
}

const defaultBaseUrl = "https://api.cloudflare.com/client/v4";
const perPage = 100;
const maxPages = 100;
const timeoutMs = 15_000;
/** Who asks too often is blocked for so long. */
const blockedMs = 5 * 60_000;
const defaultListMs = 30_000;
const defaultBatchMs = 1_000;
/** Changes in one batch: what the smallest plan takes. */
const maxBatch = 200;
const maxWaiting = 10_000;
const maxAnswerBytes = 16 * 1024 * 1024;
/** The API says no. */
class Refusal extends Error {
  override readonly name = "Refusal";
}

/** Changes records. Each zone is listed once for all records that are checked together. */
export class Cloudflare {
  readonly #options: CloudflareOptions;
  readonly #nowMs: () => number;
  /** By zone and token. */
  readonly #zones = new Map<string, ZoneState>();
  /** By token: nothing is asked before. */
  readonly #blockedUntilMs = new Map<string, number>();

  constructor(options: CloudflareOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  /** Creates or changes a record if its name is free or has this owner. */
  async put(zone: CloudflareZone, record: CloudflareRecord, owner: string): Promise<DnsOutcome> {
    return await this.#outcome(async () => {
      const listing = await this.#list(zone);
      const there = addressesIn(listing, record.name);
      const claim = ownerIn(listing, record.name);
      const isOthers = claim === undefined ? there.length > 0 : !isText(claim, owner);
      if (isOthers) return { kind: "taken" };
      if (isDelegated(listing, record.name, zone.name)) {
        throw new Refusal(`The zone ${zone.name} delegates it to other name servers`);
      }
      const claimed = { type: "TXT", name: ownerName(record.name), content: quoted(owner) };
      const [first, ...others] = there;
      const wanted = wantedOf(record);
      await this.#submit(zone, [
        ...claim ? [] : [{ kind: "posts" as const, record: { ...claimed, ttl: automaticTtl } }],
        ...others.map(({ id }) => ({ kind: "deletes" as const, record: { id } })),
        ...first === undefined
          ? [{ kind: "posts" as const, record: wanted }]
          : isSame(first, wanted)
          ? []
          : [{ kind: "puts" as const, record: { ...wanted, id: first.id } }],
      ]);
      return { kind: "done" };
    }, zone);
  }

  /** Takes a record away if it is this owner's, and only the claim if it points elsewhere now. */
  async remove(zone: CloudflareZone, record: OldRecord, owner: string): Promise<DnsOutcome> {
    return await this.#outcome(async () => {
      const listing = await this.#list(zone);
      const claim = ownerIn(listing, record.name);
      if (claim === undefined || !isText(claim, owner)) return { kind: "done" };
      const candidates = [record, ...record.former ?? []];
      const ours = addressesIn(listing, record.name).filter(({ type, content }) =>
        candidates.some((it) => it.type === type && isSameTarget(it.target, content))
      );
      const gone = [...ours, claim];
      await this.#submit(zone, gone.map(({ id }) => ({ kind: "deletes", record: { id } })));
      return { kind: "done" };
    }, zone);
  }

  /** Changes of one name, which are made together or not at all. */
  #submit(zone: CloudflareZone, changes: readonly ApiChange[]): Promise<void> {
    if (changes.length === 0) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const state = this.#stateOf(zone);
    const { queue } = state;
    if (queue.length >= maxWaiting) throw new Error("Too many changes wait for Cloudflare");
    queue.push({ changes, resolve, reject });
    if (queue.length === 1) {
      setTimeout(() => void this.#flush(zone, state), this.#options.batchMs ?? defaultBatchMs);
    }
    return promise;
  }

  async #flush(zone: CloudflareZone, state: ZoneState): Promise<void> {
    const { queue } = state;
    state.queue = [];
    let batch: Group[] = [];
    let count = 0;
    for (const group of queue) {
      if (count + group.changes.length > maxBatch) {
        await this.#sendOrSplit(zone, batch);
        batch = [];
        count = 0;
      }
      batch.push(group);
      count += group.changes.length;
    }
    await this.#sendOrSplit(zone, batch);
  }

  /** Sends changes in one transaction. What spoils it for all is found by sending each name alone. */
  async #sendOrSplit(zone: CloudflareZone, groups: readonly Group[]): Promise<void> {
    try {
      await this.#send(zone, groups.flatMap(({ changes }) => changes));
      for (const { resolve } of groups) resolve();
    } catch (error) {
      if (!(error instanceof Refusal) || groups.length === 1) {
        for (const { reject } of groups) reject(error);
        return;
      }
      for (const group of groups) await this.#sendOrSplit(zone, [group]);
    }
  }

  async #send(zone: CloudflareZone, changes: readonly ApiChange[]): Promise<void> {
    const body: Record<string, unknown[]> = {};
    for (const { kind, record } of changes) (body[kind] ??= []).push(record);
    const path = `/zones/${await this.#idOf(zone)}/dns_records/batch`;
    this.#options.mayWrite?.();
    await this.#ask(zone, "POST", path, body);
    // The list is read again, for what is looked at next, by whichever token.
    for (const state of this.#zones.values()) {
      if (state.name === zone.name) state.listing = undefined;
    }
  }

  async #outcome(work: () => Promise<DnsOutcome>, zone: CloudflareZone): Promise<DnsOutcome> {
    try {
      return await work();
    } catch (error) {
      // What is known of the zone may be wrong.
      this.#stateOf(zone).listing = undefined;
      const reason = messageOf(error);
      return { kind: error instanceof Refusal ? "refused" : "unreachable", reason };
    }
  }

  /** The zone's records: one list for all that ask at the same time. */
  #list(zone: CloudflareZone): Promise<Listing> {
    const state = this.#stateOf(zone);
    const atMs = this.#nowMs();
    if (state.listing && atMs - state.listing.atMs < this.#listMs) return state.listing.records;
    const records = this.#listAnew(zone);
    state.listing = { atMs, records };
    return records;
  }

  get #listMs(): number {
    return this.#options.listMs ?? defaultListMs;
  }

  #block(token: string): void {
    const nowMs = this.#nowMs();
    for (const [other, untilMs] of this.#blockedUntilMs) {
      if (untilMs <= nowMs) this.#blockedUntilMs.delete(other);
    }
    this.#blockedUntilMs.set(token, nowMs + blockedMs);
  }

  #stateOf({ name, token }: CloudflareZone): ZoneState {
    const key = JSON.stringify([name, token]);
    const usedMs = this.#nowMs();
    const known = this.#zones.get(key);
    if (known) {
      known.usedMs = usedMs;
      return known;
    }
    for (const [other, { queue, usedMs: lastMs }] of this.#zones) {
      if (queue.length === 0 && usedMs - lastMs >= this.#listMs) this.#zones.delete(other);
    }
    const state = { name, id: undefined, listing: undefined, queue: [], usedMs };
    this.#zones.set(key, state);
    return state;
  }

  async #listAnew(zone: CloudflareZone): Promise<Listing> {
    const byName = new Map<string, ApiRecord[]>();
    for (let page = 1, pages = 1; page <= pages; page++) {
      if (page > maxPages) {
        throw new Refusal(`The zone has more than ${maxPages * perPage} records`);
      }
      const found = await this.#page(zone, page);
      pages = found.pages;
      for (const record of found.result) {
        const name = asciiName(record.name);
        byName.set(name, [...byName.get(name) ?? [], record]);
      }
    }
    return { byName };
  }

  async #page(zone: CloudflareZone, page: number): Promise<Page> {
    const path = `/zones/${await this.#idOf(zone)}/dns_records?page=${page}&per_page=${perPage}`;
    const { result, result_info: info } = await this.#ask(zone, "GET", path);
    const { total_pages: pages } = (info ?? {}) as { total_pages?: unknown };
    // A list that is none must not pass for a zone without records.
    if (!Array.isArray(result) || typeof pages !== "number") {
      throw new Error("Cloudflare's answer is not a list of records");
    }
    return { result: result as ApiRecord[], pages };
  }

  async #idOf(zone: CloudflareZone): Promise<string> {
    const state = this.#stateOf(zone);
    if (state.id !== undefined) return state.id;
    const { result } = await this.#ask(zone, "GET", `/zones?name=${encodeURIComponent(zone.name)}`);
    const [first] = Array.isArray(result) ? result as { id?: unknown }[] : [];
    if (typeof first?.id !== "string") {
      throw new Refusal(`The token sees no zone ${zone.name} at Cloudflare`);
    }
    state.id = first.id;
    return first.id;
  }

  async #ask(
    { token }: CloudflareZone,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<Readonly<Record<string, unknown>>> {
    if (this.#nowMs() < (this.#blockedUntilMs.get(token) ?? 0)) {
      throw new Error("Cloudflare was asked too often; it is left alone for five minutes");
    }
    const response = await this.#options.fetch((this.#options.baseUrl ?? defaultBaseUrl) + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...body !== undefined && { "content-type": "application/json" },
      },
      ...body !== undefined && { body: JSON.stringify(body) },
      signal: AbortSignal.timeout(timeoutMs),
    });
    const text = await textOf(response, maxAnswerBytes, "Cloudflare's answer");
    if (response.status === 429) {
      this.#block(token);
      throw new Error("Cloudflare was asked too often; it is left alone for five minutes");
    }
    const answer = parsed(text);
    if (response.ok && answer["success"] === true) return answer;
    const [error] = Array.isArray(answer["errors"])
      ? answer["errors"] as { code?: unknown; message?: unknown }[]
      : [];
    const reason = error ? `${error.code}: ${error.message}` : `status ${response.status}`;
    const what = `Cloudflare answered ${String(reason).slice(0, 200)}`;
    throw response.status < 500 && response.status >= 400 ? new Refusal(what) : new Error(what);
  }
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said by its status.
  }
  return {};
}
