/** Command lines that tests put together from what is usual and what is their own. */

/** Keeps the last of each option: programs take an option once. */
export function lastOfEach(args: readonly string[]): string[] {
  const options = optionsOf(args);
  return options.filter(({ name }, index) =>
    name === undefined || options.findLastIndex((other) => other.name === name) === index
  ).flatMap(({ words }) => words);
}

/** An option with its value, or a word that is none. */
interface Words {
  readonly name: string | undefined;
  readonly words: readonly string[];
}

function optionsOf(args: readonly string[]): Words[] {
  const options: Words[] = [];
  for (let index = 0; index < args.length; index++) {
    const word = args[index]!;
    const [, name, glued] = /^--?([a-z][\w-]*)(=)?/.exec(word) ?? [];
    const next = args[index + 1];
    const hasValue = name !== undefined && glued === undefined && next !== undefined &&
      !/^--?[a-z]/.test(next);
    options.push({ name, words: hasValue ? [word, next] : [word] });
    if (hasValue) index++;
  }
  return options;
}
