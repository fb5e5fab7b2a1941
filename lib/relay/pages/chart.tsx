/** A line of measurements, as an inline drawing. */

const width = 160;
const height = 36;
const margin = 2;

/** What a chart shows. */
export interface ChartProps {
  /** The oldest first. */
  readonly values: readonly number[];
  /** Says what the line says, for those who do not see it. */
  readonly label: string;
}

/** A line over an area; nothing before there are two measurements. */
export function Chart({ values, label }: ChartProps) {
  if (values.length < 2) return null;
  const line = pointsOf(values).map(([x, y], index) => `${index === 0 ? "M" : "L"}${x} ${y}`)
    .join("");
  return (
    <svg class="chart" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img">
      <title>{label}</title>
      <path class="area" d={`${line}L${width} ${height}L0 ${height}Z`} />
      <path class="line" d={line} vector-effect="non-scaling-stroke" />
    </svg>
  );
}

function pointsOf(values: readonly number[]): [x: number, y: number][] {
  const max = Math.max(...values, 1);
  const step = width / (values.length - 1);
  return values.map((value, index) => [
    round(index * step),
    round(height - margin - Math.max(0, value) / max * (height - 2 * margin)),
  ]);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
