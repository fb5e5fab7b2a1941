/** A long list, a page at a time: search, order and page are in the URL. */

/** One page of a list. */
export interface PageOfList<Item> {
  readonly items: readonly Item[];
  /** What was searched for; empty for everything. */
  readonly query: string;
  /** How many match, and how many there are. */
  readonly found: number;
  readonly all: number;
  /** Counted from 1. */
  readonly page: number;
  readonly pages: number;
}

/** What of a list is asked for, as the URL has it. */
export interface ListRequest {
  readonly query: string;
  readonly page: number;
}

/** Characters of a search. */
const maxQueryUnits = 100;

/** Reads `q` and `page`; what is not a page number is the first page. */
export function listRequest(parameters: URLSearchParams): ListRequest {
  const page = Number(parameters.get("page") ?? "1");
  const query = (parameters.get("q") ?? "").trim().slice(0, maxQueryUnits);
  return { query, page: Number.isSafeInteger(page) && page > 0 ? page : 1 };
}

/**
 * The page that is asked for, or the last one if there are fewer.
 *
 * @param textOf what is searched, in lower case
 */
export function pageOf<Item>(
  list: readonly Item[],
  { query, page }: ListRequest,
  size: number,
  textOf: (item: Item) => string,
): PageOfList<Item> {
  const wanted = query.toLowerCase();
  const found = wanted === "" ? list : list.filter((item) => textOf(item).includes(wanted));
  const pages = Math.max(1, Math.ceil(found.length / size));
  const at = Math.min(page, pages);
  const items = found.slice((at - 1) * size, at * size);
  return { items, query, found: found.length, all: list.length, page: at, pages };
}

/** The same page with other items, made of the ones that it has. */
export function withItems<Item>(
  page: PageOfList<unknown>,
  items: readonly Item[],
): PageOfList<Item> {
  return { ...page, items };
}

/** Links to the pages before and behind; nothing where there is one page. */
export function Pager(
  { page: { query, page, pages, found }, path, parameters = {} }: {
    readonly page: PageOfList<unknown>;
    readonly path: string;
    /** What else the URL says. */
    readonly parameters?: Readonly<Record<string, string>>;
  },
) {
  if (pages === 1) return null;
  const href = (number: number) => {
    const search = new URLSearchParams({
      ...parameters,
      ...query !== "" && { q: query },
      page: String(number),
    });
    return `${path}?${search}`;
  };
  return (
    <nav class="pages" aria-label="Pages of the list">
      {page > 1 && <a rel="prev" href={href(page - 1)}>Previous</a>}
      <span class="quiet-text">Page {page} of {pages} ({found})</span>
      {page < pages && <a rel="next" href={href(page + 1)}>Next</a>}
    </nav>
  );
}
