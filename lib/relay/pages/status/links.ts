/** Links within the status page. */
import type { Section, StatusQuery } from "./model.ts";

/** Where everything is. */
export const statusPath = "/status";

/** The page of a section, or the one with everything. */
export function pathOf(section: Section | undefined): string {
  return section === undefined ? statusPath : `${statusPath}/${section}`;
}

/** A column's link: the same list in its order, or in the opposite one if it is in that. */
export function sortLink(query: StatusQuery, section: Section, name: string) {
  const isOwn = query.section === section ||
    (query.section === undefined && section === "clusters");
  const isAscending = isOwn && query.sort === name;
  const isDescending = isOwn && query.sort === `-${name}`;
  const next = isDescending ? name : isAscending ? `-${name}` : name;
  const search = new URLSearchParams({
    ...isOwn && query.query !== "" && { q: query.query },
    sort: next,
  });
  const order = isAscending
    ? "ascending" as const
    : isDescending
    ? "descending" as const
    : undefined;
  return { href: `${pathOf(isOwn ? query.section : section)}?${search}`, order };
}

/** The page that asks whether something is to be ended. */
export function endLink(what: "agent" | "stream" | "session", id: string): string {
  return `${statusPath}/end?${new URLSearchParams({ what, id })}`;
}
