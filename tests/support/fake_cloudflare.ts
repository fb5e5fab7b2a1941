/** The part of Cloudflare's API that keeps DNS records: zones, pages, batches, and its limits. */
import type { CloudflareFetch } from "../../lib/operator/dns/cloudflare_api.ts";

interface StoredRecord {
  readonly id: string;
  readonly type: string;
  readonly name: string;
  readonly content: string;
  readonly [key: string]: unknown;
}

/** One zone. */
export class FakeCloudflare {
  readonly records = new Map<string, StoredRecord>();
  /** Method and path of each call. */
  readonly calls: string[] = [];
  readonly token: string;
  readonly zone: string;
  readonly #tokens: Set<string>;
  /** Answers the next call in place of the API. */
  intercept: ((method: string, path: string) => Response | undefined) | undefined;
  largestBatch = 0;
  /** Whoever asks for more records on a page gets so many. */
  maxPerPage = Infinity;
  /** Which new records are refused, with code 9999. */
  refuses: (record: StoredRecord) => boolean = () => false;
  #ids = 0;

  constructor({ zone = "example.com", token = "cloudflare-token-0123456789" } = {}) {
    this.zone = zone;
    this.token = token;
    this.#tokens = new Set([token]);
  }

  /** Gives a further token the zone. */
  addToken(token: string): string {
    this.#tokens.add(token);
    return token;
  }

  /** Puts a record there as somebody else would. */
  put(type: string, name: string, content: string): StoredRecord {
    const record = { id: `r${++this.#ids}`, type, name, content, ttl: 1, proxied: false };
    this.records.set(record.id, record);
    return record;
  }

  /** Contents of a name's records of a type. */
  contents(type: string, name: string): readonly string[] {
    return [...this.records.values()].filter((it) => it.type === type && it.name === name)
      .map(({ content }) => content);
  }

  readonly fetch: CloudflareFetch = async (url, { method, headers, body }) => {
    await Promise.resolve();
    const { pathname, searchParams } = new URL(url);
    const path = pathname.replace("/client/v4", "");
    this.calls.push(`${method} ${path}${searchParams.size > 0 ? `?${searchParams}` : ""}`);
    const answer = this.intercept?.(method, path);
    if (answer) return answer;
    if (!this.#tokens.has(headers["authorization"]?.replace("Bearer ", "") ?? "")) {
      return failed(403, 9109, "Unauthorized to access requested resource");
    }
    if (path === "/zones") {
      const isHere = searchParams.get("name") === this.zone;
      return succeeded(isHere ? [{ id: "z1", name: this.zone }] : [], { total_pages: 1 });
    }
    if (path === "/zones/z1/dns_records" && method === "GET") {
      const page = Number(searchParams.get("page"));
      const size = Math.min(Number(searchParams.get("per_page")), this.maxPerPage);
      const all = [...this.records.values()];
      const pages = Math.max(1, Math.ceil(all.length / size));
      return succeeded(all.slice((page - 1) * size, page * size), { page, total_pages: pages });
    }
    if (path === "/zones/z1/dns_records/batch") return this.#batch(JSON.parse(body!));
    return failed(404, 7003, "No route for that URI");
  };

  #batch(
    { deletes = [], puts = [], posts = [] }: Record<string, StoredRecord[] | undefined>,
  ): Response {
    const size = deletes.length + puts.length + posts.length;
    this.largestBatch = Math.max(this.largestBatch, size);
    if (size > 200) return failed(400, 81059, "Too many operations in the batch");
    const next = new Map(this.records);
    for (const { id } of deletes) {
      if (!next.delete(id)) return failed(404, 81044, "Record does not exist");
    }
    for (const record of puts) next.set(record.id, record);
    for (const record of posts) {
      if (this.refuses(record)) return failed(400, 9999, "This record is refused");
      const isTaken = [...next.values()].some((it) =>
        it.name === record.name && it.type !== "TXT" && record.type !== "TXT"
      );
      if (isTaken) return failed(400, 81053, "A record with that host already exists");
      const id = `r${++this.#ids}`;
      next.set(id, { ...record, id });
    }
    this.records.clear();
    for (const [id, record] of next) this.records.set(id, record);
    return succeeded({ deletes, puts, posts });
  }
}

/** Serves zones at one URL; each has a token of its own. */
export function serveCloudflare(
  ...zones: readonly [FakeCloudflare, ...FakeCloudflare[]]
): AsyncDisposable & { readonly url: string } {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    async (request) => {
      const headers = Object.fromEntries(request.headers);
      const meant = zones.find(({ token }) => headers["authorization"] === `Bearer ${token}`);
      return await (meant ?? zones[0]).fetch(request.url, {
        ...{ method: request.method, headers },
        ...request.method !== "GET" && { body: await request.text() },
        signal: new AbortController().signal,
      });
    },
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}/client/v4`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function succeeded(result: unknown, info?: unknown): Response {
  return Response.json({
    success: true,
    errors: [],
    result,
    ...info !== undefined && { result_info: info },
  });
}

function failed(status: number, code: number, message: string): Response {
  return Response.json({ success: false, errors: [{ code, message }], result: null }, { status });
}
