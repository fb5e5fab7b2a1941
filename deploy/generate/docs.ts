/** Tables of options for the docs, in the form that `deno fmt` leaves alone. */
import {
  defaultOf,
  type Option,
  type OptionTable,
  placeholderOf,
} from "../../lib/config/options/option_table.ts";

/** The text of a page of docs/, by its name. */
type ReadPage = (name: string) => string;

/** A program's options, with their environment variables and defaults. */
export function optionTable(table: OptionTable, read: ReadPage): string {
  const rows = Object.values(table).map((option) => [
    code(signature(option)),
    option.env === undefined ? "" : code(option.env),
    defaultCell(option),
    meaning(option, read),
  ]);
  return markdownTable(["option", "environment", "default", "meaning"], rows);
}

/** A command's options, which have no environment variables. */
export function commandTable(table: OptionTable, read: ReadPage): string {
  const rows = Object.values(table).map((option) => {
    const facts = option.isRequired && !option.isArgument ? " (required)" : "";
    return [code(signature(option)), meaning(option, read) + facts];
  });
  return markdownTable(["option", "meaning"], rows);
}

/** Settings of a platform. */
export function settingTable(table: OptionTable, read: ReadPage): string {
  const rows = Object.values(table).map((option) => [
    code(option.env ?? option.name),
    defaultCell(option) + (option.isSecret ? "; a secret" : ""),
    meaning(option, read),
  ]);
  return markdownTable(["setting", "default", "meaning"], rows);
}

function signature(option: Option<unknown>): string {
  return option.isArgument ? option.name : `--${option.name} ${placeholderOf(option)}`.trimEnd();
}

function defaultCell(option: Option<unknown>): string {
  if (option.isRequired) return "required";
  if (option.kind.isSwitch) return option.default === "true" ? "on" : "off";
  const text = defaultOf(option);
  return text === undefined
    ? "none"
    : text.replaceAll(/\S*[:/\d]\S*(?=,)|\S*[:/\d]\S*|^\S+$/g, code);
}

function meaning(option: Option<unknown>, read: ReadPage): string {
  const facts = [option.description];
  const { minimum, maximum } = option.kind.json ?? {};
  if (maximum !== undefined) facts.push(`${minimum} to ${maximum}`);
  if (option.isRepeatable) facts.push("may be given several times");
  if (option.whenEmpty !== undefined) facts.push(`empty: ${option.whenEmpty}`);
  const text = facts.join("; ");
  return option.see === undefined ? text : `${text}. See ${link(option.see, read)}`;
}

/** A link with the heading that it leads to. @throws {Error} when there is no such heading */
function link(see: string, read: ReadPage): string {
  const [page = "", anchor] = see.split("#");
  const headings = [...read(page).matchAll(/^#+ (.+)$/gm)].map((found) => found[1]!);
  const heading = anchor === undefined
    ? headings[0]
    : headings.find((text) => anchorOf(text) === anchor);
  if (heading === undefined) throw new Error(`docs/${page} has no heading for ${see}`);
  return `[${heading}](${see})`;
}

function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}

function code(text: string): string {
  return `\`${text}\``;
}

function markdownTable(headings: readonly string[], rows: readonly string[][]): string {
  const cells = [headings, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`;
  const [head = [], ...body] = cells;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...body.map(line)].join("\n");
}
