/** A relay's admin API, as far as the operator needs it. */
import { jitteredMs, within } from "../../kube/delay.ts";
import { messageOf } from "../../message_of.ts";
import { setNewest } from "../../set_newest.ts";
import type { ApiRequest } from "../../api_request.ts";
import { textOf } from "../../response_text.ts";

/** TLS settings and proxy for connections to a relay. */
export interface RelayTls {
  /** CA of the listener's certificate, PEM; public CAs by default. */
  readonly caPem?: string | undefined;
  /** A client certificate, for listeners that ask for one; PEM. */
  readonly pair?: { readonly cert: string; readonly key: string } | undefined;
  /** An HTTP proxy to connect through; by default, the environment's. */
  readonly proxy?: RelayProxy | undefined;
}

/** An HTTP proxy. */
export interface RelayProxy {
  /** Without credentials. */
  readonly url: string;
  /** Secrets. */
  readonly basicAuth?: { readonly username: string; readonly password: string };
}

/** Sends one request. */
export type RelayFetch = (
  url: string,
  init: ApiRequest,
  tls: RelayTls,
) => Promise<Response>;

/** How one tunnel reaches its relay's API. */
export interface RelayAccess extends RelayTls {
  /** Without a slash at the end. */
  readonly endpoint: string;
  readonly token: string;
  /** Stands for endpoint, TLS settings and proxy, in a few characters: see {@link connectionKey}. */
  readonly connection?: string;
}

/** One connection of an agent to a relay. */
export interface AgentSession {
  /** Unique among all relays. */
  readonly id: string;
  /** Names the agent's process, which may have several sessions. */
  readonly instance?: string;
  /** The token by which it is connected. */
  readonly tokenName: string;
}

/** The relay refused a request, and will refuse it again unless something changes. */
export class RelayRefusal extends Error {
  override readonly name = "RelayRefusal";
  readonly status: number;
  readonly code: string;
  /** What would be in the token's scope, if the relay says so. */
  readonly allowed: readonly string[];

  constructor(status: number, code: string, message: string, allowed: readonly string[] = []) {
    super(message);
    this.status = status;
    this.code = code;
    this.allowed = allowed;
  }
}

/** The relay could not be asked, or could not answer now. */
export class RelayUnreachable extends Error {
  override readonly name = "RelayUnreachable";
  /** Milliseconds until a retry makes sense. */
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** What is registered under a name. */
export type RelayCollection = "clusters" | "services" | "policies";

/** What a PUT came to: in force, or waiting until somebody at the relay accepts it. */
export type PutOutcome = "accepted" | "pending";

/** Agents' sessions. */
export interface AgentList {
  readonly items: readonly Readonly<Record<string, unknown>>[];
  /** Relays that share their agents; undefined if the relay does not tell. */
  readonly relays: number | undefined;
}

/** What the API calls run with. */
export interface RelayApiOptions {
  readonly fetch: RelayFetch;
  /** Called before each request that changes something; throws if this process must not. */
  readonly mayWrite?: () => void;
  readonly answered?: (method: string, code: string) => void;
  readonly timeoutMs?: number;
  readonly firstBackoffMs?: number;
  readonly maxBackoffMs?: number;
  readonly random?: () => number;
}

const defaultTimeoutMs = 10_000;
const defaultFirstBackoffMs = 1_000;
/** A relay that returns is asked again within a minute. */
const defaultMaxBackoffMs = 45_000;
const maxAnswerBytes = 1024 * 1024;
/** The maximum size of a list. 10,000 clusters with three agents each take about half of it. */
const maxListBytes = 32 * 1024 * 1024;
/** Items that a page of a tunnel's list may have; each with its path is about 1 KiB. */
const pageSize = 200;
/** Pages of one list: a tunnel has no more agents, nor requests under way, than fit in these. */
const maxPages = 50;
/** The maximum length of a text in an agent's session. */
const maxSessionCharacters = 512;
/** The most characters of one list of sessions: 10,000, each with two UUIDs and a token's name. */
const maxSessionsCharacters = 1024 * 1024;
/** Failing connections that are remembered. */
const maxBackoffs = 1_024;
/** A token that the relay does not know, and does not want to be asked about more often. */
const wrongTokenMs = 30_000;

interface Answer {
  readonly status: number;
  /** Empty if it is no JSON object. */
  readonly body: Readonly<Record<string, unknown>>;
}

interface Backoff {
  readonly failures: number;
  readonly untilMs: number;
  /** Why the last request failed: those that are not sent meanwhile fail for the same. */
  readonly reason: string;
  /** Whether a request is under way that will show whether the relay answers again. */
  isProbing: boolean;
}

/**
 * Calls to the APIs of all relays. One that does not answer is left alone for a while; then one request
 * tries it, so that no others wait with it.
 */
export class RelayApi {
  readonly #options: RelayApiOptions;
  /** The pauses of failing connections, by {@link connectionKey}. */
  readonly #backoffs = new Map<string, Backoff>();

  constructor(options: RelayApiOptions) {
    this.#options = options;
  }

  /** Puts an entry, new or changed. @throws {RelayRefusal | RelayUnreachable} */
  async put(
    access: RelayAccess,
    collection: RelayCollection,
    name: string,
    entry: unknown,
  ): Promise<PutOutcome> {
    const { status } = await this.#call(access, "PUT", pathOf(collection, name), entry);
    return status === 202 ? "pending" : "accepted";
  }

  /** Reads an entry; undefined if there is none. @throws as {@link put} does */
  async find(
    access: RelayAccess,
    collection: RelayCollection,
    name: string,
  ): Promise<Readonly<Record<string, unknown>> | undefined> {
    try {
      const { body } = await this.#call(access, "GET", pathOf(collection, name));
      return body;
    } catch (error) {
      if (error instanceof RelayRefusal && error.status === 404) return undefined;
      throw error;
    }
  }

  /** How many requests and connections of a service are under way, at all relays. @throws as {@link put} does */
  async openRequests(access: RelayAccess, cluster: string, service: string): Promise<number> {
    let count = 0;
    for await (const items of this.#pages(access, `${pathOf("clusters", cluster)}/streams`)) {
      count += items.filter((item) => item["service"] === service).length;
    }
    return count;
  }

  /** The sessions of a cluster's agents, at all relays. @throws as {@link put} does */
  async sessions(access: RelayAccess, id: string): Promise<readonly AgentSession[]> {
    const sessions: AgentSession[] = [];
    let characters = 0;
    for await (const items of this.#pages(access, `${pathOf("clusters", id)}/sessions`)) {
      for (const item of items) {
        const session = sessionOf(item);
        if (!session) throw this.#failed(access, "the answer is not a list of sessions");
        characters += session.id.length + session.tokenName.length +
          (session.instance?.length ?? 0);
        if (characters > maxSessionsCharacters) {
          const most = `more than ${maxSessionsCharacters} characters`;
          throw this.#failed(access, `the ids, instances and tokens of sessions have ${most}`);
        }
        sessions.push(session);
      }
    }
    return sessions;
  }

  /** Reads a list of the operator's own relay: all that the token sees. @throws as {@link put} does */
  async list(
    access: RelayAccess,
    collection: RelayCollection,
  ): Promise<readonly Readonly<Record<string, unknown>>[]> {
    return (await this.#list(access, `/admin/v1/${collection}`)).items;
  }

  /** The same for all agents' sessions, and how many relays have them. @throws as {@link put} does */
  async agents(access: RelayAccess): Promise<AgentList> {
    const { items, body: { relays } } = await this.#list(access, "/admin/v1/agents");
    return { items, relays: typeof relays === "number" ? relays : undefined };
  }

  /** Reads a list page by page. Anybody's relay may answer: it must not fill the operator's memory. */
  async *#pages(
    access: RelayAccess,
    path: string,
  ): AsyncGenerator<readonly Readonly<Record<string, unknown>>[]> {
    let query = `?limit=${pageSize}`;
    for (let page = 0; page < maxPages; page++) {
      const { items, body } = await this.#list(access, path + query, maxAnswerBytes);
      // A relay that knows no pages sends all at once.
      if (items.length > pageSize * maxPages) break;
      yield items;
      const { continue: next } = body;
      if (typeof next !== "string") return;
      query = `?limit=${pageSize}&continue=${encodeURIComponent(next)}`;
    }
    throw this.#failed(access, `the list has more than ${pageSize * maxPages} items`);
  }

  async #list(access: RelayAccess, path: string, maxBytes = maxListBytes): Promise<{
    items: readonly Readonly<Record<string, unknown>>[];
    body: Readonly<Record<string, unknown>>;
  }> {
    const { body } = await this.#call(access, "GET", path, undefined, maxBytes);
    const { items } = body;
    if (!Array.isArray(items) || !items.every(isObject)) {
      throw this.#failed(access, "the answer is not a list");
    }
    return { items, body };
  }

  /**
   * Deletes an entry if it has this owner; another's stays, and that there is none is no error.
   *
   * @throws as {@link put} does
   */
  async delete(
    access: RelayAccess,
    collection: RelayCollection,
    name: string,
    owner: string | undefined,
  ): Promise<void> {
    const entry = await this.find(access, collection, name);
    if (!entry || entry["owner"] !== owner) return;
    try {
      await this.#call(access, "DELETE", pathOf(collection, name));
    } catch (error) {
      if (!(error instanceof RelayRefusal) || error.status !== 404) throw error;
    }
  }

  async #call(
    access: RelayAccess,
    method: string,
    path: string,
    value?: unknown,
    maxBytes = maxAnswerBytes,
  ): Promise<Answer> {
    if (method !== "GET") this.#options.mayWrite?.();
    this.#throwWhileBackingOff(access);
    const { status, body } = await this.#send(access, method, path, value, maxBytes);
    if (status === 429 && codeOf(body) === "too_many_failures") {
      // Other tokens are answered.
      this.#backoffs.delete(connectionKey(access));
      throw new RelayUnreachable(refusalText(body, status), wrongTokenMs);
    }
    if (status >= 500 || (status === 429 && codeOf(body) !== "too_many_clusters")) {
      throw this.#failed(access, refusalText(body, status));
    }
    this.#backoffs.delete(connectionKey(access));
    if (status < 300) return { status, body };
    throw new RelayRefusal(status, codeOf(body), refusalText(body, status), allowedIn(body));
  }

  /** @throws {RelayUnreachable} if there is no whole answer in time */
  async #send(
    access: RelayAccess,
    method: string,
    path: string,
    value: unknown,
    maxBytes: number,
  ): Promise<Answer> {
    const { endpoint, token, connection: _, ...tls } = access;
    const { fetch, timeoutMs = defaultTimeoutMs, answered = () => {} } = this.#options;
    try {
      const answer = await within(timeoutMs, async (signal) => {
        const response = await fetch(endpoint + path, {
          method,
          headers: {
            accept: "application/json",
            authorization: `Bearer ${token}`,
            ...value !== undefined && { "content-type": "application/json" },
          },
          ...value !== undefined && { body: JSON.stringify(value) },
          signal,
        }, tls);
        return { status: response.status, body: await bodyOf(response, maxBytes) };
      });
      answered(method, String(answer.status));
      return answer;
    } catch (error) {
      answered(method, "error");
      throw this.#failed(access, reasonOf(error));
    }
  }

  #throwWhileBackingOff(access: RelayAccess): void {
    const { firstBackoffMs = defaultFirstBackoffMs } = this.#options;
    const backoff = this.#backoffs.get(connectionKey(access));
    if (!backoff) return;
    const waitMs = backoff.untilMs - performance.now();
    if (waitMs > 0 || backoff.isProbing) {
      throw new RelayUnreachable(backoff.reason, waitMs > 0 ? waitMs : firstBackoffMs);
    }
    backoff.isProbing = true;
  }

  #failed(access: RelayAccess, reason: string): RelayUnreachable {
    const {
      firstBackoffMs = defaultFirstBackoffMs,
      maxBackoffMs = defaultMaxBackoffMs,
      random = Math.random,
    } = this.#options;
    const key = connectionKey(access);
    const known = this.#backoffs.get(key);
    const nowMs = performance.now();
    // Requests that were under way together failed together.
    const isNew = !known || nowMs >= known.untilMs;
    const failures = (known?.failures ?? 0) + Number(isNew);
    const waitMs = jitteredMs(failures, { firstMs: firstBackoffMs, maxMs: maxBackoffMs }, random);
    if (isNew) {
      setNewest(this.#backoffs, key, {
        ...{ failures, untilMs: nowMs + waitMs, reason, isProbing: false },
      }, maxBackoffs);
    }
    return new RelayUnreachable(reason, waitMs);
  }
}

/** Identifies how a relay is reached, so that a wrong proxy or CA does not affect other tunnels. */
export function connectionKey(access: RelayAccess): string {
  const { endpoint, caPem, pair, proxy } = access;
  return access.connection ?? JSON.stringify([endpoint, caPem, pair, proxy]);
}

function pathOf(collection: RelayCollection, name: string): string {
  return `/admin/v1/${collection}/${encodeURIComponent(name)}`;
}

/** Undefined for what is no session. */
function sessionOf(
  { id, instance, tokenName }: Readonly<Record<string, unknown>>,
): AgentSession | undefined {
  if (!isShort(id) || !isShort(tokenName)) return undefined;
  return { id, tokenName, ...isShort(instance) && { instance } };
}

function isObject(item: unknown): boolean {
  return typeof item === "object" && item !== null;
}

function isShort(value: unknown): value is string {
  return typeof value === "string" && value.length <= maxSessionCharacters;
}

async function bodyOf(
  response: Response,
  maxBytes: number,
): Promise<Readonly<Record<string, unknown>>> {
  const text = await textOf(response, maxBytes);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Not from a relay, or no body at all: the status has to do.
  }
  return {};
}

function codeOf(body: Readonly<Record<string, unknown>>): string {
  const { code } = (body["error"] ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : "";
}

function allowedIn(body: Readonly<Record<string, unknown>>): readonly string[] {
  const { allowed } = (body["error"] ?? {}) as { allowed?: unknown };
  return Array.isArray(allowed) ? allowed.map(String) : [];
}

const maxMessageCharacters = 512;

function refusalText(body: Readonly<Record<string, unknown>>, status: number): string {
  const { message } = (body["error"] ?? {}) as { message?: unknown };
  return typeof message === "string" && message !== ""
    ? message.slice(0, maxMessageCharacters)
    : `the relay answered with status ${status}`;
}

function reasonOf(error: unknown): string {
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return "the relay did not answer in time";
  }
  return `the relay can't be reached: ${messageOf(error)}`;
}
