/** Answers about texts that are asked for again and again. */
import { setNewest } from "../../set_newest.ts";
import type { Digest } from "../digest.ts";

/**
 * Remembers the answers of a function, which must depend on the text alone, for the texts that were asked
 * about last.
 *
 * @param maxTexts How many: of each, its digest is kept.
 */
export function remembered<Answer>(
  answerOf: (text: string) => Answer,
  digest: Digest,
  maxTexts: number,
): (text: string) => Answer {
  const answers = new Map<string, { readonly answer: Answer }>();
  return (text) => {
    const key = digest(text);
    const known = answers.get(key) ?? { answer: answerOf(text) };
    setNewest(answers, key, known, maxTexts);
    return known.answer;
  };
}
