/** Helm: the chart in `chart/`, a ConfigMap and a pod, from install to uninstall. */
import { equal, match } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { scratchName } from "./scratch.ts";
import { tunnelTest } from "./tunnel.ts";

tunnelTest("helm installs, upgrades and uninstalls a chart", async (tunnel) => {
  const release = scratchName();
  const chart = fileURLToPath(new URL("chart", import.meta.url));
  const waiting = ["--wait", "--timeout", "50s"];
  const message = ["get", "configmap", release, "-o", "jsonpath={.data.message}"];
  const labelled = ["get", "pods,configmaps,secrets", "-o", "name", "-l"];
  const ofRelease = [...labelled, `app.kubernetes.io/instance=${release}`];
  await using stack = new AsyncDisposableStack();
  stack.defer(async () => {
    await tunnel.direct.helm(["uninstall", release, "--ignore-not-found", "--wait"]);
  });

  await tunnel.caller.helm(["install", release, chart, "--set", "message=first", ...waiting]);
  equal(await tunnel.direct.output(message), "first");
  const phase = ["get", "pod", release, "-o", "jsonpath={.status.phase}"];
  equal(await tunnel.direct.output(phase), "Running");

  await tunnel.caller.helm(["upgrade", release, chart, "--set", "message=second", ...waiting]);
  equal(await tunnel.direct.output(message), "second");
  match(await tunnel.caller.helm(["history", release]), /^2\s.*\bdeployed\b/m);

  await tunnel.caller.helm(["uninstall", release, ...waiting]);
  equal(await tunnel.direct.output(ofRelease), "");
  equal(await tunnel.caller.helm(["list", "--short", "--filter", `^${release}$`]), "");
});
