/**
 * Text of others on the relay's own pages: agents, their users and targets choose names, versions and
 * reasons. JSX escapes markup; this makes visible what changes how the text around it reads.
 */

/** What a page shows of one text, unless it is told another number. */
const usualUnits = 200;

/**
 * Controls, line ends, marks that turn the direction of writing, characters without width, and halves
 * of surrogate pairs; and blanks other than the space, by which names can look the same.
 */
const hidden = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

/** A text in which every character can be seen: `\u{202E}` stands for the mark of that number. */
export function visible(text: string, maxUnits = usualUnits): string {
  const cut = text.length > maxUnits ? `${text.slice(0, maxUnits)}…` : text;
  return cut.replace(hidden, escaped);
}

function escaped(character: string): string {
  return `\\u{${character.codePointAt(0)!.toString(16).toUpperCase()}}`;
}
