/** The project's charts, rendered by the real helm and judged by the real API server. */
import { fileURLToPath } from "node:url";
import { type CommandResult, run } from "../e2e/command.ts";

/** A chart by its short name. */
export type ChartName = "relay" | "agent" | "operator";

/** Where a chart's folder is. */
export function chartFolder(chart: ChartName): string {
  return fileURLToPath(new URL(`../../deploy/helm/culvert-${chart}`, import.meta.url));
}

/** Rendered for this Kubernetes; helm without a cluster would assume one of years ago. */
const kubeVersion = "1.34.0";

/** `helm template` of a chart in namespace `culvert`, whatever comes of it. */
export async function render(chart: ChartName, args: readonly string[]): Promise<CommandResult> {
  const where = ["--namespace", "culvert", "--kube-version", kubeVersion];
  return await run("helm", ["template", `culvert-${chart}`, chartFolder(chart), ...where, ...args]);
}

/** A rendered object. */
export interface Manifest {
  readonly kind: string;
  readonly apiVersion: string;
  readonly text: string;
}

/** The objects of a chart, which must render. */
export async function manifests(chart: ChartName, args: readonly string[]): Promise<Manifest[]> {
  const { code, stdout, stderr } = await render(chart, args);
  if (code !== 0) throw new Error(`helm template culvert-${chart} ${args.join(" ")}:\n${stderr}`);
  return stdout.split(/^---$/m).flatMap((text) => {
    const kind = /^kind: (\w+)$/m.exec(text)?.[1];
    const apiVersion = /^apiVersion: (\S+)$/m.exec(text)?.[1];
    return kind === undefined || apiVersion === undefined ? [] : [{ kind, apiVersion, text }];
  });
}

/** The one object of this kind, as text. */
export function only(objects: readonly Manifest[], kind: string): string {
  const found = objects.filter((object) => object.kind === kind);
  if (found.length !== 1) throw new Error(`There are ${found.length} objects of kind ${kind}`);
  return found[0]!.text;
}
