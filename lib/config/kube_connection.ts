/** How to reach the API server: what a kubeconfig says, or what Kubernetes gives each pod. */
import { z } from "zod";
import { ConfigError } from "./config_error.ts";
import { isThere, joinPath, readTextFile } from "./files.ts";
import { type Environment, variableOf } from "./options/environment.ts";
import { certificatesOnly, PemError, privateKeyOnly } from "./pem.ts";
import { parseYaml } from "./entries/yaml_entries.ts";

/** Where the API server is, and as whom this program comes. */
export interface KubeConnection {
  /** `https://HOST:PORT`, without a slash at the end. */
  readonly server: string;
  /** CA of its certificate; public CAs alone when there is none. */
  readonly ca?: PemFrom | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly token?: TokenFrom | undefined;
  /** The namespace of the pod, or of the context. */
  readonly namespace: string;
  readonly isInCluster: boolean;
}

/** PEM text, and the file that it can be read from again. */
export interface PemFrom {
  readonly pem: string;
  readonly path?: string | undefined;
}

/** A token, or the file that holds the one that is valid now. */
export type TokenFrom = { readonly token: string } | { readonly path: string };

const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

const named = <Key extends string, Schema extends z.ZodType>(key: Key, schema: Schema) =>
  z.array(
    z.looseObject(
      { name: z.string(), [key]: schema } as { name: z.ZodString } & Record<Key, Schema>,
    ),
  )
    .default([]);

const clusterSchema = z.looseObject({
  server: z.string(),
  "certificate-authority": z.string().optional(),
  "certificate-authority-data": z.string().optional(),
  "insecure-skip-tls-verify": z.boolean().optional(),
  "tls-server-name": z.string().optional(),
  "proxy-url": z.string().optional(),
});

const userSchema = z.looseObject({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  "client-certificate": z.string().optional(),
  "client-certificate-data": z.string().optional(),
  "client-key": z.string().optional(),
  "client-key-data": z.string().optional(),
  exec: z.unknown().optional(),
  "auth-provider": z.unknown().optional(),
  username: z.string().optional(),
  as: z.string().optional(),
});

const contextSchema = z.looseObject({
  cluster: z.string(),
  user: z.string(),
  namespace: z.string().optional(),
});

const fileSchema = z.looseObject({
  clusters: named("cluster", clusterSchema),
  users: named("user", userSchema),
  contexts: named("context", contextSchema),
  "current-context": z.string().default(""),
});

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
  if (path !== undefined) return fromKubeconfig(path, origin);
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
    ca: { pem: readTextFile({ origin: pod, path: caPath }), path: caPath },
    token: { path: `${serviceAccount}/token` },
    namespace,
    isInCluster: true,
  };
}

function fromKubeconfig(path: string, origin: string): KubeConnection {
  const source = `${origin}: ${JSON.stringify(path)}`;
  const fault = (what: string) => new ConfigError(`${source}: ${what}`);
  const value = parseYaml(readTextFile({ origin, path }), source, "a kubeconfig");
  const result = fileSchema.safeParse(value);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw fault(`it is not a kubeconfig: ${issue?.path.join(".")}: ${issue?.message}`);
  }
  const file = result.data;
  const context = entry(file.contexts, file["current-context"], "context");
  const cluster = entry(file.clusters, context.context.cluster, "cluster").cluster;
  const user = entry(file.users, context.context.user, "user").user;
  refuseUnsupported(cluster, user, fault);
  const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ".";
  const pem = (
    data: string | undefined,
    file: string | undefined,
    key: string,
  ): PemFrom | undefined => {
    if (data !== undefined) return { pem: decoded(data, key) };
    if (file === undefined) return undefined;
    const at = file.startsWith("/") ? file : joinPath(folder, file);
    return { pem: readTextFile({ origin: `${source}: ${key}`, path: at }), path: at };
  };
  const ca = pem(
    cluster["certificate-authority-data"],
    cluster["certificate-authority"],
    "certificate-authority",
  );
  const cert = pem(
    user["client-certificate-data"],
    user["client-certificate"],
    "client-certificate",
  );
  const key = pem(user["client-key-data"], user["client-key"], "client-key");
  if ((cert === undefined) !== (key === undefined)) {
    throw fault("client-certificate and client-key go together; one is missing");
  }
  return {
    server: serverOf(cluster.server),
    ...ca && { ca },
    ...cert && key && {
      cert: checked(() => certificatesOnly(cert.pem), "client-certificate"),
      key: checked(() => privateKeyOnly(key.pem), "client-key"),
    },
    ...tokenOf(),
    namespace: context.context.namespace ?? "default",
    isInCluster: false,
  };

  function entry<Entry extends { readonly name: string }>(
    entries: readonly Entry[],
    name: string,
    what: string,
  ): Entry {
    const found = entries.find((entry) => entry.name === name);
    if (found) return found;
    throw fault(
      name === "" ? "it has no current-context" : `it has no ${what} ${JSON.stringify(name)}`,
    );
  }

  function decoded(data: string, key: string): string {
    try {
      return atob(data.trim());
    } catch {
      throw fault(`${key}-data is not base64`);
    }
  }

  function checked(read: () => string, key: string): string {
    try {
      return read();
    } catch (error) {
      if (error instanceof PemError) throw fault(`${key} names a file ${error.message}`);
      throw error;
    }
  }

  function serverOf(text: string): string {
    const url = URL.parse(text);
    if (!url || url.protocol !== "https:") throw fault("server must be an https:// URL");
    return url.href.replace(/\/+$/, "");
  }

  function tokenOf(): { token?: TokenFrom } {
    if (user.tokenFile !== undefined) {
      const at = user.tokenFile.startsWith("/") ? user.tokenFile : joinPath(folder, user.tokenFile);
      return { token: { path: at } };
    }
    return user.token === undefined ? {} : { token: { token: user.token } };
  }
}

/** What a kubeconfig can say that would change who this program is, or whom it trusts. */
function refuseUnsupported(
  cluster: z.output<typeof clusterSchema>,
  user: z.output<typeof userSchema>,
  fault: (what: string) => ConfigError,
): void {
  const instead = "use a token, tokenFile or client certificate";
  if (user.exec !== undefined) throw fault(`user has exec, which is not supported; ${instead}`);
  if (user["auth-provider"] !== undefined) {
    throw fault(`user has auth-provider, which is not supported; ${instead}`);
  }
  if (user.username !== undefined) throw fault(`user has username; ${instead}`);
  if (user.as !== undefined) throw fault("user has as, which is not supported; leave it out");
  if (cluster["insecure-skip-tls-verify"]) {
    throw fault("insecure-skip-tls-verify is not supported; give certificate-authority");
  }
  for (const key of ["tls-server-name", "proxy-url"] as const) {
    if (cluster[key] !== undefined) throw fault(`${key} is not supported; leave it out`);
  }
}
