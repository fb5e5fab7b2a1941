/** How long-running requests end: with the agent's death, and when the caller goes away. */
import { equal, match, notEqual } from "node:assert/strict";
import { eventually } from "../support/deadline.ts";
import type { KubeClient } from "./kube_client.ts";
import { transports } from "./transport.ts";
import { type Tunnel, tunnelTest } from "./tunnel.ts";

/** What a kubectl may take to end once its connection has broken. */
const ENDING_TIMEOUT_MS = 5_000;

/** "At once", with room for a busy machine and for looking at the API server's metrics. */
const ABANDON_TIMEOUT_MS = 3_000;

/** What kubectl says of an answer that broke off; which one is a matter of timing. */
const brokenOff = /unexpected EOF|connection reset by peer/;

const countTo20 = "i=0; while [ $i -lt 20 ]; do echo $i; i=$((i+1)); sleep 1; done";
const watchPath = "/api/v1/namespaces/default/configmaps?watch=1";

tunnelTest("a watch ends with an error when the agent is killed", async (tunnel) => {
  await endsWithTheAgent(tunnel, ["get", "--raw", tunnel.rawPath(watchPath)], brokenOff);
});

tunnelTest("kubectl logs -f ends with an error when the agent is killed", async (tunnel) => {
  await endsWithTheAgent(tunnel, ["logs", "-f", "box", "--tail=1"], brokenOff);
});

tunnelTest("kubectl exec ends with an error when the agent is killed", async (tunnel) => {
  await endsWithTheAgent(tunnel, ["exec", "box", "--", "sh", "-c", countTo20], /error/);
});

// kubectl get -w takes a broken watch for one that has run out: it ends without an error, always.
tunnelTest("kubectl get -w ends, and works again with another agent", async (tunnel) => {
  await using watch = tunnel.caller.start(["get", "configmaps", "-w"]);
  await watch.waitForLines(1);
  await tunnel.agent.kill();
  await watch.ended(ENDING_TIMEOUT_MS);

  await tunnel.startAgent();
  await using another = tunnel.caller.start(["get", "configmaps", "-w"]);
  await another.waitForLines(1);
});

async function endsWithTheAgent(tunnel: Tunnel, args: string[], error: RegExp): Promise<void> {
  await using command = tunnel.caller.start(args, transports[0]!.env);
  await command.waitForLines(1);
  await tunnel.agent.kill();
  notEqual(await command.ended(ENDING_TIMEOUT_MS), 0);
  match(command.stderr, error);
}

/** Requests that last, and how the API server's gauge of them names each. */
const abandonable = [
  {
    name: "a watch",
    args: ["get", "resourcequotas", "-w"],
    labels: ['verb="WATCH"', 'resource="resourcequotas"', 'scope="namespace"'],
  },
  {
    name: "kubectl logs -f",
    args: ["logs", "-f", "box", "--tail=1"],
    labels: ['verb="CONNECT"', 'resource="pods"', 'subresource="log"'],
  },
  {
    name: "kubectl attach",
    args: ["attach", "box"],
    labels: ['verb="CONNECT"', 'resource="pods"', 'subresource="attach"'],
  },
];

for (const { name, args, labels } of abandonable) {
  tunnelTest(`${name} that its caller abandons ends at the API server at once`, async (tunnel) => {
    const before = await longRunning(tunnel.direct, labels);
    await using command = tunnel.caller.start(args);
    const isThere = async () => await longRunning(tunnel.direct, labels) === before + 1;
    await eventually(isThere, `${name} to reach the API server`);

    await command.kill();
    const isGone = async () => await longRunning(tunnel.direct, labels) === before;
    await eventually(isGone, `${name} to end at the API server`, ABANDON_TIMEOUT_MS);
    equal(await tunnel.caller.output(["get", "--raw", tunnel.rawPath("/readyz")]), "ok");
  });
}

/** How many requests with these labels the API server is at work on. */
async function longRunning(direct: KubeClient, labels: readonly string[]): Promise<number> {
  const metrics = await direct.output(["get", "--raw", "/metrics"]);
  const counts = metrics.split("\n")
    .filter((line) => line.startsWith("apiserver_longrunning_requests{"))
    .filter((line) => labels.every((label) => line.includes(label)))
    .map((line) => Number(line.slice(line.lastIndexOf(" ") + 1)));
  return counts.reduce((sum, count) => sum + count, 0);
}
