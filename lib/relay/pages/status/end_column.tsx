/** The column of links to the page that asks whether what a row shows is to be ended. */
import type { Column } from "../table.tsx";
import { endLink } from "./links.ts";

/** What a row's link ends. */
export interface End {
  readonly what: "agent" | "stream" | "session";
  readonly id: string;
  /** Names what is ended, for those who hear the link alone. */
  readonly title: string;
}

/** How the column is headed, and what its links say. */
export interface EndLabels {
  readonly label: string;
  readonly verb: string;
}

/** The column for who may end things; nothing for others. @param endOf Undefined for a row without a link. */
export function endColumn<Row>(
  mayAct: boolean,
  { label, verb }: EndLabels,
  endOf: (row: Row) => End | undefined,
): Column<Row>[] {
  if (!mayAct) return [];
  const cell = (row: Row) => {
    const end = endOf(row);
    return end && (
      <a class="button danger small" href={endLink(end.what, end.id)} aria-label={end.title}>
        {verb}
      </a>
    );
  };
  return [{ label, kind: "act", cell }];
}
