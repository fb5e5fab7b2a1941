/**
 * The command line by the rules of Go's flag package, so that what was written for the system this
 * one replaces goes on working: `-name v`, `--name v`, `-name=v` and `--name=v` are the same; a
 * boolean is `-name`, `-name=true` or `-name=false`.
 *
 * It is stricter in two points: `-name` takes no value from an argument that is a known option, and an
 * option with one value is given once.
 */
import { ConfigError } from "../config_error.ts";
import { type Option, placeholderOf, type Program } from "./option_table.ts";
import { nearestName } from "./suggestion.ts";

const HELP_NAMES: readonly string[] = ["help", "h"];
const VERSION_NAME = "version";

/** What the command line asks for; `values` has the text given for each option, by name. */
export type CommandLine =
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  | { readonly kind: "values"; readonly values: ReadonlyMap<string, string> };

/**
 * Reads arguments up to the first that asks for help or for the version.
 *
 * @throws {ConfigError} for an option that is unknown or lacks its value, and for an argument that
 * belongs to no option
 */
export function readCommandLine(program: Program, argv: readonly string[]): CommandLine {
  const options = new Map(namedOptions(program).map((option) => [option.name, option]));
  const places = Object.values(program.options).filter(({ isArgument }) => isArgument);
  const values = new Map<string, string>();
  let last: GivenOption | undefined;
  const [word] = argv;
  if (word === "help" && places.length === 0) return { kind: "help" };
  if (word === VERSION_NAME && places.length === 0) return { kind: "version" };
  for (let index = 0; index < argv.length; index++) {
    const argument = splitArgument(argv[index] ?? "");
    // As in Go, "--" ends the options; nothing may follow it, since nothing stands without one.
    if (argument === undefined && argv[index] === "--" && index === argv.length - 1) break;
    if (argument === undefined) {
      const place = places.shift();
      if (place === undefined) throw unexpectedArgument({ program, argv, index, last });
      values.set(place.name, argv[index] ?? "");
      last = undefined;
      continue;
    }
    const { name, value } = argument;
    if (HELP_NAMES.includes(name)) return { kind: "help" };
    if (name === VERSION_NAME) return { kind: "version" };
    const option = options.get(name);
    if (option === undefined) throw unknownOption({ program, argv, index, last });
    const given = value ??
      (option.kind.isSwitch ? "true" : nextValue(option, argv[++index], options));
    const before = values.get(name);
    if (before !== undefined && !option.isRepeatable) {
      throw new ConfigError(`Option --${name} is given twice; keep one`);
    }
    values.set(name, before === undefined ? given : `${before},${given}`);
    last = { option, text: given };
  }
  return { kind: "values", values };
}

/** An option of the command line and its value. */
interface GivenOption {
  readonly option: Option<unknown>;
  readonly text: string;
}

/** Without those that stand on the command line as they are. */
function namedOptions(program: Program): readonly Option<unknown>[] {
  return Object.values(program.options).filter(({ isArgument }) => !isArgument);
}

/** Splits `-name` and `-name=value`; undefined for what is no option. */
function splitArgument(text: string): { name: string; value: string | undefined } | undefined {
  const match = /^--?([A-Za-z][\w.-]{0,63})(?:=(.*))?$/s.exec(text);
  const [, name, value] = match ?? [];
  return name === undefined ? undefined : { name, value };
}

/** Takes an option's value from the next argument, unless that is plainly another option. */
function nextValue(
  option: Option<unknown>,
  next: string | undefined,
  options: ReadonlyMap<string, Option<unknown>>,
): string {
  if (next === undefined) {
    throw new ConfigError(
      `Option --${option.name} needs a value: --${option.name} ${placeholderOf(option)}`,
    );
  }
  const nextName = splitArgument(next)?.name;
  const isOption = nextName !== undefined &&
    (options.has(nextName) || HELP_NAMES.includes(nextName) || nextName === VERSION_NAME);
  if (isOption) {
    const remedy = `write --${option.name}=${
      placeholderOf(option)
    } if the value begins with a dash`;
    throw new ConfigError(
      `Option --${option.name} needs a value, but --${nextName} follows; ${remedy}`,
    );
  }
  return next;
}

/** Where reading stopped. */
interface Place {
  readonly program: Program;
  readonly argv: readonly string[];
  readonly index: number;
  /** The option before it. */
  readonly last: GivenOption | undefined;
}

/**
 * The argument itself is not shown: it may be a part of a token or of a clusters file that the shell
 * split at a space.
 */
function unexpectedArgument({ program, argv, index, last }: Place): ConfigError {
  const text = argv[index] ?? "";
  // Chats and word processors put one of them in the place of two hyphens.
  if (/^[\u2010-\u2015\u2212\uff0d]/.test(text)) {
    return new ConfigError(
      `Argument ${index + 1} begins with a dash that is not "-", as copied text often has; ` +
        "type the option's dashes again",
    );
  }
  const { name, kind } = last?.option ?? {};
  if (kind?.isSwitch && kind.schema.safeParse(text).success) {
    return new ConfigError(
      `Unexpected argument "${text}" after --${name}; write --${name}=${text}`,
    );
  }
  const meant = index === 0 ? nearestWord(program, text) : undefined;
  if (meant !== undefined) {
    return new ConfigError(`Unexpected argument 1; did you mean ${program.name} ${meant}?`);
  }
  if (index === 0 && program.commands !== undefined) {
    const words = program.commands.map(({ word }) => word).join(", ");
    return new ConfigError(
      `Unexpected argument 1: neither an option nor a command. Commands are ${words}. ` +
        `Run ${program.name} --help`,
    );
  }
  const after = name === undefined ? "" : ` after --${name}`;
  return new ConfigError(
    `Unexpected argument ${index + 1}${after}: a value needs its option before it, ` +
      `and quotes when it contains spaces. Run ${program.name} --help`,
  );
}

/** What stands first and without a value: a command, or what many programs have as one. */
function nearestWord({ commands = [] }: Program, text: string): string | undefined {
  const options = ["help", VERSION_NAME];
  const word = nearestName(text, [...commands.map(({ word }) => word), ...options]);
  return word !== undefined && options.includes(word) ? `--${word}` : word;
}

function unknownOption(place: Place): ConfigError {
  const { program, argv, index, last } = place;
  const [typed = ""] = (argv[index] ?? "").split("=", 1);
  const name = typed.replace(/^--?/, "");
  const options = namedOptions(program);
  const glued = options.find((option) => option.isSecret && name.startsWith(option.name));
  if (glued !== undefined) {
    // What follows the secret option's name may be its value, as in "-tokenVALUE".
    const usage = `--${glued.name} ${placeholderOf(glued)}`;
    return new ConfigError(
      `Unknown option that begins with --${glued.name}; write ${usage}. Run ${program.name} --help`,
    );
  }
  const known = [...options.map((option) => option.name), ...HELP_NAMES, VERSION_NAME];
  const nearest = nearestName(name, known);
  // Behind a secret it may be the rest of that, unless it is plainly an option.
  if (nearest === undefined && last?.option.isSecret && !isPlainlyOption(typed, last.text)) {
    return unexpectedArgument(place);
  }
  const question = nearest === undefined ? "." : `; did you mean --${nearest}?`;
  return new ConfigError(`Unknown option ${typed}${question} Run ${program.name} --help`);
}

/** Two dashes and words are an option, and so is whatever stands behind JSON that is complete. */
function isPlainlyOption(typed: string, before: string): boolean {
  return /^--[a-z]+(?:-[a-z]+)*$/.test(typed) || isJson(before);
}

function isJson(text: string): boolean {
  if (!/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
