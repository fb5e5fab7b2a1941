/** `If-Match` and `If-None-Match` (RFC 9110 section 13.1). */
import { type Field } from "../http1/head.ts";
import { ApiError } from "./api_error.ts";

/** What a request demands of the entry that there is. */
export interface Conditions {
  readonly ifMatch: EntityTags | undefined;
  readonly ifNoneMatch: EntityTags | undefined;
}

/** `*`, or a list of tags; weak ones are marked. */
type EntityTags = "*" | readonly { readonly tag: string; readonly isWeak: boolean }[];

const listed =
  /^(?:\s*,)*\s*(?:W\/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:(?:W\/)?"[\x21\x23-\x7e]*")?)*\s*$/;

/** Reads both. @throws {ApiError} 400 for what is neither `*` nor a list of tags */
export function readConditions(fields: readonly Field[]): Conditions {
  return {
    ifMatch: read(fields, "if-match", "If-Match"),
    ifNoneMatch: read(fields, "if-none-match", "If-None-Match"),
  };
}

function read(fields: readonly Field[], key: string, name: string): EntityTags | undefined {
  const values = fields.filter((field) => field.key === key).map(({ value }) => value);
  if (values.length === 0) return undefined;
  const text = values.join(", ").trim();
  if (text === "*") return "*";
  if (!listed.test(text)) {
    throw new ApiError(400, "bad_request", `${name} must be * or a list of quoted ETags`);
  }
  return [...text.matchAll(/(W\/)?("[^"]*")/g)]
    .map(([, weak, tag]) => ({ tag: tag!, isWeak: weak !== undefined }));
}

/** @throws {ApiError} 412 if the entry that there is, or is not, is another than demanded */
export function checkConditions({ ifMatch, ifNoneMatch }: Conditions, etag: string | undefined) {
  if (ifMatch !== undefined && !matchesStrongly(ifMatch, etag)) {
    throw failed(etag === undefined ? "there is no such entry" : `the entry's ETag is ${etag}`);
  }
  if (ifNoneMatch !== undefined && matchesWeakly(ifNoneMatch, etag)) {
    throw failed("the entry already exists");
  }
}

/** Whether a GET can be answered with 304. */
export function isUnchanged({ ifNoneMatch }: Conditions, etag: string): boolean {
  return ifNoneMatch !== undefined && matchesWeakly(ifNoneMatch, etag);
}

function matchesStrongly(tags: EntityTags, etag: string | undefined): boolean {
  if (etag === undefined) return false;
  return tags === "*" || tags.some(({ tag, isWeak }) => !isWeak && tag === etag);
}

function matchesWeakly(tags: EntityTags, etag: string | undefined): boolean {
  if (etag === undefined) return false;
  return tags === "*" || tags.some(({ tag }) => tag === etag);
}

function failed(message: string): ApiError {
  return new ApiError(412, "precondition_failed", message);
}
