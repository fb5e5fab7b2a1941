/** The Grafana dashboard and the alert rules, held against the metrics of running programs. */
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { parse } from "yaml";
import { anchorsOf, readText } from "./markdown.ts";
import {
  checkExpression,
  type KnownMetrics,
  readMetrics,
  scrape,
  wrongLabels,
} from "./known_metrics.ts";
import { readExpression } from "./promql.ts";

const dashboardPath = "deploy/grafana/culvert.json";
const alertsPath = "deploy/prometheus/alerts.yaml";
const charts = ["relay", "agent"] as const;

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

interface Dashboard {
  readonly uid: string;
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly query: unknown }[];
  };
  readonly panels: readonly Panel[];
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<string, string>>;
}

interface RuleFile {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}

const dashboard: Dashboard = JSON.parse(readText(dashboardPath));
const graphs = dashboard.panels.filter(({ type }) => type !== "row");
const alerts: RuleFile = parse(readText(alertsPath), { version: "1.1", strict: true });
const rules = alerts.groups.flatMap((group) => group.rules);

Deno.test("what the dashboard and the alerts name is in the programs' metrics", async (t) => {
  const text = await scrape();
  const known = readMetrics(text);

  await t.step("the labels are those that observability.md has", () => {
    ok(text.includes('proxy_requests_total{cluster="dev"'), "there are series");
    deepEqual(wrongLabels(text), []);
  });

  await t.step("the dashboard's panels and their legends", () => {
    for (const { title, targets = [] } of graphs) {
      ok(targets.length > 0, title);
      for (const { expr, legendFormat } of targets) {
        const labels = checkExpression(known, expr.replaceAll("$__rate_interval", "5m"));
        checkTemplate(legendFormat, /\{\{\s*(\w+)\s*\}\}/g, labels, expr);
      }
    }
  });

  await t.step("the dashboard's variables", () => {
    for (const { name, query } of dashboard.templating.list) {
      const [, metric, label] = /label_values\((\w+), (\w+)\)/.exec(JSON.stringify(query)) ?? [];
      if (name !== "datasource") ok(known.get(metric!)?.has(label!), name);
    }
  });

  await t.step("the alerts and their texts", () => {
    for (const { expr, annotations } of rules) {
      const labels = checkExpression(known, expr);
      for (const value of Object.values(annotations)) {
        checkTemplate(value, /\$labels\.(\w+)/g, labels, expr);
      }
    }
  });

  await t.step("every metric of ours is on the dashboard", () => {
    const shown = new Set(
      graphs.flatMap(({ targets = [] }) => targets).flatMap(({ expr }) =>
        readExpression(expr).selectors.map(({ metric }) => metric)
      ),
    );
    const missing = [...ownMetrics(known)].filter((name) => !shown.has(name));
    deepEqual(missing, notShown);
  });
});

/** Metrics that say less than others that are shown. */
const notShown = [
  // By reason: culvert_session_ends_total.
  "tunnel_sessions_ended_total",
  // By limit: culvert_limit_hits_total.
  "proxy_rate_limited_total",
  // By code: agent_upstream_errors_by_code_total.
  "agent_upstream_errors_total",
  // How many of them: agent_connections.
  "agent_connected",
  // What is wrong with a reload: culvert_config_reloads_total.
  "culvert_config_last_reload_success_timestamp_seconds",
].sort();

/** Without prom-client's, and each histogram once. */
function ownMetrics(known: KnownMetrics): string[] {
  return [...known.keys()].filter((name) =>
    !/^(process|nodejs)_/.test(name) && !/_seconds_(sum|count)$/.test(name)
  ).sort();
}

function checkTemplate(
  text: string,
  names: RegExp,
  labels: ReadonlySet<string>,
  expression: string,
): void {
  const { selectors, grouping } = readExpression(expression);
  for (const [, name = ""] of text.matchAll(names)) {
    ok(labels.has(name), `${text}: no label ${name}`);
    // What is summed has the labels only that it is grouped by.
    const isSummed = /\b(sum|min|max|count) by/.test(expression);
    if (isSummed) ok(grouping.includes(name), `${text}: ${name} is summed away in ${expression}`);
  }
  ok(selectors.length > 0);
}

Deno.test("the check finds metrics and labels that are not there", () => {
  const known: KnownMetrics = new Map([["a_total", new Set(["code", "job"])]]);
  checkExpression(known, 'sum by (code) (rate(a_total{code=~"5.."}[5m])) / 2 > 0.5');
  throws(() => checkExpression(known, "rate(b_total[5m])"), /no metric b_total/);
  throws(() => checkExpression(known, 'a_total{status="5"}'), /a_total has no label status/);
  throws(() => checkExpression(known, "sum by (cluster) (a_total)"), /has the label cluster/);
});

Deno.test("the dashboard's panels say what they show, in which unit", () => {
  equal(dashboard.uid, "culvert");
  for (const { title, description = "", fieldConfig } of graphs) {
    ok(title.length > 2 && description.length > 2, title);
    ok(fieldConfig?.defaults.unit, `${title} has no unit`);
  }
  const ids = dashboard.panels.map(({ id }) => id);
  equal(new Set(ids).size, ids.length);
});

Deno.test("the dashboard's panels do not overlap", () => {
  const taken = new Map<string, string>();
  for (const { title, gridPos: { x, y, w, h } } of dashboard.panels) {
    ok(x >= 0 && x + w <= 24, title);
    for (let row = y; row < y + h; row++) {
      for (let column = x; column < x + w; column++) {
        const place = `${column},${row}`;
        equal(taken.get(place), undefined, `${title} is on ${taken.get(place)}`);
        taken.set(place, title);
      }
    }
  }
});

Deno.test("alerts: each has a time, a severity, texts and a part of observability.md", () => {
  const page = "docs/observability.md";
  const anchors = anchorsOf(page);
  for (const { alert, for: time, labels, annotations } of rules) {
    match(alert, /^Culvert[A-Z]\w+$/);
    match(time, /^\d+[mh]$/, alert);
    ok(["info", "warning", "critical"].includes(labels.severity), alert);
    ok(annotations["summary"] && annotations["description"], alert);
    equal(annotations["runbook"], `${page}#${alert.toLowerCase()}`);
    ok(anchors.has(alert.toLowerCase()), `${page} has no heading ${alert}`);
  }
  const names = rules.map(({ alert }) => alert);
  equal(new Set(names).size, names.length);
});

Deno.test("alerts: observability.md tells of no others", () => {
  const written = [...readText("docs/observability.md").matchAll(/^### (Culvert\w+)$/gm)]
    .map((found) => found[1]!);
  deepEqual(written, rules.map(({ alert }) => alert));
});

Deno.test("alerts: the charts have the same file, and take a group that it has", () => {
  const text = readText(alertsPath);
  for (const chart of charts) {
    equal(readText(`deploy/helm/culvert-${chart}/files/alerts.yaml`), text, `copy it: ${chart}`);
    const template = readText(`deploy/helm/culvert-${chart}/templates/monitoring.yaml`);
    ok(template.includes(`if eq .name "culvert-${chart}"`));
  }
  deepEqual(alerts.groups.map(({ name }) => name), charts.map((chart) => `culvert-${chart}`));
});
