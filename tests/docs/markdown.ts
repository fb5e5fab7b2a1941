/** Reads the project's Markdown as far as its tests need it: tables, fenced blocks, links. */
import assert from "node:assert/strict";

const root = new URL("../../", import.meta.url);

/** The pages that the tests hold to the truth: all that there are. */
export const pages: readonly string[] = [
  ...["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"],
  ...[...Deno.readDirSync(new URL("docs", root))].map(({ name }) => `docs/${name}`).sort(),
];

/** The text of a file of the project. */
export function readText(path: string): string {
  return Deno.readTextFileSync(new URL(path, root));
}

/** Whether a file or folder of the project is there. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(new URL(path, root));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** All TypeScript files below folders of the project, and single files as they are. */
export function sources(...paths: string[]): string[] {
  return paths.flatMap((path) => {
    if (/\.tsx?$/.test(path)) return [path];
    return [...Deno.readDirSync(new URL(path, root))].flatMap(({ name, isDirectory }) => {
      if (isDirectory) return sources(`${path}/${name}`);
      return /\.tsx?$/.test(name) ? [`${path}/${name}`] : [];
    });
  });
}

/** The files of code and configuration below a folder of the project. */
export function textFiles(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, root))].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return textFiles(path);
    return /\.(?:tsx?|txt|tpl|sh|ya?ml|Dockerfile)$/.test(name) ? [path] : [];
  });
}

/** A table's rows, each a record from the column's heading to the cell's text. */
export type Table = Record<string, string>[];

/**
 * The tables of a page with exactly these column headings, joined into one.
 *
 * @throws {Error} when there is none.
 */
export function table(page: string, columns: readonly string[]): Table {
  const found = tables(readText(page)).filter(({ headings }) =>
    headings.length === columns.length && headings.every((name, index) => name === columns[index])
  );
  if (found.length === 0) throw new Error(`${page} has no table with ${columns.join(", ")}`);
  return found.flatMap(({ rows }) => rows);
}

/** The table that follows a heading or a line, with whatever columns. */
export function tableAfter(page: string, line: string): Table {
  const text = readText(page);
  const start = text.indexOf(`\n${line}\n`);
  if (start === -1) throw new Error(`${page} has no line ${JSON.stringify(line)}`);
  const [first] = tables(text.slice(start));
  if (!first) throw new Error(`${page} has no table after ${JSON.stringify(line)}`);
  return first.rows;
}

/** All tables of a text. */
export function tables(text: string): { headings: string[]; rows: Table }[] {
  const found: { headings: string[]; rows: Table }[] = [];
  const lines = text.split("\n");
  for (let at = 1; at < lines.length; at++) {
    if (!/^\|(?: *:?-+:? *\|)+$/.test(lines[at]!)) continue;
    const headings = cells(lines[at - 1]!);
    const rows: Table = [];
    for (let row = at + 1; lines[row]?.startsWith("|"); row++) {
      const values = cells(lines[row]!);
      rows.push(Object.fromEntries(headings.map((name, index) => [name, values[index] ?? ""])));
    }
    found.push({ headings, rows });
  }
  return found;
}

/** A bar inside a cell is written `\|`. */
function cells(line: string): string[] {
  return line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

/** The text between the first pair of backticks. */
export function code(cell: string): string {
  const match = /`([^`]+)`/.exec(cell);
  if (!match) throw new Error(`No code in ${JSON.stringify(cell)}`);
  return match[1]!;
}

/** All texts between backticks. */
export function codes(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
}

/** A fenced block: what stands behind the fence, and the lines. */
export interface Block {
  readonly info: string;
  readonly text: string;
}

/** The fenced blocks of a page, also those in lists. @param section The heading of one of its parts. */
export function blocks(page: string, section?: string): Block[] {
  const all = readText(page);
  const text = section === undefined ? all : sectionOf(all, section);
  return [...text.matchAll(fence)].map(({ groups }) => ({
    info: groups!["info"]!.trim(),
    text: groups!["text"]!.replaceAll(new RegExp(`^${groups!["indent"]}`, "gm"), ""),
  }));
}

/** The text below a heading of the second level, up to the next one. */
function sectionOf(text: string, heading: string): string {
  const found = text.split(/^(?=## )/m).find((part) => part.startsWith(`## ${heading}\n`));
  assert.ok(found, `There is no section "${heading}"`);
  return found;
}

const fence = /^(?<indent> *)```(?<info>.*)\n(?<text>[\s\S]*?)^ *```$/gm;

/** The lines of a text, empty but for those in its blocks of one language. */
export function blockLines(text: string, info: string): string[] {
  const lines = text.split("\n");
  let language: string | undefined;
  return lines.map((line) => {
    const [, mark] = /^ *```(.*)$/.exec(line) ?? [];
    if (mark === undefined) return language === info ? line : "";
    language = language === undefined ? mark.trim() : undefined;
    return "";
  });
}

/** Shell commands of a page's `sh` blocks, one a line: continued lines are joined. */
export function commands(page: string): string[] {
  return blocks(page).filter(({ info }) => info === "sh").flatMap(({ text }) =>
    text.replaceAll(/\\\n\s*/g, "").split("\n").filter((line) => line !== "")
  );
}

/** The anchors that a page's headings make, as GitHub names them. */
export function anchorsOf(page: string): Set<string> {
  return new Set(headingsOf(page).map(anchorOf));
}

/** The texts of a page's headings. */
export function headingsOf(page: string): string[] {
  const text = readText(page).replaceAll(/^```[\s\S]*?^```$/gm, "");
  return [...text.matchAll(/^#+ (.+)$/gm)].map((match) => match[1]!);
}

function anchorOf(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}
