/** How to reach the API server: as a kubeconfig says, or as Kubernetes tells each pod. */
import { ConfigError } from "./config_error.ts";
import { isThere, readCertificateFile, readTextFile } from "./files.ts";
import { type KubeConnection, readKubeconfig } from "./kubeconfig.ts";
import { type Environment, variableOf } from "./options/environment.ts";
import { certificatesOnly } from "./pem.ts";

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Reads the kubeconfig that an option names, or what a pod has.
 *
 * @param path The option's value; undefined where there is none.
 * @param origin Names the option in messages.
 * @throws {ConfigError} for a kubeconfig that can't be used, and where there is nothing to connect with
 */
export function readKubeConnection(
  path: string | undefined,
  origin: string,
  env: Environment,
): KubeConnection {
  if (path !== undefined) return readKubeconfig(path, origin);
  const host = variableOf(env, "KUBERNETES_SERVICE_HOST");
  const port = variableOf(env, "KUBERNETES_SERVICE_PORT_HTTPS") ??
    variableOf(env, "KUBERNETES_SERVICE_PORT") ?? "443";
  if (!host || !isThere(`${serviceAccount}/token`)) {
    throw new ConfigError(
      "No API server: give --kubeconfig FILE, or run in a pod with a ServiceAccount token",
    );
  }
  const caPath = `${serviceAccount}/ca.crt`;
  const pod = "The pod's ServiceAccount";
  const namespace = readTextFile({ origin: pod, path: `${serviceAccount}/namespace` }).trim();
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    ca: { pem: certificatesOnly(readCertificateFile({ origin: pod, path: caPath })), path: caPath },
    token: { path: `${serviceAccount}/token` },
    namespace,
    isInCluster: true,
  };
}
