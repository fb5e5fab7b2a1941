/**
 * Kinds that a bare API server does not know: those of operators that charts and examples are made
 * for. Their definitions come from the Go modules of those who define them.
 */
import type { KubeClient } from "../e2e/kube_client.ts";
import { eventually } from "../support/deadline.ts";
import { borrow } from "./borrowed.ts";
import { must } from "./tools.ts";

interface Source {
  /** A Go module at a version. */
  readonly module: string;
  /** Folder of the definitions in it. */
  readonly folder: string;
  readonly kinds: readonly string[];
  readonly group: string;
}

const sources: readonly Source[] = [{
  module: "github.com/prometheus-operator/prometheus-operator@v0.84.0",
  folder: "example/prometheus-operator-crd",
  group: "monitoring.coreos.com",
  kinds: ["servicemonitors", "prometheusrules"],
}, {
  module: "sigs.k8s.io/gateway-api@v1.5.0",
  folder: "config/crd/standard",
  group: "gateway.networking.k8s.io",
  kinds: ["gateways", "httproutes", "tlsroutes"],
}, {
  module: "github.com/cert-manager/cert-manager@v1.19.1",
  folder: "deploy/crds",
  group: "cert-manager.io",
  kinds: ["certificates", "certificaterequests", "clusterissuers", "issuers"],
}];

/** For a module to be downloaded. */
const downloadTimeoutMs = 120_000;

async function folderOf({ module, folder }: Source): Promise<string> {
  const options = { timeoutMs: downloadTimeoutMs };
  const answer = await must("go", ["mod", "download", "-json", module], options);
  return `${JSON.parse(answer).Dir}/${folder}`;
}

/** Makes the API server know these kinds until the end. */
export async function learnForeignKinds(
  stack: AsyncDisposableStack,
  client: KubeClient,
): Promise<void> {
  for (const source of sources) {
    const folder = await folderOf(source);
    for (const kind of source.kinds) {
      const name = `${kind}.${source.group}`;
      await borrow(stack, client, ["customresourcedefinition", name], async () => {
        const file = `${folder}/${source.group}_${kind}.yaml`;
        await client.output(["apply", "--server-side", "--force-conflicts", "-f", file]);
      });
    }
    // The server tells of new kinds a little later.
    const list = ["api-resources", "-o", "name", "--api-group", source.group];
    await eventually(async () => {
      const known = (await client.output(list)).split("\n");
      return source.kinds.every((kind) => known.includes(`${kind}.${source.group}`));
    }, `the API server to know the kinds of ${source.group}`);
  }
}
