/** The results as text and as JSON. */
import type { GoalResult } from "./goals.ts";
import type { Machine } from "./machine.ts";
import type { Measurement, Metric, Plan } from "./measurement.ts";
import type { Results } from "./results.ts";
import type { RouteName } from "./route.ts";

/** A run that is over. */
export interface RunReport {
  readonly startedAt: string;
  readonly seconds: number;
  readonly machine: Machine;
  /** Cores that programs outside the run kept busy meanwhile, on average; undefined if unknown. */
  readonly otherCores: number | undefined;
  /** Target, generators and peers, each with its version. */
  readonly tools: Readonly<Record<string, string>>;
  /** What was asked for, in words. */
  readonly settings: readonly string[];
  readonly plan: Plan;
  readonly rounds: number;
  readonly routes: readonly RouteName[];
  readonly measurements: readonly Measurement[];
  readonly results: Results;
  readonly goals: readonly GoalResult[];
}

const LABEL_WIDTH = 40;
const VALUE_WIDTH = 10;
const RATIO_WIDTH = 10;

/** The table, followed by the goals. */
export function formatReport(report: RunReport): string {
  return [
    ...formatHeading(report),
    "",
    formatColumns(report.routes),
    ...report.measurements.flatMap((measurement) => formatMeasurement(measurement, report)),
    "",
    ...formatGoals(report.goals),
  ].join("\n");
}

/** From this on, what others do to the machine shows in the results. */
const DISTURBING_CORES = 0.1;

function formatHeading(report: RunReport): string[] {
  const { startedAt, seconds, machine, otherCores, tools, settings } = report;
  const { cpu, cores, memoryGb, system, deno, commit, loadBefore } = machine;
  return [
    `culvert bench · ${startedAt} · ${seconds} s · commit ${commit ?? "unknown"}`,
    `machine: ${cpu}, ${cores} cores, ${memoryGb} GB, ${system}, Deno ${deno}; ` +
    `load before ${loadBefore.toFixed(2)}`,
    ...otherCores === undefined ? [] : [formatOthers(otherCores)],
    ...Object.entries(tools).map(([name, description]) => `${name}: ${description}`),
    ...settings,
  ];
}

function formatOthers(cores: number): string {
  const verdict = cores < DISTURBING_CORES
    ? "too little to matter"
    : "TOO MUCH: these results are not to be trusted";
  return `other programs: ${cores.toFixed(2)} cores busy during the run, ${verdict}`;
}

/** What culvert's figures are divided by in the last columns. */
const COMPARED = ["rathole", "before", "direct"] as const;

function comparedOf(routes: readonly RouteName[]): RouteName[] {
  return COMPARED.filter((name) => routes.includes(name));
}

function formatColumns(routes: readonly RouteName[]): string {
  const values = routes.map((name) => name.padStart(VALUE_WIDTH)).join("");
  const ratios = comparedOf(routes).map((name) => `/${name}`.padStart(RATIO_WIDTH)).join("");
  return `${"".padEnd(LABEL_WIDTH)}${values}${ratios}`;
}

function formatMeasurement(measurement: Measurement, { results, routes }: RunReport): string[] {
  const failures = routes.flatMap((route) => {
    const [reason] = results.cell(measurement.id, route).failures;
    return reason === undefined ? [] : [`  ${route} failed: ${reason}`];
  });
  return [
    "",
    `${measurement.title}  [${measurement.id}]`,
    ...measurement.metrics.map((metric) => formatRow(measurement, metric, results, routes)),
    ...failures,
  ];
}

function formatRow(
  { id }: Measurement,
  { key, label, unit }: Metric,
  results: Results,
  routes: readonly RouteName[],
): string {
  const cells = routes.map((route) => {
    if (results.cell(id, route).failures.length > 0) return "failed";
    return formatNumber(results.value(id, route, key));
  });
  const ratios = comparedOf(routes).map((route) =>
    formatNumber(quotient(results.value(id, "culvert", key), results.value(id, route, key)))
  );
  return `  ${label}, ${unit}`.padEnd(LABEL_WIDTH) +
    cells.map((cell) => cell.padStart(VALUE_WIDTH)).join("") +
    ratios.map((cell) => cell.padStart(RATIO_WIDTH)).join("");
}

function quotient(dividend: number | undefined, divisor: number | undefined): number | undefined {
  if (dividend === undefined || divisor === undefined || divisor === 0) return undefined;
  return dividend / divisor;
}

/** Three significant digits, or all of them from 100 on; "–" for what does not apply. */
export function formatNumber(value: number | undefined): string {
  if (value === undefined) return "–";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toPrecision(3);
}

/** A measured value with its unit. */
const GOAL_WIDTH = 12;

function formatGoals(goals: readonly GoalResult[]): string[] {
  const width = Math.max(...goals.map(({ goal }) => goal.length)) + 2;
  const rows = goals.map(({ goal, measured, unit, isMet }) => {
    const value = measured === undefined ? "–" : `${formatNumber(measured)} ${unit}`;
    const verdict = isMet === undefined ? "not measured" : isMet ? "met" : "NOT MET";
    return `${goal.padEnd(width)}${value.padStart(GOAL_WIDTH)}  ${verdict}`;
  });
  return [`${"Goal".padEnd(width)}${"measured".padStart(GOAL_WIDTH)}`, ...rows];
}

/** The same as a value for `JSON.stringify`: medians, and every round. */
export function reportAsJson(report: RunReport): unknown {
  const { measurements, routes, results, goals, ...rest } = report;
  return {
    ...rest,
    goals: goals.map((goal) => ({
      ...goal,
      measured: goal.measured ?? null,
      isMet: goal.isMet ?? null,
    })),
    measurements: measurements.map((measurement) => ({
      id: measurement.id,
      title: measurement.title,
      metrics: measurement.metrics,
      routes: Object.fromEntries(
        routes.map((route) => [route, cellAsJson(measurement, route, results)]),
      ),
    })),
  };
}

function cellAsJson({ id, metrics }: Measurement, route: RouteName, results: Results): unknown {
  const median = Object.fromEntries(
    metrics.map(({ key }) => [key, results.value(id, route, key) ?? null]),
  );
  return { median, ...results.cell(id, route) };
}
