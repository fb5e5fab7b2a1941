/** Everything that a cluster has, to see what somebody has left there. */
import type { KubeClient } from "../e2e/kube_client.ts";

/** Come and go by themselves. */
const passing = ["events", "events.events.k8s.io"];

/** All objects of a cluster: `KIND NAMESPACE/NAME`, sorted. */
export async function everythingIn(client: KubeClient): Promise<readonly string[]> {
  const resources = await client.output([
    "api-resources",
    "--verbs=list",
    "--no-headers",
    "-o",
    "name",
  ]);
  const kinds = resources.split("\n").filter((name) => name !== "" && !passing.includes(name));
  const format = '{range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{"\\n"}{end}';
  const text = await client.output(["get", kinds.join(","), "-A", "-o", `jsonpath=${format}`], {
    timeoutMs: 60_000,
  });
  return text.split("\n").filter((line) => line !== "").sort();
}
