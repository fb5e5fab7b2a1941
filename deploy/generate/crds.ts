/** The CustomResourceDefinitions as a template of the chart `culvert-crds`. */
import { stringify } from "yaml";
import { crdOf, ownKinds } from "../../lib/operator/api/crds.ts";

const metadata = "metadata:\n";

/** Helm never upgrades what is in a chart's `crds/`, so that these are templates. */
export function crdsTemplate(): string {
  const documents = ownKinds.map((kind) => {
    const text = stringify(crdOf(kind), { lineWidth: 100, aliasDuplicateObjects: false });
    return text.replace(metadata, `${metadata}${annotations}`);
  });
  return `{{- /* Written by \`deno task generate\` from lib/operator/api/. */}}\n${
    documents.join("---\n")
  }`;
}

const annotations = `  {{- if .Values.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
`;
