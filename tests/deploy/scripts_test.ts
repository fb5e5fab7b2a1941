/** The scripts that people run by hand: certificates by OpenSSL, and their copy to a customer. */
import { deepEqual, equal, match, notEqual } from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { fileURLToPath } from "node:url";
import { run } from "../e2e/command.ts";
import { clusterTest, fromEnvironment } from "../e2e/environment.ts";
import { KubeClient } from "../e2e/kube_client.ts";
import { deleteAtEnd, scratchFolder, scratchName } from "../e2e/scratch.ts";
import { must } from "./tools.ts";

function script(path: string): string {
  return fileURLToPath(new URL(`../../deploy/${path}`, import.meta.url));
}

const certificatesScript = script("openssl/certificates.sh");

Deno.test("certificates.sh makes certificates that are good for what they are for", async () => {
  await using stack = new AsyncDisposableStack();
  const folder = await scratchFolder(stack);
  const names = ["relay.example.com", "10.0.0.7", "fd00::7"];
  await must(certificatesScript, [folder, "customer-a", ...names]);
  const read = (name: string) =>
    new X509Certificate(Deno.readTextFileSync(`${folder}/${name}.crt`));
  const ca = read("ca");
  for (const name of ["relay", "agent-customer-a", "argocd"]) {
    equal(read(name).verify(ca.publicKey), true, name);
    equal(Deno.statSync(`${folder}/${name}.key`).mode! & 0o777, 0o600, "others can't read the key");
  }
  equal(read("relay").checkHost("relay.example.com"), "relay.example.com");
  equal(read("relay").checkIP("10.0.0.7"), "10.0.0.7");
  match(read("relay").subjectAltName ?? "", /IP Address:(?:fd00::7|FD00:0:0:0:0:0:0:7)/);
  equal(read("agent-customer-a").subject, "CN=customer-a");
  const isGoodFor = async (name: string, purpose: "sslclient" | "sslserver") => {
    const files = ["-CAfile", `${folder}/ca.crt`, `${folder}/${name}.crt`];
    return (await run("openssl", ["verify", "-purpose", purpose, ...files])).code === 0;
  };
  equal(await isGoodFor("agent-customer-a", "sslclient"), true);
  equal(await isGoodFor("agent-customer-a", "sslserver"), false);
  equal(await isGoodFor("argocd", "sslserver"), false);
  equal(await isGoodFor("relay", "sslserver"), true);
  equal(await isGoodFor("relay", "sslclient"), true, "relays show it to each other");

  await must(certificatesScript, [folder, "customer-b", ...names]);
  equal(read("ca").fingerprint256, ca.fingerprint256, "the CA stays");
  equal(read("agent-customer-b").verify(ca.publicKey), true);
});

Deno.test("certificates.sh without its arguments says what they are", async () => {
  const { code, stderr } = await run(certificatesScript, ["folder"]);
  equal(code, 2);
  match(stderr, /certificates\.sh FOLDER AGENT NAME/);
});

clusterTest("copy-to-customer.sh makes the agent's Secret from cert-manager's", async () => {
  await using stack = new AsyncDisposableStack();
  const folder = await scratchFolder(stack);
  const direct = new KubeClient(fromEnvironment("KUBECONFIG"), folder);
  const namespace = scratchName();
  deleteAtEnd(stack, direct, "namespace", namespace);
  await direct.output(["create", "namespace", namespace]);
  const data = (suffix: string) =>
    Object.fromEntries(["ca.crt", "tls.crt", "tls.key"].map((key) => [key, btoa(key + suffix)]));
  const put = async (suffix: string) => {
    const metadata = { name: "culvert-agent-customer-a-tls", namespace };
    const type = "kubernetes.io/tls";
    const secret = { apiVersion: "v1", kind: "Secret", type, metadata, data: data(suffix) };
    await direct.output(["apply", "-f", "-"], { stdin: JSON.stringify(secret) });
  };
  const copied = async () => {
    const get = ["-n", namespace, "get", "secret", "culvert-agent-tls", "-o", "jsonpath={.data}"];
    return JSON.parse(await direct.output(get));
  };
  // Both contexts lead to the same cluster here, and to the same namespace.
  const args = ["c", "c", "customer-a", namespace];
  const env = { KUBECONFIG: fromEnvironment("KUBECONFIG") };
  const early = await run(script("cert-manager/copy-to-customer.sh"), args, { env });
  notEqual(early.code, 0, "there is nothing to copy yet");

  for (const suffix of ["first", "renewed"]) {
    await put(suffix);
    await must(script("cert-manager/copy-to-customer.sh"), args, { env });
    deepEqual(await copied(), data(suffix));
  }
});
