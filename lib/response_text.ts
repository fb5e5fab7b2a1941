/** Answers of other servers as text, within a limit. */

/**
 * Reads an answer as text.
 *
 * @param what Whose answer it is, for the error.
 * @throws {Error} if it has more than `maxBytes`
 */
export async function textOf(
  response: Response,
  maxBytes: number,
  what = "the answer",
): Promise<string> {
  // Reading in chunks would hold 64 KiB for each answer until the next garbage collection.
  if (lengthOf(response) <= maxBytes) return await response.text();
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new Error(`${what} has more than ${maxBytes} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** NaN if unknown: the length of a compressed answer says nothing of its text's. */
function lengthOf({ headers }: Response): number {
  if (headers.has("content-encoding")) return NaN;
  return Number(headers.get("content-length") ?? NaN);
}
