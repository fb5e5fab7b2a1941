/** What a program says of its options: a table of them, and what its help text tells besides. */
import type { z } from "zod";
import type { Kind } from "./kinds.ts";

/** One option. */
export interface Option<Value> {
  /** The option's name as on the command line, without dashes. */
  readonly name: string;
  /** The environment variable that gives the value when the command line does not, if one may. */
  readonly env?: string;
  /** Heading in the help text; options of one group stand together in the table. */
  readonly group: string;
  readonly kind: Kind<Value>;
  /**
   * What it is for, and what a reader must know to choose a value. Markdown with nothing but code in
   * backticks, which the help text leaves out.
   */
  readonly description: string;
  /** A page of docs/, and a heading of it, that tells more: `configuration.md#limits`. */
  readonly see?: string;
  /** How the program's Helm chart sets it; absent where the chart has a way of its own, or none. */
  readonly chart?: ChartValue;
  /** The relay at the edge has it as a setting of the platform, under the name `env`. */
  readonly isEdgeSetting?: true;
  /** Stands for the value in the help text; the kind's own word when left out. */
  readonly placeholder?: string;
  /** Text as a user would give it; read like any other. */
  readonly default?: string;
  /** The default where the program does not run in a pod, if it is another one there. */
  readonly defaultOutsidePod?: string;
  /** The program cannot run without it. */
  readonly isRequired?: true;
  /** Its value appears in no message. */
  readonly isSecret?: true;
  /** It may be given several times, each time with one or more values of a list. */
  readonly isRepeatable?: true;
  /** It stands on the command line without its name, which is in capitals: `CLUSTER`. */
  readonly isArgument?: true;
  /**
   * What an empty value means, where it is a choice of its own ("no health server"): the option is
   * undefined then. An empty environment variable of any other option counts as not set.
   */
  readonly whenEmpty?: string;
}

/** An option's default in words; undefined when it has none. */
export function defaultOf(option: Option<unknown>): string | undefined {
  return option.defaultOutsidePod === undefined
    ? option.default
    : `${option.default} in a pod, ${option.defaultOutsidePod} elsewhere`;
}

/** A value of a chart that becomes an option. */
export interface ChartValue {
  /** Its name in `values.yaml`. */
  readonly name: string;
  /** The chart's own default; without it, null, which leaves the program's. */
  readonly default?: string;
  /** What the chart asks of the value beyond what the program does; a sentence. */
  readonly note?: string;
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

/** The fields of a table, for those who take them out of its values. */
export function fieldsOf<Table extends OptionTable>(table: Table): (keyof Table)[] {
  return Object.keys(table);
}

/** Values as a program runs with them: without those that are not set. */
export type SetValues<Values> =
  & {
    readonly [Field in keyof Values as undefined extends Values[Field] ? never : Field]:
      Values[Field];
  }
  & {
    readonly [Field in keyof Values as undefined extends Values[Field] ? Field : never]?:
      Values[Field];
  };

/**
 * The values that are set and that a program takes as they are.
 *
 * @param others The fields that become a part of something else.
 */
export function plainValues<Values extends object, Other extends keyof Values>(
  values: Values,
  others: readonly Other[],
): SetValues<Omit<Values, Other>> {
  const kept = Object.entries(values).filter(([field, value]) =>
    value !== undefined && !others.includes(field as Other)
  );
  return Object.fromEntries(kept) as SetValues<Omit<Values, Other>>;
}

/** The part of a table that {@link Option.isEdgeSetting} marks. */
export type EdgeSettings<Table extends OptionTable> = {
  readonly [
    Field in keyof Table as Table[Field] extends { readonly isEdgeSetting: true } ? Field : never
  ]: Table[Field];
};

/** Picks what a relay at the edge has of a table. */
export function edgeSettingsOf<Table extends OptionTable>(table: Table): EdgeSettings<Table> {
  const kept = Object.entries(table).filter(([, { isEdgeSetting }]) => isEdgeSetting);
  return Object.fromEntries(kept) as EdgeSettings<Table>;
}

type IsAlwaysSet<Given> = Given extends { readonly whenEmpty: string } ? false
  : Given extends { readonly isRequired: true } | { readonly default: string } ? true
  : false;

/** A program as its help text presents it. */
export interface Program<Table extends OptionTable = OptionTable> {
  /** The word that starts it. */
  readonly name: string;
  readonly version: string;
  /** The required part of the command line; a line for each way to start the program. */
  readonly usage: string;
  /** Words that may stand behind the program's name, for something else than what it is for. */
  readonly commands?: readonly CommandTitle[];
  /** One paragraph: what the program does. */
  readonly summary: string;
  readonly options: Table;
  /** The Helm chart that runs it: a folder of `deploy/helm/`. */
  readonly chart?: string;
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

/** The ways to start a program, each with its name. */
export function usagesOf({ name, usage }: Pick<Program, "name" | "usage">): string[] {
  return usage.split("\n").map((way) => `${name} ${way}`);
}
