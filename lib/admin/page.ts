/** Pages of lists: `?limit=` and `?continue=`, as in the Kubernetes API. */
import { ApiError } from "./api_error.ts";

/** Items of one answer at most, if its client wants pages. */
const maxLimit = 1_000;

/** One page of a list. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** What leads to the next page; undefined on the last one. */
  readonly continue?: string;
}

/** Reads a query's parameter. */
export type QueryOf = (name: string) => string | undefined;

/**
 * Cuts a page out of a list. A page goes on behind the last key of the one before, so what is added or
 * deleted in between shifts nothing: each item that is there all the time comes once.
 *
 * @param keyOf tells items apart
 * @throws {ApiError} 400 for a limit or a continuation that no page has given
 */
export function pageOf<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
  query: QueryOf,
): Page<Item> {
  const limit = limitOf(query("limit"));
  const after = keyIn(query("continue"));
  const keyed = items.map((item) => ({ key: keyOf(item), item }))
    .filter(({ key }) => after === undefined || key > after)
    .sort((a, b) => a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
  const page = keyed.slice(0, limit);
  const shown = page.map(({ item }) => item);
  if (page.length === keyed.length) return { items: shown };
  return { items: shown, continue: continuation(page.at(-1)!.key) };
}

function limitOf(text: string | undefined): number {
  if (text === undefined) return Infinity;
  const limit = /^[1-9]\d{0,3}$/.test(text) ? Number(text) : Infinity;
  if (limit <= maxLimit) return limit;
  throw new ApiError(400, "bad_request", `limit must be a whole number from 1 to ${maxLimit}`);
}

function continuation(key: string): string {
  return new TextEncoder().encode(key).toBase64({ alphabet: "base64url", omitPadding: true });
}

function keyIn(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
    const key = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (key !== "") return key;
  } catch {
    // Said below.
  }
  throw new ApiError(400, "bad_request", "continue must be the value that the previous page gave");
}
