/** Tables for a terminal: columns side by side, headings in capitals, as kubectl prints them. */

/** The gap between two columns. */
const gap = "   ";

/** A table; `-` stands for what there is not. */
export function textTable(
  headings: readonly string[],
  rows: readonly (readonly (string | number | undefined)[])[],
): string {
  const texts = rows.map((row) =>
    row.map((cell) => cell === undefined || cell === "" ? "-" : plain(cell))
  );
  const all = [headings, ...texts];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const lines = all.map((row) =>
    row.map((cell, column) => cell.padEnd(widths[column]!)).join(gap).trimEnd()
  );
  return `${lines.join("\n")}\n`;
}

/** What others have chosen must not steer the terminal. */
function plain(cell: string | number): string {
  return String(cell).replaceAll(/\p{C}/gu, "?");
}

/** How long ago something was: `5s`, `3m`, `2h`, `4d`. */
export function ago(time: string | undefined, nowMs: number): string | undefined {
  if (time === undefined) return undefined;
  const seconds = Math.max(0, Math.round((nowMs - Date.parse(time)) / 1_000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 2 * 3_600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3_600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
