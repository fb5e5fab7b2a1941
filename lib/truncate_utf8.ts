/** Texts within a number of bytes. */

/** The longest beginning of a text that has at most `maxBytes` bytes in UTF-8; no character is cut. */
export function truncateUtf8(text: string, maxBytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(maxBytes));
  return text.slice(0, read);
}
