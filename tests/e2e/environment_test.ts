import { equal, match, ok } from "node:assert/strict";
import {
  clusterTest,
  environmentVariables,
  explainMissingVariables,
  fromEnvironment,
  missingVariables,
} from "./environment.ts";
import { run } from "./command.ts";

Deno.test("the environment names a Kubernetes cluster", () => {
  equal(missingVariables.length, 0, explainMissingVariables());
});

clusterTest("the files that the environment names can be read", async () => {
  for (const name of ["KUBECONFIG", "KUBE_CA", "KUBE_SA_TOKEN"] as const) {
    const path = fromEnvironment(name);
    const text = await Deno.readTextFile(path);
    ok(text.trim() !== "", `${name} is ${path}, which is empty: ${environmentVariables[name]}`);
  }
});

clusterTest("kubectl and helm run, and pod box is ready", async () => {
  const helm = await run("helm", ["version", "--short"]);
  match(helm.stdout, /^v3\./);
  const readiness = '{.status.conditions[?(@.type=="Ready")].status}';
  const box = await run("kubectl", ["get", "pod", "box", "-o", `jsonpath=${readiness}`]);
  equal(box.stdout, "True", box.stderr);
});
