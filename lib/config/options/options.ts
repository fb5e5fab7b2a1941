/**
 * Options of a program, declared as a table and read from the command line and the environment. The
 * command line beats the environment, which beats the default. Files are not read here.
 */
import { readCommandLine } from "./command_line.ts";
import { ConfigError } from "../config_error.ts";
import {
  cleanVariable,
  type Environment,
  isInPod,
  refuseQuotes,
  variableOf,
} from "./environment.ts";
import { helpText, plainText } from "./help.ts";
import {
  type Option,
  type OptionTable,
  type OptionValues,
  placeholderOf,
  type Program,
  usagesOf,
} from "./option_table.ts";

/** What the user asked for. */
export type Parsed<Options> =
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "version"; readonly text: string }
  | { readonly kind: "run"; readonly options: Options };

/** Values and, for messages about them, where each came from. */
export interface ReadOptions<Table extends OptionTable> {
  readonly values: OptionValues<Table>;
  /** "Option --addr", "Argument CLUSTER", "Environment variable ADDR" or "Default of option …". */
  readonly origins: { readonly [Field in keyof Table]: string };
  /** One line each, about what works but should not stay. */
  readonly warnings: readonly string[];
}

export type { Environment };

/**
 * Reads a program's options.
 *
 * @throws {ConfigError} for an option that is unknown, lacks its value, has a wrong one, or is
 * required and missing; and for an argument that belongs to no option
 */
export function parseOptions<const Table extends OptionTable>(
  program: Program<Table>,
  argv: readonly string[],
  env: Environment,
): Parsed<ReadOptions<Table>> {
  const line = readCommandLine(program, argv);
  switch (line.kind) {
    case "help":
      return { kind: "help", text: helpText(program) };
    case "version":
      return { kind: "version", text: `culvert ${program.name} ${program.version}` };
    case "values":
      return { kind: "run", options: readValues(program, line.values, env) };
  }
}

/**
 * Reads the settings of a platform, where there is nothing but an environment.
 *
 * @throws {ConfigError} for a setting that has a wrong value, or is required and missing
 */
export function readSettings<const Table extends OptionTable>(
  table: Table,
  env: Environment,
): ReadOptions<Table> {
  return readEach(table, (option) => {
    const name = `Setting ${option.env}`;
    const given = findInEnvironment(option, env, name) ?? { origin: name, text: option.default };
    if (given.text === undefined && option.isRequired) {
      throw new ConfigError(`${name} is missing. ${plainText(option.description)}`);
    }
    return { ...given, value: readValue(option, given) };
  });
}

function readValues<Table extends OptionTable>(
  program: Program<Table>,
  commandLine: ReadonlyMap<string, string>,
  env: Environment,
): ReadOptions<Table> {
  return readEach(program.options, (option) => {
    const given = find(option, commandLine, env);
    const value = readValue(option, given);
    if (value === undefined && option.isRequired) throw missing(program, option);
    return { ...given, value };
  });
}

function readEach<Table extends OptionTable>(
  table: Table,
  read: (option: Option<unknown>) => Given & { readonly value: unknown },
): ReadOptions<Table> {
  const values: Record<string, unknown> = {};
  const origins: Record<string, string> = {};
  const warnings: string[] = [];
  for (const [field, option] of Object.entries(table)) {
    const { origin, value, warning } = read(option);
    values[field] = value;
    origins[field] = origin;
    if (warning !== undefined) warnings.push(`${origin} ${warning}`);
  }
  // The loop above went over each field of the table and its own option.
  return { values, origins, warnings } as unknown as ReadOptions<Table>;
}

interface Given {
  readonly origin: string;
  readonly text: string | undefined;
  /** Completes a sentence that begins with the origin. */
  readonly warning?: string;
}

function find(
  option: Option<unknown>,
  commandLine: ReadonlyMap<string, string>,
  env: Environment,
): Given {
  const text = commandLine.get(option.name);
  const origin = option.isArgument ? `Argument ${option.name}` : `Option --${option.name}`;
  if (text !== undefined) return { origin, text };
  return findInEnvironment(option, env, `Environment variable ${option.env}`) ??
    { origin: `Default of option --${option.name}`, text: defaultIn(option, env) };
}

function defaultIn(option: Option<unknown>, env: Environment): string | undefined {
  const { defaultOutsidePod } = option;
  return defaultOutsidePod !== undefined && !isInPod(env) ? defaultOutsidePod : option.default;
}

function findInEnvironment(
  option: Option<unknown>,
  env: Environment,
  origin: string,
): Given | undefined {
  const given = option.env === undefined ? undefined : variableOf(env, option.env);
  if (given === undefined) return undefined;
  const { text, ...warning } = cleanVariable(given);
  const isSet = text !== "" || option.whenEmpty !== undefined;
  return isSet ? { origin, text, ...warning } : undefined;
}

/** Undefined for what is not set. */
function readValue(option: Option<unknown>, { origin, text }: Given): unknown {
  const isNone = option.whenEmpty !== undefined || option.default === undefined;
  if (text === undefined || (text === "" && isNone)) return undefined;
  refuseQuotes(origin, text);
  const result = option.kind.schema.safeParse(text);
  if (result.success) return result.data;
  const expected = result.error.issues[0]?.message ?? "is invalid";
  const shown = option.isSecret ? undefined : shownValue(text);
  throw new ConfigError(`${origin} ${expected}${shown === undefined ? "" : `, but is ${shown}`}`);
}

function missing(program: Program, option: Option<unknown>): ConfigError {
  if (option.isArgument) {
    return new ConfigError(
      `Argument ${option.name} is required: ${usagesOf(program).join(", or ")}`,
    );
  }
  const usage = `--${option.name} ${placeholderOf(option)}`;
  const orVariable = option.env === undefined ? "" : ` or the environment variable ${option.env}`;
  return new ConfigError(`Option --${option.name} is required: give ${usage}${orVariable}`);
}

const MAX_SHOWN_CHARACTERS = 80;

/** Quotes a value for a message; undefined when it looks like something that must not be shown. */
function shownValue(text: string): string | undefined {
  const isPem = /[\n\r\0]|-----BEGIN/.test(text);
  const mayHavePassword = text.includes("@");
  if (isPem || mayHavePassword) return undefined;
  // The query of a URL is a common place for a credential.
  const isUrl = text.includes("://");
  const shown = isUrl ? text.replace(/\?.*/, "?…") : text;
  const isLong = shown.length > MAX_SHOWN_CHARACTERS;
  return JSON.stringify(isLong ? `${shown.slice(0, MAX_SHOWN_CHARACTERS)}…` : shown);
}
