/** Paths of the API that show entries and change them. */
import { nameKeys } from "../config/entries/api_entries.ts";
import { type EntryKind, entryKinds } from "../domain/admin.ts";
import type { Exchange } from "../net/exchange.ts";
import { answer } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import type { ApiRequest, On } from "./api_request.ts";
import type { AdminAudit } from "./audit.ts";
import { isUnchanged, readConditions } from "./conditions.ts";
import type { Changed } from "./entries.ts";
import { type EntryOperations, type EntryRequest, shown } from "./operations.ts";
import { pageOf } from "./page.ts";
import { readJson } from "./request_body.ts";

/** What they are put together from. */
export interface EntryParts {
  readonly operations: EntryOperations;
  readonly audit: AdminAudit;
}

/** Adds them. */
export function addEntryRoutes(parts: EntryParts, on: On): void {
  for (const kind of entryKinds) {
    addReads(kind, parts, on);
    addChanges(kind, parts, on);
  }
}

function addReads(kind: EntryKind, { operations }: EntryParts, on: On): void {
  on("GET", `/${kind}`, ({ exchange, scope, query }) => {
    const { key } = nameKeys[kind];
    const entries = operations.list(scope, kind, query("owner"));
    answer(exchange, 200, pageOf(entries, (entry) => String(entry[key]), query));
    return Promise.resolve();
  });
  on("GET", `/${kind}/:name`, ({ exchange, scope, param }) => {
    const { entry, etag } = operations.get({ scope, kind, name: param("name") });
    const headers = etag === undefined ? {} : { ETag: etag };
    const conditions = readConditions(exchange.head.fields);
    const isSame = etag !== undefined && isUnchanged(conditions, etag);
    answer(exchange, isSame ? 304 : 200, isSame ? undefined : entry, headers);
    return Promise.resolve();
  });
}

function addChanges(kind: EntryKind, { operations, audit }: EntryParts, on: On): void {
  on("PUT", `/${kind}/:name`, async (request) => {
    const asked = entryRequest(kind, request);
    operations.check(asked);
    const body = await readJson(request.exchange);
    if (!request.isStillAllowed()) throw changedToken();
    const entry = operations.read(asked, body);
    const changed = await audited(
      audit,
      request,
      "put",
      asked,
      () => operations.put(asked, entry),
    );
    answerChanged(request.exchange, changed);
  });
  on("DELETE", `/${kind}/:name`, async (request) => {
    const asked = entryRequest(kind, request);
    operations.check(asked);
    const owner = request.query("owner");
    const { before } = await audited(
      audit,
      request,
      "delete",
      asked,
      () => operations.delete(asked, owner),
    );
    answer(request.exchange, 200, shown(before!.stored));
  });
  on("POST", `/${kind}/:name/renew`, async (request) => {
    const asked = entryRequest(kind, request);
    operations.check(asked);
    const { lease, after } = await audited(
      audit,
      request,
      "renew",
      asked,
      () => operations.renew(asked),
    );
    const leaseEnds = new Date(lease.endsMs).toISOString();
    const body = { leaseSeconds: lease.seconds, leaseEnds };
    answer(request.exchange, 200, body, { ETag: after!.etag });
  });
}

/** Changes an entry between the two records of the audit log. */
async function audited<Result extends Changed>(
  audit: AdminAudit,
  request: ApiRequest,
  action: "put" | "delete" | "renew",
  asked: EntryRequest,
  change: () => Promise<Result>,
): Promise<Result> {
  await audit.allow(request, action, asked);
  const changed = await change().catch(audit.refused(request, action, asked));
  audit.done(request, action, asked, changed);
  return changed;
}

/** A body may take half a minute. */
function changedToken(): ApiError {
  return new ApiError(401, "unauthorized", "the token has changed during the request");
}

function entryRequest(kind: EntryKind, { exchange, scope, param }: ApiRequest): EntryRequest {
  return { scope, kind, name: param("name"), conditions: readConditions(exchange.head.fields) };
}

function answerChanged(exchange: Exchange, { before, after }: Changed): void {
  const { stored, etag } = after!;
  const status = !stored.isAccepted ? 202 : before ? 200 : 201;
  answer(exchange, status, shown(stored), { ETag: etag });
}
