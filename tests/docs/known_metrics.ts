/** The metrics that running programs have, with their labels. */
import { ok } from "node:assert/strict";
import { code, codes, table } from "./markdown.ts";
import { startAgent, startRelay } from "../support/programs.ts";
import { answering, startRawTarget } from "../support/target.ts";
import { readExpression } from "./promql.ts";

/** Labels by metric. Those of histograms are by the names of their series. */
export type KnownMetrics = ReadonlyMap<string, ReadonlySet<string>>;

/** What Prometheus adds to each series, in Kubernetes and elsewhere. */
const targetLabels = ["job", "instance", "namespace"];

/** The labels that the page says, by metric; {@link readMetrics} holds them against the programs. */
function documentedLabels(): Map<string, string[]> {
  const rows = table("docs/observability.md", ["metric", "type", "labels", "meaning"]);
  return new Map(rows.map((row) => [code(row["metric"]!), codes(row["labels"]!)]));
}

/** Scrapes a relay and an agent that have served a request and refused another. */
export async function scrape(): Promise<string> {
  const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  await using target = await startRawTarget(answering(answer));
  const clusters = [{ id: "dev", token: "eyes-room-token-0123", targetAddr: target.address }];
  await using relay = await startRelay({ clusters });
  await using agent = await startAgent({
    relayUrl: relay.connectUrl,
    token: clusters[0]!.token,
    target: target.address,
  });
  await relay.waitForAgent("dev");
  for (const cluster of ["dev", "none"]) {
    const response = await fetch(`${relay.tunnelUrl(cluster)}/`);
    await response.body?.cancel();
  }
  const wrong = await fetch(`http://${relay.publicAddress}/connect`);
  await wrong.body?.cancel();
  const texts = [relay.internalAddress, agent.healthAddress].map(async (address) => {
    const response = await fetch(`http://${address}/metrics`);
    return await response.text();
  });
  return (await Promise.all(texts)).join("\n");
}

/** Reads what was scraped, in Prometheus' text format. */
export function readMetrics(text: string): KnownMetrics {
  const documented = documentedLabels();
  const known = new Map<string, Set<string>>();
  for (const [, name = "", type] of text.matchAll(/^# TYPE (\w+) (\w+)$/gm)) {
    const endings = type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    for (const ending of endings) {
      const own = [...documented.get(name) ?? [], ...ending === "_bucket" ? ["le"] : []];
      known.set(name + ending, new Set([...own, ...targetLabels]));
    }
  }
  return known;
}

/** Series of the programs whose labels are not those that the page says. */
export function wrongLabels(text: string): string[] {
  const documented = documentedLabels();
  const wrong = new Set<string>();
  for (const [, name = "", labels = ""] of text.matchAll(/^(\w+)(?:\{(.*)\})? \S+$/gm)) {
    const written = documented.get(name) ??
      documented.get(name.replace(/_(bucket|sum|count)$/, ""));
    if (!written) continue;
    const real = [...labels.matchAll(/(\w+)="/g)].map((match) => match[1]!).filter((l) =>
      l !== "le"
    );
    if ([...real].sort().join() !== [...written].sort().join()) wrong.add(`${name}{${real}}`);
  }
  return [...wrong];
}

/** Checks that an expression names only metrics and labels that there are; returns all its labels. */
export function checkExpression(known: KnownMetrics, text: string): ReadonlySet<string> {
  const { selectors, grouping } = readExpression(text);
  ok(selectors.length > 0, text);
  const all = new Set<string>();
  for (const { metric, labels } of selectors) {
    const own = known.get(metric);
    ok(own, `There is no metric ${metric}: ${text}`);
    for (const label of labels) ok(own.has(label), `${metric} has no label ${label}: ${text}`);
    for (const label of own) all.add(label);
  }
  for (const label of grouping) ok(all.has(label), `No metric has the label ${label}: ${text}`);
  return all;
}
