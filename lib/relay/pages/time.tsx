/** Points in time and durations, as the relay's own pages show them. */

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** A duration in its largest unit or two: `40 s`, `5 min`, `3 h`, `12 days`. */
export function duration(ms: number): string {
  const atLeast = Math.max(0, ms);
  if (atLeast < minuteMs) return `${Math.floor(atLeast / 1_000)} s`;
  if (atLeast < hourMs) return `${Math.floor(atLeast / minuteMs)} min`;
  if (atLeast < 2 * dayMs) return `${Math.floor(atLeast / hourMs)} h`;
  return `${Math.floor(atLeast / dayMs)} days`;
}

/** A point in time in UTC, with its date. */
export function utc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** A point in time, said by how far it is from now. */
export function When({ atMs, nowMs }: { readonly atMs: number; readonly nowMs: number }) {
  const text = atMs <= nowMs ? `${duration(nowMs - atMs)} ago` : `in ${duration(atMs - nowMs)}`;
  return <time datetime={new Date(atMs).toISOString()} title={utc(atMs)}>{text}</time>;
}
