/** The text of `--help`: everything that a user needs to run a program, within 80 columns. */
import { defaultOf, type Option, placeholderOf, type Program, usagesOf } from "./option_table.ts";

const WIDTH = 80;
const INDENT = "  ";
/** The indent of an option's description, which begins a line of its own. */
const DESCRIPTION_INDENT = "      ";
/** Stands for a space at which no line may break, until the line is done. */
const UNBROKEN_SPACE = "\u00a0";

/** Writes a program's help text, without a line break at its end. */
export function helpText(program: Program): string {
  const sections = [
    usageLines(program),
    wrap(program.summary, WIDTH).join("\n"),
    ...commandSections(program),
    wrap(notation(Object.values(program.options)), WIDTH).join("\n"),
    ...optionSections(program),
    section("Examples", program.examples.flatMap(exampleLines)),
    section(
      "Exit codes",
      columns(program.exitCodes.map(({ code, meaning }) => [`${code}`, meaning])),
    ),
  ];
  return sections.join("\n\n");
}

function usageLines(program: Program): string {
  const start = "Usage: ";
  const indent = " ".repeat(start.length);
  return usagesOf(program).flatMap((way, index) => {
    const [first = "", ...rest] = wrap(way, WIDTH - start.length - INDENT.length);
    return [(index === 0 ? start : indent) + first, ...rest.map((line) => indent + INDENT + line)];
  }).join("\n");
}

/** A description without the backticks of its code. */
export function plainText(description: string): string {
  return description.replaceAll("`", "");
}

function commandSections({ name, commands = [] }: Program): string[] {
  if (commands.length === 0) return [];
  const rows = commands.map(({ word, title }): [string, string] => [`${name} ${word}`, title]);
  return [section(`Commands, each with a --help of its own`, columns(rows))];
}

/** How options are written, as far as this program has such. */
function notation(options: readonly Option<unknown>[]): string {
  return [
    "An option is written --name VALUE or --name=VALUE; a single dash also works.",
    options.some(({ env }) => env !== undefined)
      ? "Environment variables set options too; the command line takes precedence over them."
      : "",
    options.some(({ kind }) => kind.isSwitch)
      ? "--name=false turns an option without a value off."
      : "",
    options.some((option) => placeholderOf(option) === "DURATION")
      ? "A DURATION is a number and its unit, or several: 500ms, 30s, 1m30s, 2h."
      : "",
  ].filter((sentence) => sentence !== "").join(" ");
}

function optionSections(program: Program): string[] {
  const groups = new Map<string, [string, string][]>();
  for (const option of Object.values(program.options)) {
    const rows = groups.get(option.group) ?? [];
    rows.push([signature(option), plainText(option.description) + provenance(option)]);
    groups.set(option.group, rows);
  }
  groups.set("Help", [
    ["-h, --help", "Print this text and exit"],
    ["--version", "Print the version and exit"],
  ]);
  return [...groups].map(([title, rows]) => section(title, rows.flatMap(optionLines)));
}

function optionLines([signature, description]: readonly [string, string]): string[] {
  const described = wrap(description, WIDTH - DESCRIPTION_INDENT.length);
  return [INDENT + signature, ...described.map((line) => DESCRIPTION_INDENT + line)];
}

function signature(option: Option<unknown>): string {
  if (option.isArgument) return option.name;
  return `--${option.name} ${placeholderOf(option)}`.trimEnd();
}

function provenance(option: Option<unknown>): string {
  const facts = option.env === undefined ? [] : [`env ${option.env}`];
  if (option.isRequired) facts.push("required");
  const byDefault = defaultOf(option);
  if (byDefault !== undefined && !option.kind.isSwitch) facts.push(`default ${byDefault}`);
  if (option.whenEmpty !== undefined) facts.push(`empty: ${option.whenEmpty}`);
  if (facts.length === 0) return "";
  return ` (${facts.map((fact) => fact.replaceAll(" ", UNBROKEN_SPACE)).join("; ")})`;
}

/** A command that is too long continues on further lines, as a shell reads them. */
function exampleLines({ title, command }: { title: string; command: string }): string[] {
  const lines = command.replaceAll(/ \\\n +/g, " ").split("\n").flatMap((line) => {
    const whole = line.replaceAll(/(--[\w-]+) (?=[^-|&])/g, `$1${UNBROKEN_SPACE}`);
    const parts = wrap(whole, WIDTH - DESCRIPTION_INDENT.length - " \\".length);
    return parts.join(` \\\n${DESCRIPTION_INDENT.slice(INDENT.length)}`).split("\n");
  });
  return [...wrap(title, WIDTH - INDENT.length - "# ".length).map((line) => `# ${line}`), ...lines]
    .map((line) => INDENT + line);
}

function section(title: string, lines: readonly string[]): string {
  return [`${title}:`, ...lines].join("\n");
}

/** Two columns: the left one as wide as its widest text, the right one wrapped beside it. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const leftWidth = Math.max(...rows.map(([left]) => left.length));
  const margin = INDENT.length + leftWidth + INDENT.length;
  return rows.flatMap(([left, right]) =>
    wrap(right, WIDTH - margin).map((line, index) => {
      const start = index === 0 ? INDENT + left : "";
      return start.padEnd(margin) + line;
    })
  );
}

/** Breaks text at spaces into lines of at most `width`; a longer word has a line of its own. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((done) => done.replaceAll(UNBROKEN_SPACE, " "));
}
