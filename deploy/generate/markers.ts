/** Generated blocks within files that people write. */

const comments = {
  markdown: { open: "<!-- ", close: " -->", gap: "\n\n" },
  yaml: { open: "# ", close: "", gap: "\n" },
};

/**
 * Puts text between `generated:NAME` and `/generated`, each in a comment on a line of its own.
 *
 * @throws {Error} for a block without an end, or of a name that nobody writes
 */
export function replaceBlocks(
  text: string,
  language: keyof typeof comments,
  blocks: Readonly<Record<string, string>>,
): string {
  const { open, close, gap } = comments[language];
  const end = `${open}/generated${close}`;
  const parts = text.split(`${open}generated:`);
  const [head = "", ...rest] = parts;
  return head + rest.map((part) => {
    const name = /^[\w-]*/.exec(part)![0];
    const block = blocks[name];
    const after = part.indexOf(end);
    if (block === undefined) throw new Error(`Nothing generates the block "${name}"`);
    if (after === -1) throw new Error(`The block "${name}" has no end: ${end}`);
    return `${open}generated:${name}${close}${gap}${block}${gap}${
      part.slice(after).replace(end, end)
    }`;
  }).join("");
}
