/** What requests do to entries. */
import { BodyFault, readBody, type Upkeep } from "../config/entries/api_entries.ts";
import { nameKeys } from "../config/entries/api_entries.ts";
import type { EntryBody, EntryKind, EntryLease, StoredEntry } from "../domain/admin.ts";
import { ApiError } from "./api_error.ts";
import { configured } from "./check_entry.ts";
import { checkConditions, type Conditions } from "./conditions.ts";
import type { Configuration } from "./configuration.ts";
import type { AdminEntries, Changed } from "./entries.ts";
import type { EntriesView } from "./held_entries.ts";
import type { HeldEntry } from "./held_entry.ts";
import type { Scope } from "./scope.ts";

/** An entry that a request is for, and whose request it is. */
export interface EntryRequest {
  readonly scope: Scope;
  readonly kind: EntryKind;
  readonly name: string;
  readonly conditions: Conditions;
}

/** The body of a PUT, read. */
export interface EntryToPut {
  readonly body: EntryBody;
  readonly upkeep: Upkeep;
}

/** Changes entries for requests. */
export class EntryOperations {
  readonly #entries: AdminEntries;
  readonly #configuration: Configuration;
  readonly #digest: (token: string) => string;
  readonly #nowMs: () => number;

  /** @param digest SHA-256 of a token, in hexadecimal */
  constructor(
    { entries, configuration, digest, nowMs }: {
      readonly entries: AdminEntries;
      readonly configuration: Configuration;
      readonly digest: (token: string) => string;
      readonly nowMs: () => number;
    },
  ) {
    this.#entries = entries;
    this.#configuration = configuration;
    this.#digest = digest;
    this.#nowMs = nowMs;
  }

  /**
   * Looks at what a request is for, before anything is recorded of it as allowed.
   *
   * @throws {ApiError} for what is out of scope, or of the files
   */
  check(request: EntryRequest): void {
    this.#checkBefore(request, this.#entries.get(request.kind, request.name));
  }

  /** Reads the body of a PUT, and checks whether its token may have such an entry. @throws {ApiError} */
  read(request: EntryRequest, value: unknown): EntryToPut {
    const { scope, kind, name } = request;
    this.check(request);
    const { body: given, upkeep } = asApiError(() => readBody(kind, name, value));
    const body = withoutTokens(given, this.#digest);
    scope.checkEntry(kind, name, body);
    return { body, upkeep };
  }

  /** Adds or changes an entry. @throws {ApiError} */
  async put(request: EntryRequest, { body, upkeep }: EntryToPut): Promise<Changed> {
    const { scope, kind, name, conditions } = request;
    return await this.#entries.change(kind, name, (before, view) => {
      this.#checkBefore(request, before);
      checkConditions(conditions, before?.etag);
      checkOwner(before, upkeep.owner);
      if (!before) checkQuota(scope, kind, view);
      return this.#stored(request, body, upkeep, before);
    });
  }

  /** Deletes an entry. @throws {ApiError} 404 where there is none */
  async delete(request: EntryRequest, owner: string | undefined): Promise<Changed> {
    const { kind, name, conditions } = request;
    return await this.#entries.change(kind, name, (before, view) => {
      this.#checkBefore(request, before);
      checkConditions(conditions, before?.etag);
      if (!before) throw notFound(kind, name);
      if (owner !== undefined) checkOwner(before, owner);
      if (kind === "policies") checkUnused(name, view);
      return undefined;
    });
  }

  /** Renews an entry's lease. @throws {ApiError} */
  async renew(request: EntryRequest): Promise<Changed & { readonly lease: EntryLease }> {
    const { kind, name, conditions } = request;
    const changed = await this.#entries.change(kind, name, (before) => {
      this.#checkBefore(request, before);
      checkConditions(conditions, before?.etag);
      if (!before) throw notFound(kind, name);
      const { stored } = before;
      if (!stored.lease) {
        throw new ApiError(
          409,
          "no_lease",
          "the entry has no lease: it was put without leaseSeconds",
        );
      }
      return { ...stored, lease: this.#lease(stored.lease.seconds) };
    });
    return { ...changed, lease: changed.after!.stored.lease! };
  }

  /** Reads an entry of the API or of the files. @throws {ApiError} 404 */
  get(
    { scope, kind, name }: Omit<EntryRequest, "conditions">,
  ): { entry: EntryBody; etag?: string } {
    asApiError(() => checkName(kind, name));
    scope.checkName(kind, name);
    const held = this.#entries.get(kind, name);
    if (this.#configuration.has(kind, name)) {
      const entry = this.#configuration.entries(kind)
        .find((it) => it[nameKeys[kind].key] === name)!;
      checkSeen(scope, kind, name, entry);
      return { entry };
    }
    if (!held) throw notFound(kind, name);
    scope.checkEntry(kind, name, held.stored.body);
    return { entry: shown(held.stored), etag: held.etag };
  }

  /** All entries that somebody may see. */
  list(scope: Scope, kind: EntryKind, owner: string | undefined): EntryBody[] {
    const configured = owner === undefined ? this.#configuration.entries(kind) : [];
    const stored = [...this.#entries.list(kind)].map((held) => held.stored)
      .filter((it) => owner === undefined || it.owner === owner)
      .filter(({ name }) => !this.#configuration.has(kind, name));
    return [...configured, ...stored.map(listed)].filter((entry) => scope.sees(kind, entry));
  }

  #checkBefore({ scope, kind, name }: EntryRequest, before: HeldEntry | undefined): void {
    asApiError(() => checkName(kind, name));
    scope.checkName(kind, name);
    if (before) scope.checkEntry(kind, name, before.stored.body);
    if (this.#configuration.has(kind, name)) throw configured(kind, name);
  }

  #stored(
    { scope, kind, name }: EntryRequest,
    body: EntryBody,
    { owner, leaseSeconds, accepted }: Upkeep,
    before: HeldEntry | undefined,
  ): StoredEntry {
    const wasAccepted = before?.stored.isAccepted;
    const longest = scope.token.leaseSeconds;
    const seconds = longest === undefined
      ? leaseSeconds
      : Math.min(leaseSeconds ?? longest, longest);
    const isAccepted = kind !== "clusters" ||
      (scope.token.autoAccept
        ? accepted ?? wasAccepted ?? true
        : (wasAccepted ?? false) && accepted !== false);
    return {
      kind,
      name,
      body,
      by: before?.stored.by ?? scope.token.name,
      ...owner !== undefined && { owner },
      isAccepted,
      ...seconds !== undefined && { lease: this.#lease(seconds) },
    };
  }

  #lease(seconds: number): EntryLease {
    return { seconds, endsMs: this.#nowMs() + seconds * 1_000 };
  }
}

/** An entry as the API shows it; PUT takes it as it is. */
export function shown({ kind, name, body, owner, isAccepted, lease }: StoredEntry): EntryBody {
  return {
    [nameKeys[kind].key]: name,
    ...body,
    ...owner !== undefined && { owner },
    ...lease && { leaseSeconds: lease.seconds },
    ...kind === "clusters" && { accepted: isAccepted },
  };
}

/** An entry as lists and watches show it: with the name of the token that added it. */
export function listed(stored: StoredEntry): EntryBody {
  return { ...shown(stored), registeredBy: stored.by };
}

function checkName(kind: EntryKind, name: string): void {
  const { key, schema } = nameKeys[kind];
  const message = schema.safeParse(name).error?.issues[0]?.message;
  if (message !== undefined) throw new BodyFault(key, message);
}

function asApiError<Result>(read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof BodyFault)) throw error;
    throw new ApiError(422, "invalid", error.message, { field: error.field });
  }
}

function checkSeen(scope: Scope, kind: EntryKind, name: string, entry: EntryBody): void {
  if (kind === "policies" && scope.seesPolicy(name)) return;
  if (kind !== "clusters") scope.checkEntry(kind, name, entry);
}

function checkOwner(before: HeldEntry | undefined, owner: string | undefined): void {
  const current = before?.stored.owner;
  if (current === undefined || current === owner) return;
  const message = `the entry belongs to ${
    JSON.stringify(current)
  }; delete it first to hand it over`;
  throw new ApiError(409, "other_owner", message, { field: "owner" });
}

function checkQuota({ token }: Scope, kind: EntryKind, view: EntriesView): void {
  if (kind !== "clusters" || token.maxClusters === undefined) return;
  let count = 0;
  for (const { stored } of view.list("clusters")) if (stored.by === token.name) count++;
  if (count < token.maxClusters) return;
  const message = `the token may have ${token.maxClusters} clusters (maxClusters), and has them`;
  throw new ApiError(429, "too_many_clusters", message);
}

/** Whether a service or cluster names a policy. */
export function usesPolicy(body: EntryBody, policy: string): boolean {
  return body["policy"] === policy || body["callerPolicy"] === policy;
}

function checkUnused(policy: string, view: EntriesView): void {
  for (const kind of ["services", "clusters"] as const) {
    for (const { stored: { body } } of view.list(kind)) {
      if (!usesPolicy(body, policy)) continue;
      const message = "the policy is in use by a service or cluster; change those first";
      throw new ApiError(409, "in_use", message);
    }
  }
}

function notFound(kind: EntryKind, name: string): ApiError {
  return new ApiError(404, "not_found", `there is nothing at ${kind}/${name}`);
}

/** Tokens are known by their digests from here on. */
function withoutTokens(body: EntryBody, digest: (token: string) => string): EntryBody {
  const hashed = (secret: EntryBody): EntryBody => {
    const { token, ...rest } = secret;
    return typeof token === "string" ? { ...rest, tokenSha256: digest(token) } : secret;
  };
  const own = hashed(body);
  const { tokens } = own;
  if (!Array.isArray(tokens)) return own;
  return { ...own, tokens: tokens.map((token) => hashed(token as EntryBody)) };
}
