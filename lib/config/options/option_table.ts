/** What a program says of its options: a table of them, and what its help text tells besides. */
import type { z } from "zod";
import type { Kind } from "./kinds.ts";

/** One option. */
export interface Option<Value> {
  /** As on the command line, without dashes. */
  readonly name: string;
  /** The environment variable that gives the value when the command line does not, if one may. */
  readonly env?: string;
  /** Heading in the help text; options of one group stand together in the table. */
  readonly group: string;
  readonly kind: Kind<Value>;
  /** One line: what it is for, and what a reader must know to choose a value. */
  readonly description: string;
  /** Stands for the value in the help text; the kind's own word when left out. */
  readonly placeholder?: string;
  /** Text as a user would give it; read like any other. */
  readonly default?: string;
  /** The program cannot run without it. */
  readonly isRequired?: true;
  /** Its value appears in no message. */
  readonly isSecret?: true;
  /** It stands on the command line without its name, which is in capitals: `CLUSTER`. */
  readonly isArgument?: true;
  /**
   * What an empty value means, where it is a choice of its own ("no health server"): the option is
   * undefined then. An empty environment variable of any other option counts as not set.
   */
  readonly whenEmpty?: string;
}

/** The word that stands for an option's value. */
export function placeholderOf(option: Option<unknown>): string {
  return option.placeholder ?? option.kind.placeholder;
}

/** The options of a program by the name of the field that each becomes. */
export type OptionTable = Readonly<Record<string, Option<unknown>>>;

/** What a table's options become. */
export type OptionValues<Table extends OptionTable> = {
  readonly [Field in keyof Table]:
    | z.output<Table[Field]["kind"]["schema"]>
    | (IsAlwaysSet<Table[Field]> extends true ? never : undefined);
};

type IsAlwaysSet<Given> = Given extends { readonly whenEmpty: string } ? false
  : Given extends { readonly isRequired: true } | { readonly default: string } ? true
  : false;

/** A program as its help text presents it. */
export interface Program<Table extends OptionTable = OptionTable> {
  /** The word that starts it. */
  readonly name: string;
  readonly version: string;
  /** The required part of the command line, for the usage line. */
  readonly usage: string;
  /** Words that may stand behind the program's name, for something else than what it is for. */
  readonly commands?: readonly CommandTitle[];
  /** One paragraph: what the program does. */
  readonly summary: string;
  readonly options: Table;
  /** Printed as they are: at most 98 columns. */
  readonly examples: readonly { readonly title: string; readonly command: string }[];
  readonly exitCodes: readonly { readonly code: number; readonly meaning: string }[];
}

/** A command as the help text of its program has it. */
export interface CommandTitle {
  /** The word that stands behind the program's. */
  readonly word: string;
  /** One line, in the imperative. */
  readonly title: string;
}

/** A command: a program of its own to those who read its help text. */
export type CommandProgram<Table extends OptionTable> = Program<Table> & CommandTitle;
