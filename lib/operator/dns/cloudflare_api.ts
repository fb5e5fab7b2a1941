/** The calls of Cloudflare's API that read and change DNS records. */
import type { ApiRequest } from "../../api_request.ts";
import { textOf } from "../../response_text.ts";
import { type ApiRecord, type Listing, listingOf } from "./cloudflare_records.ts";

/** Sends a request to the API, as `fetch` does. */
export type CloudflareFetch = (url: string, init: ApiRequest) => Promise<Response>;

/** One operation of a batch. The API applies a batch in one transaction. */
export interface BatchOperation {
  readonly kind: "deletes" | "puts" | "posts";
  readonly record: Readonly<Record<string, unknown>>;
}

/** How a client of the API sends requests. */
export interface ApiOptions {
  readonly fetch: CloudflareFetch;
  readonly baseUrl?: string;
  readonly nowMs: () => number;
  /** Called for each request; `code` is the status of the answer, or `error` if there was none. */
  readonly answered?: (method: string, code: string) => void;
}

/** A request failed that would fail again: the token, the zone or the record must be changed first. */
export class CloudflareRefusal extends Error {
  override readonly name = "CloudflareRefusal";
}

/** The API must not be called now, as its rate limit was exceeded. */
export class CloudflareBlocked extends Error {
  override readonly name = "CloudflareBlocked";

  constructor(readonly retryAfterMs: number) {
    super("Cloudflare was asked too often; it is left alone for five minutes");
  }
}

/** The maximum number of operations in one batch, as Cloudflare's smallest plan allows. */
export const maxOperations = 200;

const defaultBaseUrl = "https://api.cloudflare.com/client/v4";
/** Records per page. The API accepts up to 5,000,000, and says how many pages there are. */
const perPage = 5_000;
/** The maximum number of records in a zone. Plans without a contract have no more. */
const maxRecords = 10_000;
const timeoutMs = 15_000;
/** How long Cloudflare blocks a user who calls too often. */
const blockedMs = 5 * 60_000;
const maxAnswerBytes = 16 * 1024 * 1024;

/** Calls the API. A token that has exceeded the rate limit is not used for a while. */
export class CloudflareApi {
  readonly #options: ApiOptions;
  /** For each blocked token, the time before which it is not used. */
  readonly #blockedUntilMs = new Map<string, number>();

  constructor(options: ApiOptions) {
    this.#options = options;
  }

  /** @throws {CloudflareBlocked} if the token must not be used now */
  mayAsk(token: string): void {
    const leftMs = (this.#blockedUntilMs.get(token) ?? -Infinity) - this.#options.nowMs();
    if (leftMs > 0) throw new CloudflareBlocked(leftMs);
  }

  /** Looks up the id of a zone. @throws {CloudflareRefusal} if the token can't see the zone */
  async zoneId(token: string, name: string): Promise<string> {
    const { result } = await this.#ask(token, "GET", `/zones?name=${encodeURIComponent(name)}`);
    const [first] = Array.isArray(result) ? result as { id?: unknown }[] : [];
    if (typeof first?.id === "string") return first.id;
    throw new CloudflareRefusal(`The token sees no zone ${name} at Cloudflare`);
  }

  /** Lists all records of a zone. */
  async records(token: string, zoneId: string): Promise<Listing> {
    const records: ApiRecord[] = [];
    for (let page = 1, pages = 1; page <= pages; page++) {
      const path = `/zones/${zoneId}/dns_records?page=${page}&per_page=${perPage}`;
      const { result, result_info: info } = await this.#ask(token, "GET", path);
      const { total_pages: total } = (info ?? {}) as { total_pages?: unknown };
      // An answer without a list must not count as a zone without records.
      if (!Array.isArray(result) || typeof total !== "number") {
        throw new Error("Cloudflare's answer is not a list of records");
      }
      pages = total;
      records.push(...result as ApiRecord[]);
      if (records.length > maxRecords) {
        throw new CloudflareRefusal(`The zone has more than ${maxRecords} records`);
      }
    }
    return listingOf(records);
  }

  /** Applies operations in one transaction. */
  async batch(token: string, zoneId: string, operations: readonly BatchOperation[]): Promise<void> {
    const body: Record<string, unknown[]> = {};
    for (const { kind, record } of operations) (body[kind] ??= []).push(record);
    await this.#ask(token, "POST", `/zones/${zoneId}/dns_records/batch`, body);
  }

  async #ask(
    token: string,
    method: string,
    path: string,
    body?: unknown,
  ): Promise<Readonly<Record<string, unknown>>> {
    this.mayAsk(token);
    const { status, text } = await this.#fetch(token, method, path, body);
    if (status === 429) {
      this.#block(token);
      throw new CloudflareBlocked(blockedMs);
    }
    const answer = parsed(text);
    const isFine = status >= 200 && status < 300 && answer["success"] === true;
    if (!isFine) throw faultOf(status, answer);
    return answer;
  }

  async #fetch(
    token: string,
    method: string,
    path: string,
    body: unknown,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const { fetch, baseUrl = defaultBaseUrl, answered = () => {} } = this.#options;
    const asked = fetch(baseUrl + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...body !== undefined && { "content-type": "application/json" },
      },
      ...body !== undefined && { body: JSON.stringify(body) },
      signal: AbortSignal.timeout(timeoutMs),
    });
    try {
      const response = await asked;
      const text = await textOf(response, maxAnswerBytes, "Cloudflare's answer");
      answered(method, String(response.status));
      return { status: response.status, text };
    } catch (error) {
      answered(method, "error");
      throw error;
    }
  }

  #block(token: string): void {
    const nowMs = this.#options.nowMs();
    for (const [other, untilMs] of this.#blockedUntilMs) {
      if (untilMs <= nowMs) this.#blockedUntilMs.delete(other);
    }
    this.#blockedUntilMs.set(token, nowMs + blockedMs);
  }
}

function faultOf(status: number, { errors }: Readonly<Record<string, unknown>>): Error {
  const [error] = Array.isArray(errors) ? errors as { code?: unknown; message?: unknown }[] : [];
  const reason = error ? `${error.code}: ${error.message}` : `status ${status}`;
  const what = `Cloudflare answered ${String(reason).slice(0, 200)}`;
  return status < 500 && status >= 400 ? new CloudflareRefusal(what) : new Error(what);
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // The status says what is wrong.
  }
  return {};
}
