/** `relay kubeconfig --login`: what it prints, and what it refuses. */
import { deepEqual, equal, match } from "node:assert/strict";
import { Authority, withFolder } from "../support/certificates.ts";
import { fromYaml, printed, refusal } from "./run.ts";

interface Kubeconfig {
  readonly clusters: readonly { cluster: Record<string, string> }[];
  readonly users: readonly {
    user: { exec?: Record<string, unknown>; token?: string };
  }[];
}

async function printedBy(args: readonly string[]): Promise<Kubeconfig> {
  return fromYaml<Kubeconfig>(await printed(["kubeconfig", "dev", ...args]));
}

Deno.test("relay kubeconfig --login has kubectl ask access for a token, and holds none", async () => {
  const { clusters: [cluster], users: [user] } = await printedBy([
    ...["--server", "https://relay:8080", "--login", "login.example.com"],
  ]);
  equal(cluster!.cluster["server"], "https://relay:8080/tunnel/dev");
  const { installHint, ...exec } = user!.user.exec!;
  match(String(installHint), /access/);
  deepEqual(exec, {
    apiVersion: "client.authentication.k8s.io/v1",
    command: "access",
    args: ["kubectl-token", "login.example.com", "--cluster", "dev"],
    interactiveMode: "IfAvailable",
    provideClusterInfo: false,
  });
  equal(user!.user.token, undefined);
});

Deno.test("relay kubeconfig --service leads to the service's own hostname", async () => {
  await withFolder(async (folder) => {
    const { caPath } = await Authority.create(folder, "web");
    const { clusters: [cluster], users: [user] } = await printedBy([
      ...["--service", "kube.example.com:8443", "--ca", caPath],
      ...["--login", "https://kube.example.com:8443", "--login-ca", "/etc/ssl/web.crt"],
      ...["--login-command", "/opt/culvert/access"],
    ]);
    equal(cluster!.cluster["server"], "https://kube.example.com:8443");
    equal(user!.user.exec!["command"], "/opt/culvert/access");
    deepEqual(user!.user.exec!["args"], [
      ...["kubectl-token", "kube.example.com:8443", "--ca", "/etc/ssl/web.crt"],
    ]);
  });
});

const login = ["--login", "login.example.com"];

for (
  const [what, args, sentence] of [
    ["no address", login, /^Option --server is required/m],
    [
      "two addresses",
      ["--server", "https://relay", "--service", "kube.example.com"],
      /^Option --service can't go with --server$/m,
    ],
    [
      "a token of another host",
      ["--service", "kube.example.com", ...login],
      /^Option --login must be that of --service: its token is for that host$/m,
    ],
    [
      "a token besides",
      ["--server", "https://relay", ...login, "--token", "some-token-0123456789"],
      /^Option --token can't go with --login, which gets a token$/m,
    ],
    [
      "no TLS",
      ["--server", "http://127.0.0.1:8080", ...login],
      /^Option --server is http:\/\/, over which kubectl sends no token/m,
    ],
    [
      "a CA for nothing",
      ["--server", "https://relay", "--login-ca", "ca.crt"],
      /^Option --login-ca needs --login as well$/m,
    ],
  ] as const
) {
  Deno.test(`relay kubeconfig refuses ${what}`, async () => {
    match(await refusal(["kubeconfig", "dev", ...args]), sentence);
  });
}
