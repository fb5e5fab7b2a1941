/** Ordinary requests: what kubectl reads and writes is what the API server has. */
import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { splitAddress } from "../support/raw_connection.ts";
import { clusterTest, fromEnvironment } from "./environment.ts";
import type { KubeClient } from "./kube_client.ts";
import { exchangeOver } from "./raw_request.ts";
import { deleteAtEnd, scratchFolder, scratchName } from "./scratch.ts";
import { tunnelTest, withTunnel } from "./tunnel.ts";

tunnelTest("kubectl get shows an object as the API server has it", async (tunnel) => {
  const args = ["get", "namespace", "kube-system", "-o", "json"];
  deepEqual(await tunnel.caller.json(args), await tunnel.direct.json(args));
  match(await tunnel.caller.output(["get", "pods"]), /^box\s+1\/1\s+Running/m);
});

tunnelTest(
  "kubectl get of what is not there ends with the API server's own error",
  async (tunnel) => {
    const result = await tunnel.caller.kubectl(["get", "pod", "absent"]);
    equal(result.stderr, 'Error from server (NotFound): pods "absent" not found\n');
    equal(result.code, 1);
  },
);

tunnelTest("kubectl get --raw answers odd paths as the API server does", async (tunnel) => {
  const paths = [
    "/version",
    "/version/?a=1&a=2&b",
    "/api/v1/namespaces/default/pods/box?pretty=1&x=%2F..%2F//",
    "/api/v1/namespaces//default",
    "/api/v1/../version",
    "/api/v1/namespaces/default/../../../../version",
    "/api/v1/namespaces/a%2Fb",
    "/api/v1/namespaces/%2e%2e",
    "/api/v1/namespaces/a%20b",
    "/api/v1/namespaces/default/configmaps/%C3%A4",
    "/api/v1/namespaces/default/configmaps/a%3Fb%23c%25d",
  ];
  for (const path of paths) {
    const seen = await tunnel.caller.kubectl(["get", "--raw", tunnel.rawPath(path)]);
    const wanted = await tunnel.direct.kubectl(["get", "--raw", path]);
    deepEqual(
      [path, seen.code, seen.stdout, seen.stderr],
      [path, wanted.code, wanted.stdout, wanted.stderr],
    );
  }
});

// kubectl decodes and encodes a path before it sends it; these are sent as they are written here.
tunnelTest("a path reaches the API server as the caller wrote it", async (tunnel) => {
  const token = (await Deno.readTextFile(fromEnvironment("KUBE_SA_TOKEN"))).trim();
  const caCerts = [await Deno.readTextFile(fromEnvironment("KUBE_CA"))];
  const [api, relay] = [fromEnvironment("KUBE_API"), tunnel.relay.internalAddress];
  const paths = [
    "/version",
    "//version",
    "/version/",
    "/version;a=1",
    "/%76ersion",
    "/api/v1/namespaces//default",
    "/api/v1/namespaces/default/",
    "/api/v1/namespaces/default%2F",
    "/api/v1/namespaces/./default",
    "/api/v1/namespaces/default/../../../../version",
    "/api/v1/namespaces/default/%2e%2e/kube-system",
    "/api/v1/namespaces/%2e%2e",
    "/api/v1/namespaces/%64efault",
    "/api/v1/namespaces/default/configmaps/a%2Fb",
    "/api/v1/namespaces/default/configmaps/a%3Fb%23c%25d",
    "/api/v1/namespaces/default?x=%zz&y=/../&&z",
  ];
  for (const path of paths) {
    const direct = await Deno.connectTls({ ...addressParts(api), caCerts });
    const wanted = await exchangeOver(direct, path, { authorization: `Bearer ${token}` });
    const through = await Deno.connect(addressParts(relay));
    const seen = await exchangeOver(through, tunnel.rawPath(path), {});
    deepEqual([path, seen.status, seen.body], [path, wanted.status, wanted.body]);
  }
});

function addressParts(address: string): { hostname: string; port: number } {
  const { host, port } = splitAddress(address);
  return { hostname: host, port };
}

tunnelTest("server-side apply works, and a second manager's apply conflicts", async (tunnel) => {
  await using stack = new AsyncDisposableStack();
  const name = scratchName();
  deleteAtEnd(stack, tunnel.direct, "configmap", name);
  const apply = (manager: string, colour: string, ...more: string[]) =>
    tunnel.caller.kubectl(
      ["apply", "--server-side", `--field-manager=${manager}`, ...more, "-f", "-"],
      { stdin: configMap(name, { colour }) },
    );

  const first = await apply("first", "green");
  equal(first.stdout, `configmap/${name} serverside-applied\n`, first.stderr);

  const second = await apply("second", "blue");
  equal(second.code, 1);
  match(second.stderr, /conflict with "first": \.data\.colour/);
  equal(await dataOf(tunnel.direct, name, "colour"), "green");

  const forced = await apply("second", "blue", "--force-conflicts");
  equal(forced.stdout, `configmap/${name} serverside-applied\n`, forced.stderr);
  equal(await dataOf(tunnel.direct, name, "colour"), "blue");
});

tunnelTest("an object of 900 kB arrives whole, and comes back so", async (tunnel) => {
  await using stack = new AsyncDisposableStack();
  const name = scratchName();
  deleteAtEnd(stack, tunnel.direct, "configmap", name);
  const folder = await scratchFolder(stack);
  const content = randomBytes(450_000).toString("hex");
  await Deno.writeTextFile(`${folder}/content`, content);
  await tunnel.caller.output(["create", "configmap", name, `--from-file=${folder}/content`]);
  equal(await dataOf(tunnel.direct, name, "content"), content);
  equal(await dataOf(tunnel.caller, name, "content"), content);
});

tunnelTest("kubectl get -w shows an object that is created later", async (tunnel) => {
  await using stack = new AsyncDisposableStack();
  const [label, early, late] = [scratchName(), scratchName(), scratchName()];
  for (const name of [early, late]) deleteAtEnd(stack, tunnel.direct, "configmap", name);
  await tunnel.direct.output(["create", "-f", "-"], { stdin: configMap(early, {}, label) });
  const watch = stack.use(
    tunnel.caller.start(["get", "configmaps", "-l", `e2e=${label}`, "-w", "-o", "name"]),
  );
  await watch.waitForLine((line) => line === `configmap/${early}`);
  equal(watch.lines.length, 1);

  await tunnel.direct.output(["create", "-f", "-"], { stdin: configMap(late, {}, label) });
  await watch.waitForLine((line) => line === `configmap/${late}`, 3_000);
});

tunnelTest("kubectl wait returns as soon as its condition holds", async (tunnel) => {
  await using stack = new AsyncDisposableStack();
  const name = scratchName();
  deleteAtEnd(stack, tunnel.direct, "configmap", name);
  await tunnel.direct.output(["create", "-f", "-"], { stdin: configMap(name, { state: "new" }) });
  const wait = stack.use(
    tunnel.caller.start(
      ["wait", `configmap/${name}`, "--for=jsonpath={.data.state}=ready", "--timeout=30s"],
    ),
  );
  const patch = JSON.stringify({ data: { state: "ready" } });
  await tunnel.direct.output(["patch", "configmap", name, "-p", patch]);
  equal(await wait.ended(), 0, wait.stderr);
});

tunnelTest("discovery lists the same resources as beside the tunnel", async (tunnel) => {
  for (const args of [["api-resources", "-o", "wide"], ["api-versions"]]) {
    const listed = await tunnel.caller.output(args);
    equal(listed, await tunnel.direct.output(args));
    notEqual(listed, "");
  }
});

tunnelTest(
  "/openapi/v2 and /openapi/v3 come whole, and kubectl explain uses them",
  async (tunnel) => {
    const index = await tunnel.direct.output(["get", "--raw", "/openapi/v3"]);
    const core = /"(\/openapi\/v3\/api\/v1\?hash=[^"]+)"/.exec(index)?.[1];
    if (core === undefined) throw new Error(`No document of the core API in ${index}`);
    for (const path of ["/openapi/v2", "/openapi/v3", core]) {
      const document = await tunnel.caller.output(["get", "--raw", tunnel.rawPath(path)]);
      equal(document, await tunnel.direct.output(["get", "--raw", path]), path);
    }
    const args = ["explain", "pod.spec.containers", "--recursive"];
    equal(await tunnel.caller.output(args), await tunnel.direct.output(args));
  },
);

clusterTest("an unknown cluster and an absent agent look the same", async () => {
  await withTunnel(async (tunnel) => {
    const unknown = await answerTo(`${tunnel.url}-unknown/version`);
    equal(unknown.status, 502);
    match(unknown.body, /cluster not available/);
    await tunnel.agent.stop();
    deepEqual(await answerTo(`${tunnel.url}/version`), unknown);
    const result = await tunnel.caller.kubectl(["get", "--raw", tunnel.rawPath("/version")]);
    equal(result.code, 1, result.stdout);
  });
});

async function answerTo(url: string): Promise<{ status: number; body: string }> {
  const response = await fetch(url);
  return { status: response.status, body: await response.text() };
}

async function dataOf(client: KubeClient, name: string, key: string): Promise<string> {
  return await client.output(["get", "configmap", name, "-o", `jsonpath={.data.${key}}`]);
}

function configMap(name: string, data: Record<string, string>, label = name): string {
  const metadata = { name, namespace: "default", labels: { e2e: label } };
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata, data });
}
