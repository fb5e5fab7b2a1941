/** Whose credentials the API server sees: never the caller's, always the agent's of this moment. */
import { deepEqual, equal, match } from "node:assert/strict";
import type { CommandResult } from "./command.ts";
import { clusterTest, fromEnvironment } from "./environment.ts";
import type { KubeClient } from "./kube_client.ts";
import { scratchFolder } from "./scratch.ts";
import { bogusTokenContext, type Tunnel, tunnelTest, withTunnel } from "./tunnel.ts";

const AGENT = "system:serviceaccount:default:agent";
const IMPERSONATION = ["--as=alice", "--as-group=tea", "--as-group=cake", "--as-uid=7"];

tunnelTest("a caller without credentials acts as the agent's ServiceAccount", async (tunnel) => {
  equal((await whoAmI(tunnel.caller)).username, AGENT);
});

tunnelTest("a caller's Authorization does not reach the API server", async (tunnel) => {
  const direct = await tunnel.direct.kubectl([
    ...["--kubeconfig", "/dev/null", "--token", "bogus"],
    ...["--server", `https://${fromEnvironment("KUBE_API")}`],
    ...["--certificate-authority", fromEnvironment("KUBE_CA"), "auth", "whoami"],
  ]);
  assertUnauthorized(direct);

  const response = await fetch(`${tunnel.url}/apis/authentication.k8s.io/v1/selfsubjectreviews`, {
    method: "POST",
    headers: { "authorization": "Bearer bogus", "content-type": "application/json" },
    body: JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" }),
  });
  const review = await response.json();
  equal(response.status, 201, JSON.stringify(review));
  equal(review.status.userInfo.username, AGENT);
});

// kubectl sends a token over TLS only, so this is also where it meets both listeners' TLS.
tunnelTest(
  "kubectl with a bogus token and a client certificate, over TLS, acts as the agent",
  async (tunnel) => {
    const context = `--context=${bogusTokenContext}`;
    const result = await tunnel.caller.kubectl([context, "-v=7", "auth", "whoami", "-o", "json"]);
    match(result.stderr, /Authorization: Bearer/, "kubectl did not send its token");
    equal(result.code, 0, result.stderr);
    equal(userOf(JSON.parse(result.stdout)).username, AGENT);
    const exec = await tunnel.caller.kubectl([context, "exec", "box", "--", "echo", "through"]);
    equal(exec.stdout, "through\n", exec.stderr);
  },
  { usesTls: true },
);

tunnelTest("kubectl --as is refused by default, and kubectl shows why", async (tunnel) => {
  equal((await whoAmI(tunnel.direct, IMPERSONATION)).username, "alice");
  const { stderr } = await tunnel.caller.kubectl(["get", "pods", ...IMPERSONATION]);
  match(stderr, /Error from server \(Forbidden\): the request has Impersonate-\* headers/);
});

tunnelTest(
  'kubectl --as is dropped where the cluster has "impersonation": "strip"',
  async (tunnel) => {
    equal((await whoAmI(tunnel.caller, IMPERSONATION)).username, AGENT);
  },
  { cluster: { impersonation: "strip" } },
);

tunnelTest(
  'kubectl --as acts as that user where the cluster has "impersonation": "forward"',
  async (tunnel) => {
    const user = await whoAmI(tunnel.caller, IMPERSONATION);
    deepEqual(user, {
      username: "alice",
      uid: "7",
      groups: ["tea", "cake", "system:authenticated"],
    });
    const denied = await tunnel.caller.kubectl(["get", "pods", "--as=alice"]);
    match(denied.stderr, /^Error from server \(Forbidden\): .*User "alice" cannot list/);
    equal((await whoAmI(tunnel.caller)).username, AGENT);
  },
  { cluster: { impersonation: "forward" } },
);

/** Puts a token where the agent reads it. */
interface TokenFile {
  readonly path: string;
  publish(token: string): Promise<void>;
  remove(): Promise<void>;
}

const tokenFileKinds = [
  { name: "rewritten in place", make: plainTokenFile },
  { name: "replaced as kubelet does", make: projectedTokenFile },
];

for (const { name, make } of tokenFileKinds) {
  clusterTest(`a token file that is ${name} is used at once`, async () => {
    await using stack = new AsyncDisposableStack();
    const good = await Deno.readTextFile(fromEnvironment("KUBE_SA_TOKEN"));
    const file = await make(await scratchFolder(stack), good);
    await withTunnel(async (tunnel) => {
      equal((await whoAmI(tunnel.caller)).username, AGENT);
      await file.publish("rubbish");
      equal(await statusOf(tunnel), 401);
      assertUnauthorized(await tunnel.caller.kubectl(["auth", "whoami"]));
      await file.publish(good);
      equal(await statusOf(tunnel), 200);
      equal((await whoAmI(tunnel.caller)).username, AGENT);
    }, { tokenPath: file.path });
  });
}

clusterTest(
  "while the token file is missing, requests end in 503 and not without credentials",
  async () => {
    await using stack = new AsyncDisposableStack();
    const good = await Deno.readTextFile(fromEnvironment("KUBE_SA_TOKEN"));
    const file = await plainTokenFile(await scratchFolder(stack), good);
    await withTunnel(async (tunnel) => {
      equal(await statusOf(tunnel), 200);
      await file.remove();
      // The API server answers /version to anybody: only the agent can refuse it.
      const response = await fetch(`${tunnel.url}/version`);
      const refusal = await response.json();
      equal(response.status, 503);
      deepEqual(Object.keys(refusal.error), ["code", "message"]);
      await file.publish(good);
      equal(await statusOf(tunnel), 200);
    }, { tokenPath: file.path });
  },
);

interface UserInfo {
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
}

async function whoAmI(client: KubeClient, args: readonly string[] = []): Promise<UserInfo> {
  return userOf(await client.json(["auth", "whoami", "-o", "json", ...args]));
}

function userOf(review: unknown): UserInfo {
  return (review as { status: { userInfo: UserInfo } }).status.userInfo;
}

function assertUnauthorized(result: CommandResult): void {
  match(result.stderr, /^error: You must be logged in to the server/m);
  equal(result.code, 1);
}

/** Status of a request that needs rights. */
async function statusOf(tunnel: Tunnel): Promise<number> {
  const response = await fetch(`${tunnel.url}/api/v1/namespaces/default`);
  await response.body?.cancel();
  return response.status;
}

async function plainTokenFile(folder: string, token: string): Promise<TokenFile> {
  const path = `${folder}/token`;
  await Deno.writeTextFile(path, token);
  return {
    path,
    publish: (next) => Deno.writeTextFile(path, next),
    remove: () => Deno.remove(path),
  };
}

/** A token as in a projected volume: `token` → `..data/token`, and `..data` is swapped by a rename. */
async function projectedTokenFile(folder: string, token: string): Promise<TokenFile> {
  const path = `${folder}/token`;
  let generation = 0;
  const publish = async (next: string) => {
    generation++;
    await Deno.mkdir(`${folder}/..${generation}`);
    await Deno.writeTextFile(`${folder}/..${generation}/token`, next);
    await Deno.symlink(`..${generation}`, `${folder}/..data_tmp`);
    await Deno.rename(`${folder}/..data_tmp`, `${folder}/..data`);
    if (generation > 1) await Deno.remove(`${folder}/..${generation - 1}`, { recursive: true });
  };
  await publish(token);
  await Deno.symlink("..data/token", path);
  return { path, publish, remove: () => Deno.remove(path) };
}
