/** The parts of a Helm chart that pass its program's options on. */
import { plainText } from "../../lib/config/options/help.ts";
import type { JsonSchema } from "../../lib/config/options/kinds.ts";
import type { ChartValue, Option, OptionTable } from "../../lib/config/options/option_table.ts";

/** An option that the chart passes on as it is. */
type ChartOption = Option<unknown> & { readonly chart: ChartValue };

function chartOptions(table: OptionTable): ChartOption[] {
  return Object.values(table).filter((option): option is ChartOption => option.chart !== undefined);
}

/** The chart's schema with the properties of its options; the others stay as they are. */
export function chartSchema(before: string, table: OptionTable): string {
  const schema: { properties: Record<string, unknown> } = JSON.parse(before);
  for (const option of chartOptions(table)) {
    schema.properties[option.chart.name] = propertyOf(option);
  }
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

function propertyOf(option: ChartOption): unknown {
  const { description, type, enum: words, ...rules }: JsonSchema = option.kind.json ??
    { type: "string" };
  const texts = [plainText(option.description), ...description === undefined ? [] : [description]];
  const mayBeNull = option.chart.default === undefined;
  return {
    description: texts.join(". "),
    type: mayBeNull ? [type, "null"] : type,
    ...rules,
    ...words && { enum: mayBeNull ? [...words, null] : words },
  };
}

/** The options' part of `values.yaml`, with a comment each. */
export function chartValues(table: OptionTable): string {
  return chartOptions(table).flatMap((option) => {
    const { name, default: own, note } = option.chart;
    const ends = own === undefined ? [`Default: ${option.default ?? "none"}.`] : [];
    const text = [
      `${plainText(option.description)}.`,
      ...note === undefined ? [] : [note],
      ...ends,
    ];
    return [...comment(text.join(" ")), `${name}: ${own ?? "null"}`];
  }).join("\n");
}

/** As wide as `deno fmt` has code. */
const width = 100;

function comment(text: string): string[] {
  const lines: string[] = [];
  let line = "# --";
  for (const word of text.split(" ")) {
    if (line.length + 1 + word.length > width) {
      lines.push(line);
      line = "#";
    }
    line += ` ${word}`;
  }
  return [...lines, line];
}

/** The template that turns values into arguments. */
export function chartTemplate(chart: string, table: OptionTable): string {
  const rows = chartOptions(table).map(({ name, chart: { name: value } }) =>
    `  (list "${name}" .Values.${value})`
  );
  return `{{- /* Written by \`deno task generate\` from lib/config/tables/. */}}

{{- /* Arguments for values that are options as they are. A null leaves the program's default, and
extraArgs, which name an option themselves, win. */}}
{{- define "${chart}.options" -}}
{{- $extraArgs := .Values.extraArgs }}
{{- range list
${rows.join("\n")}
}}
{{- $option := index . 0 }}
{{- $value := index . 1 }}
{{- $isGiven := not (kindIs "invalid" $value) }}
{{- range $extraArgs }}
{{- if regexMatch (printf "^--?%s(=|$)" $option) . }}
{{- $isGiven = false }}
{{- end }}
{{- end }}
{{- if $isGiven }}
{{- $text := toString $value }}
{{- if kindIs "slice" $value }}
{{- $text = join "," $value }}
{{- else if and (kindIs "float64" $value) (eq (floor $value) (float64 $value)) }}
{{- /* Helm reads a large whole number as 1.048576e+06. */}}
{{- $text = printf "%.0f" (float64 $value) }}
{{- end }}
- {{ printf "--%s=%s" $option $text | quote }}
{{- end }}
{{- end }}
{{- end }}
`;
}
