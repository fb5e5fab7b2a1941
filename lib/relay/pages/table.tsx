/** Tables that narrow screens show as one block a row. */
import type { Child } from "hono/jsx";

/** A column. */
export interface Column<Row> {
  readonly label: string;
  readonly cell: (row: Row) => Child;
  /** `number`: aligned by its digits; `act`: buttons, whose column has no visible name. */
  readonly kind?: "text" | "number" | "act";
  /** Where the same table is in this column's order, and whether it is. */
  readonly sort?: {
    readonly href: string;
    readonly order?: "ascending" | "descending" | undefined;
  };
}

/** A table. The first column names the row. */
export interface TableProps<Row> {
  /** For those who do not see where the table stands. */
  readonly caption: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
}

/** The roles are what browsers forget of tables whose parts are displayed as blocks. */
export function Table<Row>({ caption, columns, rows }: TableProps<Row>) {
  return (
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
  );
}

const classOf = (kind: "text" | "number" | "act" = "text") =>
  kind === "text" ? {} : { class: kind };

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
  if (isName) return <th scope="row" role="rowheader">{cell(row)}</th>;
  return (
    <td role="cell" {...classOf(kind)} {...kind !== "act" && { "data-label": label }}>
      {cell(row)}
    </td>
  );
}
