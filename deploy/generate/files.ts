/** Which files have generated parts, and what writes them. */
import { edgeTable } from "../../lib/config/edge_options.ts";
import { commands, programs } from "../../lib/config/programs.ts";
import { chartSchema, chartTemplate, chartValues } from "./charts.ts";
import { crdsTemplate } from "./crds.ts";
import { commandTable, optionTable, settingTable } from "./docs.ts";
import { replaceBlocks } from "./markers.ts";

/** A file and how it gets its new text. */
export interface GeneratedFile {
  /** From the root of the repository. */
  readonly path: string;
  readonly write: (before: string) => string;
}

/** Pages that hold generated tables, wherever in them the markers stand. */
const pages = [
  "configuration.md",
  "commands.md",
  "runtimes.md",
  "tcp.md",
  "command-line.md",
  "operator-monitoring.md",
];

const argocdHealth = "deploy/helm/culvert-operator/files/argocd-cm.yaml";

/** @param read Reads a file of the repository. */
export function generatedFiles(read: (path: string) => string): GeneratedFile[] {
  const page = (name: string): string => read(`docs/${name}`);
  const blocks: Record<string, string> = { "edge-settings": settingTable(edgeTable, page) };
  blocks["argocd-health"] = `\`\`\`yaml\n${read(argocdHealth)}\`\`\``;
  for (const { name, options } of programs) {
    blocks[`${name}-options`] = optionTable(options, page);
  }
  for (const { name, options } of commands) {
    blocks[`${name.replaceAll(" ", "-")}-options`] = commandTable(options, page);
  }
  return [
    ...pages.map((name) => ({
      path: `docs/${name}`,
      write: (before: string) => replaceBlocks(before, "markdown", blocks),
    })),
    { path: "deploy/helm/culvert-crds/templates/crds.yaml", write: () => crdsTemplate() },
    ...programs.flatMap(({ chart, options }) => {
      if (chart === undefined) return [];
      const folder = `deploy/helm/${chart}`;
      return [
        {
          path: `${folder}/values.schema.json`,
          write: (before: string) => chartSchema(before, options),
        },
        {
          path: `${folder}/values.yaml`,
          write: (before: string) =>
            replaceBlocks(before, "yaml", { options: chartValues(options) }),
        },
        {
          path: `${folder}/templates/_options.tpl`,
          write: () => chartTemplate(chart, options),
        },
      ];
    }),
  ];
}
