/** What an API server that was away for a while may cost. */
import assert from "node:assert/strict";

/** For longer than a Lease lasts. */
export const frozenMs = 30_000;

/** How often an operator has listed each collection, by its metrics. */
export function listsIn(metrics: string): ReadonlyMap<string, number> {
  const series = metrics.matchAll(
    /^culvert_operator_kube_lists_total\{resource="(\w+)"\} (\d+)$/gm,
  );
  return new Map([...series].map(([, resource = "", count]) => [resource, Number(count)]));
}

/** At most one more list of each kind; the one that the cluster lacks is looked for. */
export function assertListedOnce(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): void {
  assert.ok(before.size > 2);
  for (const [resource, count] of after) {
    if (resource === "dnsendpoints") continue;
    const more = count - (before.get(resource) ?? 0);
    assert.ok(more <= 1, `${more} lists of ${resource}`);
  }
}
