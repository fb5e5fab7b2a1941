/** Tables that narrow screens show as one block a row. */
import type { Child } from "hono/jsx";

/** What a column holds; `long` is text that needs room. */
type Kind = "text" | "long" | "number" | "act";

/** A column. */
export interface Column<Row> {
  readonly label: string;
  readonly cell: (row: Row) => Child;
  /** `number`: aligned by its digits; `act`: buttons, whose column has no visible name. */
  readonly kind?: Kind;
  /** Where the same table is in this column's order, and whether it is. */
  readonly sort?: {
    readonly href: string;
    readonly order?: "ascending" | "descending" | undefined;
  };
}

/** A table. The first column names the row. */
export interface TableProps<Row> {
  /** The table's name for screen readers. */
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
}

/** The roles are what browsers forget of tables whose parts are displayed as blocks. */
export function Table<Row>({ caption, columns, rows }: TableProps<Row>) {
  return (
    <div class="scroll">
      <table class="table" role="table">
        <caption class="away">{caption}</caption>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map((column) => <Head key={column.label} column={column} />)}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr role="row">
              {columns.map((column, index) => (
                <Cell
                  column={column}
                  row={row}
                  isName={index === 0}
                />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const classOf = (kind: Kind = "text") => kind === "text" ? {} : { class: kind };

function Head<Row>({ column: { label, kind, sort } }: { readonly column: Column<Row> }) {
  const order = sort?.order === undefined ? {} : { "aria-sort": sort.order };
  const arrow = sort?.order === "ascending" ? " ↑" : sort?.order === "descending" ? " ↓" : "";
  return (
    <th scope="col" role="columnheader" {...classOf(kind)} {...order}>
      {kind === "act"
        ? <span class="away">{label}</span>
        : sort
        ? <a href={sort.href}>{label + arrow}</a>
        : label}
    </th>
  );
}

function Cell<Row>(
  { column: { label, kind, cell }, row, isName }: {
    readonly column: Column<Row>;
    readonly row: Row;
    readonly isName: boolean;
  },
) {
  const content = cell(row);
  if (isName) return <th scope="row" role="rowheader">{content}</th>;
  const isEmpty = content === undefined || content === null || content === false;
  if (isEmpty) return <td role="cell" {...classOf(kind)} />;
  return (
    <td role="cell" {...classOf(kind)} {...kind !== "act" && { "data-label": label }}>
      <div>{content}</div>
    </td>
  );
}
