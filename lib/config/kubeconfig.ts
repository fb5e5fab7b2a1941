/** Kubeconfig files: where an API server is, and as whom a program comes. */
import { z } from "zod";
import { ConfigError } from "./config_error.ts";
import { parseYaml } from "./entries/yaml_entries.ts";
import {
  joinPath,
  type NamedFile,
  readCertificateFile,
  readPrivateKeyFile,
  readTextFile,
} from "./files.ts";
import { certificatesOnly, PemError, privateKeyOnly } from "./pem.ts";

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

/** As kubectl has it, a key that is null or empty is one that is not there. */
const withoutEmpty = <Schema extends z.ZodType>(schema: Schema) =>
  z.preprocess((value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(
      Object.entries(value).filter(([, value]) => value !== null && value !== ""),
    );
  }, schema);

const named = <Key extends string, Schema extends z.ZodType>(key: Key, schema: Schema) =>
  z.array(
    z.looseObject(
      { name: z.string(), [key]: withoutEmpty(schema) } as
        & { name: z.ZodString }
        & Record<Key, z.ZodPreprocess<Schema>>,
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

const fileSchema = withoutEmpty(z.looseObject({
  clusters: named("cluster", clusterSchema),
  users: named("user", userSchema),
  contexts: named("context", contextSchema),
  "current-context": z.string().optional(),
}));

type Cluster = z.output<typeof clusterSchema>;
type User = z.output<typeof userSchema>;

/**
 * Reads a kubeconfig, and the files that it names by paths of its own folder.
 *
 * @param origin Names the option that has the path, in messages.
 * @throws {ConfigError} for one that can't be used
 */
export function readKubeconfig(path: string, origin: string): KubeConnection {
  const source = `${origin}: ${JSON.stringify(path)}`;
  const { contexts, clusters, users, "current-context": current } = readFile(path, origin, source);
  if (current === undefined) throw new ConfigError(`${source}: it has no current-context`);
  const { context } = entryOf(contexts, current, "context", source);
  const { cluster } = entryOf(clusters, context.cluster, "cluster", source);
  const { user } = entryOf(users, context.user, "user", source);
  refuseUnsupported(cluster, user, source);
  const files = new NamedFiles(source, path.includes("/") ? path.replace(/\/[^/]*$/, "") : ".");
  const ca = files.pem(cluster, "certificate-authority", certificates);
  return {
    server: serverOf(cluster, source),
    ...ca && { ca },
    ...clientCertificateOf(user, files, source),
    ...tokenOf(user, files),
    namespace: context.namespace ?? "default",
    isInCluster: false,
  };
}

function readFile(path: string, origin: string, source: string): z.output<typeof fileSchema> {
  const value = parseYaml(readTextFile({ origin, path }), source, "a kubeconfig");
  const { data, error } = fileSchema.safeParse(value);
  if (data) return data;
  const [issue] = error.issues;
  const place = issue?.path.length ? `${issue.path.join(".")}: ` : "";
  throw new ConfigError(`${source}: it is not a kubeconfig: ${place}${issue?.message}`);
}

function entryOf<Entry extends { readonly name: string }>(
  entries: readonly Entry[],
  name: string,
  what: string,
  source: string,
): Entry {
  const found = entries.find((entry) => entry.name === name);
  if (found) return found;
  throw new ConfigError(`${source}: it has no ${what} ${JSON.stringify(name)}`);
}

function serverOf({ server }: Cluster, source: string): string {
  const url = URL.parse(server);
  if (url?.protocol === "https:") return url.href.replace(/\/+$/, "");
  throw new ConfigError(`${source}: server must be an https:// URL`);
}

function clientCertificateOf(
  user: User,
  files: NamedFiles,
  source: string,
): Pick<KubeConnection, "cert" | "key"> {
  const hasCertificate = "client-certificate" in user || "client-certificate-data" in user;
  const hasKey = "client-key" in user || "client-key-data" in user;
  if (hasCertificate !== hasKey) {
    throw new ConfigError(
      `${source}: client-certificate and client-key go together; one is missing`,
    );
  }
  const cert = files.pem(user, "client-certificate", certificates);
  const key = files.pem(user, "client-key", privateKey);
  return cert && key ? { cert: cert.pem, key: key.pem } : {};
}

/** How PEM of a kind is read. */
interface PemKind {
  readonly readFile: (file: NamedFile) => string;
  /** What the kind needs of a PEM text. @throws {PemError} */
  readonly only: (text: string) => string;
}

const certificates: PemKind = { readFile: readCertificateFile, only: certificatesOnly };
const privateKey: PemKind = { readFile: readPrivateKeyFile, only: privateKeyOnly };

function tokenOf({ token, tokenFile }: User, files: NamedFiles): Pick<KubeConnection, "token"> {
  if (tokenFile !== undefined) return { token: { path: files.pathOf(tokenFile) } };
  return token === undefined ? {} : { token: { token } };
}

/** Files that a kubeconfig names, or has in itself. */
class NamedFiles {
  readonly #source: string;
  readonly #folder: string;

  constructor(source: string, folder: string) {
    this.#source = source;
    this.#folder = folder;
  }

  /** What `KEY-data` has, or the file that `KEY` names. */
  pem<Key extends string>(
    section: { readonly [key in Key | `${Key}-data`]?: string | undefined },
    key: Key,
    { readFile, only }: PemKind,
  ): PemFrom | undefined {
    const data = section[`${key}-data`];
    if (data !== undefined) return { pem: this.#embedded(data, `${key}-data`, only) };
    const file = section[key];
    if (file === undefined) return undefined;
    const path = this.pathOf(file);
    return { pem: only(readFile({ origin: `${this.#source}: ${key}`, path })), path };
  }

  pathOf(file: string): string {
    return file.startsWith("/") ? file : joinPath(this.#folder, file);
  }

  #embedded(base64: string, key: string, only: PemKind["only"]): string {
    const fault = (what: string) => new ConfigError(`${this.#source}: ${key} ${what}`);
    let text;
    try {
      text = atob(base64.trim());
    } catch {
      throw fault("is not base64");
    }
    try {
      return only(text);
    } catch (error) {
      if (error instanceof PemError) throw fault(`has text ${error.message}`);
      throw error;
    }
  }
}

/** What a kubeconfig can say that would change who this program is, or whom it trusts. */
function refuseUnsupported(
  cluster: Cluster,
  user: User,
  source: string,
): void {
  const fault = (what: string) => new ConfigError(`${source}: ${what}`);
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
