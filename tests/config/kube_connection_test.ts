import assert from "node:assert/strict";
import { readKubeConnection } from "../../lib/config/kube_connection.ts";
import { ConfigError } from "../../lib/config/config_error.ts";
import { CERTIFICATE_PEM } from "./support.ts";

const server = "https://10.0.0.1:6443";

async function withKubeconfig<T>(
  change: (config: Record<string, Record<string, unknown>>) => void,
  read: (path: string) => T,
): Promise<T> {
  const parts = { cluster: { server }, user: { token: "t0ken" }, context: {}, file: {} };
  change(parts);
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(
      path,
      JSON.stringify({
        clusters: [{ name: "c", cluster: parts.cluster }],
        users: [{ name: "u", user: parts.user }],
        contexts: [{ name: "x", context: { cluster: "c", user: "u", ...parts.context } }],
        "current-context": "x",
        ...parts.file,
      }),
    );
    return read(path);
  } finally {
    await Deno.remove(path);
  }
}

const origin = "Option --kubeconfig";

Deno.test("a kubeconfig tells server, credential and namespace", async () => {
  const connection = await withKubeconfig(
    ({ context }) => context!.namespace = "apps",
    (path) => readKubeConnection(path, origin, {}),
  );
  assert.deepEqual(connection, {
    server,
    token: { token: "t0ken" },
    namespace: "apps",
    isInCluster: false,
  });
});

Deno.test("keys that are null or empty are not there, as for kubectl", async () => {
  const connection = await withKubeconfig(
    ({ cluster, user, context, file }) => {
      cluster!["certificate-authority"] = "";
      cluster!["proxy-url"] = null;
      Object.assign(user!, { exec: null, username: "", tokenFile: "", "client-key-data": "" });
      context!.namespace = "";
      Object.assign(file!, { preferences: null });
    },
    (path) => readKubeConnection(path, origin, {}),
  );
  assert.deepEqual(connection, {
    ...{ server, token: { token: "t0ken" }, namespace: "default", isInCluster: false },
  });
});

const faults: Record<string, [(parts: Record<string, Record<string, unknown>>) => void, RegExp]> = {
  "a command that makes credentials": [({ user }) => user!.exec = { command: "x" }, /exec, which/],
  "a server without TLS": [({ cluster }) => cluster!.server = "http://10.0.0.1", /https:\/\/ URL/],
  "a server that is not verified": [
    ({ cluster }) => cluster!["insecure-skip-tls-verify"] = true,
    /insecure-skip-tls-verify is not supported/,
  ],
  "no current context": [({ file }) => file!["current-context"] = "", /no current-context/],
  "a context that is not there": [
    ({ file }) => file!["current-context"] = "y",
    /no context "y"/,
  ],
  "a certificate without its key": [
    ({ user }) => user!["client-certificate-data"] = btoa("x"),
    /go together/,
  ],
  "a key that is no key": [
    ({ user }) =>
      Object.assign(user!, {
        "client-certificate-data": btoa(CERTIFICATE_PEM),
        "client-key-data": btoa(CERTIFICATE_PEM),
      }),
    /client-key-data has text which holds no private key/,
  ],
  "another user to act as": [({ user }) => user!.as = "root", /user has as/],
  "lists that are null": [
    ({ file }) => Object.assign(file!, { clusters: null, users: null }),
    /no cluster "c"/,
  ],
  "a CA that is no certificate": [
    ({ cluster }) => cluster!["certificate-authority-data"] = btoa("x"),
    /certificate-authority-data has text which is not PEM/,
  ],
  "a CA that is not base64": [
    ({ cluster }) => cluster!["certificate-authority-data"] = "*",
    /certificate-authority-data is not base64/,
  ],
  "clusters that are no list": [({ file }) => file!.clusters = 7, /not a kubeconfig: clusters/],
};

for (const [name, [change, message]] of Object.entries(faults)) {
  Deno.test(`a kubeconfig with ${name} is refused in one line`, async () => {
    await withKubeconfig(change, (path) => {
      assert.throws(
        () => readKubeConnection(path, origin, {}),
        (error) =>
          error instanceof ConfigError && message.test(error.message) &&
          !error.message.includes("\n") && error.message.startsWith(origin) &&
          !error.message.includes("t0ken"),
      );
    });
  });
}

Deno.test("outside a pod and without a kubeconfig, the message says what is missing", () => {
  assert.throws(() => readKubeConnection(undefined, origin, {}), /give --kubeconfig FILE/);
});
