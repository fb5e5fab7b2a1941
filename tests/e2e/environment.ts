/**
 * The Kubernetes cluster that the end-to-end tests run on, as environment variables name it.
 *
 * It has to offer:
 * - the ServiceAccount `agent` in the namespace `default`, bound to `cluster-admin`;
 * - the running pod `box` in `default`: a shell with busybox that prints `tick N` once a second, and
 *   an HTTP server on its 127.0.0.1:8765 that serves the pod's `/etc`;
 * - the image `docker.io/local/busybox:1` on its node, for pods that the tests start.
 */

/** What the tests need to know of the cluster; the values are what each variable holds. */
export const environmentVariables = {
  KUBECONFIG: "path of a kubeconfig with all rights, for looking at the cluster beside the tunnel",
  KUBE_API: "host:port of the API server",
  KUBE_CA: "path of the certificate of the authority that signed the API server's",
  KUBE_SA_TOKEN: 'path of a file with a token of the ServiceAccount "agent"',
} as const;

/** One of {@link environmentVariables}. */
export type EnvironmentVariable = keyof typeof environmentVariables;

/** The variables that are not set; while there are any, the tests cannot run. */
export const missingVariables: readonly string[] = Object.keys(environmentVariables)
  .filter((name) => !Deno.env.get(name));

/**
 * The value of a variable.
 *
 * @throws {Error} if it is not set
 */
export function fromEnvironment(name: EnvironmentVariable): string {
  const value = Deno.env.get(name);
  if (!value) throw new Error(`${name} is not set: ${environmentVariables[name]}`);
  return value;
}

/** Says which variables are missing, what each is for and how to get them. */
export function explainMissingVariables(): string {
  const lines = Object.entries(environmentVariables)
    .map(([name, meaning]) => `  ${name}: ${meaning}`);
  return [
    `End-to-end tests need a real Kubernetes cluster, and ${missingVariables.join(", ")} ` +
    "must be set:",
    ...lines,
    "`.ci/run` starts a cluster, sets them and runs these tests. Where its cluster script is at " +
    'hand: `kube up` and `eval "$(kube env)"`.',
  ].join("\n");
}

/**
 * A test that needs the cluster. Without one it is ignored, its name says why, and what fails is
 * `environment_test.ts`, once and with an explanation.
 */
export function clusterTest(name: string, body: (t: Deno.TestContext) => Promise<void>): void {
  const ignore = missingVariables.length > 0;
  const label = ignore ? `${name} [needs a cluster: see environment_test.ts]` : name;
  Deno.test({ name: label, ignore, fn: body });
}
