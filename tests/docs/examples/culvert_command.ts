/** Finds the command lines of culvert's programs among what examples start. */
import type { Invocation } from "./shell.ts";

/** culvert's programs. */
export type ProgramName = "relay" | "agent" | "access" | "operator";

const programNames: readonly string[] = [
  ...["relay", "agent", "access", "operator"] satisfies ProgramName[],
];

/** Whether a word starts one of culvert's programs. */
export function isProgramName(word: string): word is ProgramName {
  return programNames.includes(word);
}

/** A command line of a program, without what starts the program. */
export interface CulvertCommand extends Invocation {
  readonly program: ProgramName;
}

/** Reads `relay …`, `deno task relay …`, `npx deno@2 task relay …` and `docker run IMAGE …`. */
export function culvertCommand(invocation: Invocation): CulvertCommand | undefined {
  const { name, argv } = invocation;
  if (isProgramName(name)) return { ...invocation, program: name };
  const task = denoTask(invocation);
  if (task && isProgramName(task.name)) {
    return { ...invocation, program: task.name, argv: task.argv };
  }
  if (name !== "docker") return undefined;
  const [, program] = /\/culvert-(relay|agent|access|operator)[:@]/.exec(imageOf(argv) ?? "") ?? [];
  if (argv[0] !== "run" || program === undefined) return undefined;
  return {
    ...invocation,
    program: program as ProgramName,
    argv: argv.slice(argv.indexOf(imageOf(argv)!) + 1),
  };
}

/** The task of `deno task NAME …`, and what stands behind its name. */
export function denoTask(
  { name, argv }: Invocation,
): { readonly name: string; readonly argv: readonly string[] } | undefined {
  const words = name === "npx" && /^deno(?:@|$)/.test(argv[1] ?? "") ? argv.slice(2) : argv;
  if ((name !== "deno" && words === argv) || words[0] !== "task") return undefined;
  return { name: words[1] ?? "", argv: words.slice(2) };
}

function imageOf(argv: readonly string[]): string | undefined {
  return argv.find((word) => /\/culvert-(?:relay|agent|access|operator)[:@]/.test(word));
}
