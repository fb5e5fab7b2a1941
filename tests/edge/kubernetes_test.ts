/** kubectl through a relay at the edge, where there is a Kubernetes (see tests/e2e/environment.ts). */
import assert from "node:assert/strict";
import { loopbackFiles } from "../support/certificates.ts";
import { splitAddress } from "../support/raw_connection.ts";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { callerToken, homes, startEdgeTunnel } from "./homes.ts";

/** kubectl 1.31 and later begin with WebSocket; before that it has to be told. */
const overWebSocket = {
  KUBECTL_REMOTE_COMMAND_WEBSOCKETS: "true",
  KUBECTL_PORT_FORWARD_WEBSOCKETS: "true",
};

/**
 * TLS in front of a relay, as every platform has it: kubectl shows its token to nobody else.
 *
 * @returns where it listens
 */
async function startTls(folder: string, relay: string, stack: DisposableStack) {
  const { caPath, certPath, keyPath } = await loopbackFiles(folder);
  const listener = Deno.listenTls({
    hostname: "127.0.0.1",
    port: 0,
    cert: await Deno.readTextFile(certPath),
    key: await Deno.readTextFile(keyPath),
  });
  stack.defer(() => listener.close());
  const { host, port } = splitAddress(relay);
  (async () => {
    for await (const caller of listener) {
      const upstream = await Deno.connect({ hostname: host, port });
      // Either end may break off; what a caller sees of it the test asserts.
      const gone = () => {};
      caller.readable.pipeTo(upstream.writable).catch(gone);
      upstream.readable.pipeTo(caller.writable).catch(gone);
    }
  })();
  return { address: `127.0.0.1:${listener.addr.port}`, caPath };
}

for (const home of homes) {
  clusterTest(`${home.name}: kubectl get, exec and logs`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "culvert-edge-" });
    try {
      await using tunnel = await startEdgeTunnel(home, fromEnvironment("KUBE_API"), {
        usesTlsTarget: true,
        credential: await Deno.readTextFile(fromEnvironment("KUBE_SA_TOKEN")),
        args: ["-ca-cert", fromEnvironment("KUBE_CA")],
      });
      using stack = new DisposableStack();
      const tls = await startTls(folder, tunnel.relay.address, stack);
      const server = tunnel.url.replace(/^http:\/\/[^/]+/, `https://${tls.address}`);
      const kubeconfig = {
        apiVersion: "v1",
        kind: "Config",
        clusters: [{ name: "edge", cluster: { server, "certificate-authority": tls.caPath } }],
        users: [{ name: "caller", user: { token: callerToken } }],
        contexts: [{ name: "edge", context: { cluster: "edge", user: "caller" } }],
        "current-context": "edge",
      };
      await Deno.writeTextFile(`${folder}/kubeconfig`, JSON.stringify(kubeconfig));
      const caller = new KubeClient(`${folder}/kubeconfig`, folder);
      const pod = await caller.output(["get", "pod", "box", "-o", "name"]);
      assert.equal(pod.trim(), "pod/box");
      const exec = ["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3"];
      const result = await caller.kubectl(exec, { env: overWebSocket });
      assert.deepEqual([result.code, result.stdout], [3, "out\n"]);
      assert.match(result.stderr, /^err\n/);
      const stdin = await caller.output(["exec", "-i", "box", "--", "sh", "-c", "wc -c"], {
        env: overWebSocket,
        stdin: "x".repeat(200_000),
      });
      assert.equal(stdin.trim(), "200000");
      assert.match(await caller.output(["logs", "box", "--tail", "1"]), /^tick \d+/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
