/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // Why `fetch` failed is in the cause alone.
  const isBare = error.message === "fetch failed" && error.cause instanceof Error;
  return isBare ? (error.cause as Error).message : error.message;
}
