/** A list of the status page: its heading, search, table and pages. */
import type { Child } from "hono/jsx";
import { count } from "../bytes.ts";
import { pageOf, type PageOfList, Pager } from "../pager.tsx";
import { pathOf } from "./links.ts";
import { type Orders, sorted } from "./lists.ts";
import type { Section, StatusQuery } from "./model.ts";

/** Rows on a page of their own, and on the page with everything. */
const ownPageSize = 100;
const overviewSize: Readonly<Record<Section, number>> = {
  clusters: 50,
  services: 25,
  streams: 25,
  sessions: 25,
  requests: 25,
};

/** The part of a list that is shown: the page with everything searches and turns over clusters alone. */
export function shown<Item>(
  section: Section,
  list: readonly Item[],
  query: StatusQuery,
  orders: Orders<Item>,
  textOf: (item: Item) => string,
): PageOfList<Item> {
  const isOwn = query.section === section ||
    (query.section === undefined && section === "clusters");
  const size = query.section === section ? ownPageSize : overviewSize[section];
  const asked = isOwn ? query : { query: "", page: 1 };
  const order = isOwn ? query.sort : "";
  return pageOf(sorted(list, orders, order), asked, size, (item) => textOf(item).toLowerCase());
}

/** What surrounds a list. */
export interface ListSectionProps {
  readonly section: Section;
  readonly title: string;
  readonly page: PageOfList<unknown>;
  readonly query: StatusQuery;
  /** The text in place of the table if it has no rows at all. */
  readonly empty: string;
  readonly children: Child;
}

/** @see ListSectionProps */
export function ListSection({ section, title, page, query, empty, children }: ListSectionProps) {
  const isOwn = query.section === section ||
    (query.section === undefined && section === "clusters");
  const path = pathOf(query.section === section ? section : undefined);
  return (
    <section id={section} data-live aria-labelledby={`${section}-title`}>
      <div class="heading">
        <h2 id={`${section}-title`}>{title}</h2>
        <span class="quiet-text">{count(page.all)}</span>
        {!isOwn && page.pages > 1 && <a href={pathOf(section)}>Show all</a>}
      </div>
      {isOwn && page.all > 1 && <Search {...{ section, path, page, query }} />}
      {page.all === 0 ? <p class="empty">{empty}</p> : page.items.length === 0
        ? (
          <p class="empty">
            Nothing matches. <a href={path}>Show all</a>
          </p>
        )
        : children}
      {isOwn && <Pager page={page} path={path} parameters={sortOf(query)} />}
    </section>
  );
}

function sortOf({ sort }: StatusQuery): Record<string, string> {
  return sort === "" ? {} : { sort };
}

function Search(
  { section, path, page, query }: Pick<ListSectionProps, "section" | "page" | "query"> & {
    readonly path: string;
  },
) {
  return (
    <form class="search" role="search" action={path} method="get" aria-label={`Search ${section}`}>
      <input
        id={`${section}-search`}
        type="search"
        name="q"
        value={page.query}
        placeholder={`Search ${section}`}
        aria-label={`Search ${section}`}
        maxlength={100}
      />
      {query.sort !== "" && <input type="hidden" name="sort" value={query.sort} />}
      <button class="quiet" type="submit">Search</button>
    </form>
  );
}
