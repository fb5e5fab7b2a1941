/** How a client outside this project reaches a cluster through the relay: its address and secrets. */
import { z } from "zod";
import { tokenFault } from "../../domain/token.ts";
import { clusterIdSchema } from "../entries/clusters.ts";
import { bareToken, TOKEN_EXPECTED, TOKEN_PATTERN } from "../entries/token_schemas.ts";
import { ConfigError } from "../config_error.ts";
import {
  readCertificateFile,
  readPrivateKeyFile,
  readStandardInput,
  readTextFile,
} from "../files.ts";
import { certificatesOnly, privateKeyOnly } from "../pem.ts";
import { hostName, type Kind, parsedBy, path } from "../options/kinds.ts";
import type { OptionTable } from "../options/option_table.ts";
import type { ReadOptions } from "../options/options.ts";

/** A cluster's address at the relay, and what a client shows there. */
export interface Access {
  /** The cluster's id. */
  readonly cluster: string;
  /** `https://RELAY/tunnel/{id}`, without a slash at its end. */
  readonly url: string;
  /** Undefined where `url` is `http://`. */
  readonly tls?: AccessTls | undefined;
  /** A caller's token. A secret. */
  readonly token?: string | undefined;
  /** How a person signs in for a token. */
  readonly login?: AccessLogin | undefined;
}

/** The credential plugin of kubectl, and what it is to be given. */
export interface AccessLogin {
  readonly command: string;
  readonly args: readonly string[];
}

/** How a client verifies the relay, and its own certificate; PEM as it was read. */
export interface AccessTls {
  /** Undefined trusts the client's own CAs. */
  readonly ca?: PemText | undefined;
  /** Both or none. */
  readonly pair?: { readonly cert: PemText; readonly key: PemText } | undefined;
  /** What the relay's certificate must hold, if it is not the URL's host. */
  readonly serverName?: string | undefined;
}

/** What a file holds of certificates, or of a key, and nothing else of it. */
export interface PemText {
  /** The option that named it, without dashes. */
  readonly option: string;
  readonly path: string;
  readonly pem: string;
}

const SERVER_EXPECTED =
  "must be the URL of the relay's internal listener, http://HOST[:PORT] or https://HOST[:PORT], " +
  "without /tunnel/ behind it";

/** Names in a kubeconfig and in Argo CD's list: free text of one line. */
const NAME_PATTERN = /^[^\s\p{C}](?:[^\p{C}]{0,251}[^\s\p{C}])?$/u;

/** A cluster's id, as the clusters file has it. */
export const clusterId: Kind<string> = { placeholder: "ID", schema: clusterIdSchema };

/** A name of a kubeconfig's entries, or of a cluster in Argo CD. */
export const displayName: Kind<string> = {
  placeholder: "NAME",
  schema: parsedBy(
    (text) => NAME_PATTERN.test(text) ? text : undefined,
    "must be 1 to 253 characters in one line, with no space at either end",
  ),
};

/** A namespace of Kubernetes: an RFC 1123 label. */
export const namespaceName: Kind<string> = {
  placeholder: "NAMESPACE",
  schema: parsedBy(
    (text) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text) ? text : undefined,
    'must be 1 to 63 lower-case letters, digits or "-", and begin and end with a letter or digit',
  ),
};

const server: Kind<string> = {
  placeholder: "URL",
  schema: parsedBy(parseServer, SERVER_EXPECTED),
};

const token: Kind<string> = {
  placeholder: "TOKEN",
  schema: bareToken.pipe(z.string().regex(TOKEN_PATTERN, TOKEN_EXPECTED)),
};

/** The options of every command that prints how to reach a cluster. */
export const accessTable = {
  cluster: {
    name: "CLUSTER",
    group: "Arguments",
    kind: clusterId,
    isArgument: true,
    isRequired: true,
    description: "The cluster's id, as in the relay's clusters file",
  },
  server: {
    name: "server",
    group: "Relay",
    kind: server,
    isRequired: true,
    description:
      "URL of the relay's internal listener as the client reaches it; `/tunnel/CLUSTER` " +
      "is added",
  },
  ca: {
    name: "ca",
    group: "Relay",
    kind: path,
    description: "CA certificates in PEM for the relay's certificate; without it, the client's " +
      "own list of CAs",
  },
  tlsServerName: {
    name: "tls-server-name",
    group: "Relay",
    kind: hostName,
    description:
      "Name that the relay's certificate must hold, if it differs from the host in `--server`, as through a port-forward",
  },
  clientCert: {
    name: "client-cert",
    group: "Caller",
    kind: path,
    description: "Certificate chain in PEM that the client shows to a relay with " +
      "`--tls-client-ca`; needs `--client-key`",
  },
  clientKey: {
    name: "client-key",
    group: "Caller",
    kind: path,
    description: "Its private key in PEM, without a passphrase; needs `--client-cert`",
  },
  token: {
    name: "token",
    group: "Caller",
    kind: token,
    isSecret: true,
    description:
      "A token of the relay's `--caller-tokens`, or a JWT; other users of the machine can see it, so prefer `--token-file`",
  },
  tokenFile: {
    name: "token-file",
    group: "Caller",
    kind: path,
    placeholder: "FILE|-",
    description: "File that holds the token, or - for standard input",
  },
} as const satisfies OptionTable;

/**
 * Reads the files that the options name, and checks that the options go together.
 *
 * @throws {ConfigError} for half of a key pair, two tokens, a file that can't be read, and what has
 * no use over `http://`
 */
export function readAccess(read: ReadOptions<typeof accessTable>): Access {
  const { server, cluster } = read.values;
  return accessAt(read, `${server}/tunnel/${cluster}`);
}

/** The options of {@link readAccess} without the relay's address. */
export type AccessRead = {
  readonly values: Omit<ReadOptions<typeof accessTable>["values"], "server">;
  readonly origins: Omit<ReadOptions<typeof accessTable>["origins"], "server">;
};

/** The same at another URL than that of the internal listener. @throws {ConfigError} as above */
export function accessAt(read: AccessRead, url: string): Access {
  const { values } = read;
  const callerToken = readToken(read);
  const given = callerToken === undefined ? {} : { token: callerToken };
  if (url.startsWith("https:")) {
    return { cluster: values.cluster, url, tls: readTls(read), ...given };
  }
  for (const field of ["ca", "tlsServerName", "clientCert", "clientKey"] as const) {
    if (values[field] !== undefined) {
      throw new ConfigError(`${read.origins[field]} needs an https:// URL as --server`);
    }
  }
  return { cluster: values.cluster, url, ...given };
}

function readTls({ values, origins }: AccessRead): AccessTls {
  const { ca, clientCert, clientKey, tlsServerName: serverName } = values;
  if ((clientCert === undefined) !== (clientKey === undefined)) {
    const [given, missing] = clientCert === undefined
      ? [origins.clientKey, "--client-cert"]
      : [origins.clientCert, "--client-key"];
    throw new ConfigError(`${given} needs ${missing} as well`);
  }
  const certificate = (option: "ca" | "client-cert", origin: string, file: string): PemText => ({
    option,
    path: file,
    pem: certificatesOnly(readCertificateFile({ origin, path: file })),
  });
  const pair = clientCert === undefined || clientKey === undefined ? undefined : {
    cert: certificate("client-cert", origins.clientCert, clientCert),
    key: {
      option: "client-key",
      path: clientKey,
      pem: privateKeyOnly(readPrivateKeyFile({ origin: origins.clientKey, path: clientKey })),
    },
  };
  return {
    ...(ca !== undefined && { ca: certificate("ca", origins.ca, ca) }),
    ...(pair && { pair }),
    ...(serverName !== undefined && { serverName }),
  };
}

function readToken({ values, origins }: AccessRead): string | undefined {
  const { token: text, tokenFile: file } = values;
  if (file === undefined) return text;
  if (text !== undefined) {
    throw new ConfigError(`${origins.tokenFile} can't go with --token; give one of them`);
  }
  const origin = origins.tokenFile;
  return checkedToken(
    file === "-" ? readStandardInput(origin) : readTextFile({ origin, path: file }),
    origin,
  );
}

/**
 * Takes a token from a text that may end in a line break, as a file does.
 *
 * @throws {ConfigError} for what can't be a token; the message doesn't hold it
 */
export function checkedToken(text: string, origin: string): string {
  const found = text.replace(/[\r\n]+$/, "");
  const fault = tokenFault(found);
  if (fault !== undefined) throw new ConfigError(`${origin}: what was read ${fault}`);
  if (TOKEN_PATTERN.test(found)) return found;
  const what = found === "" ? "holds no token" : `holds no token, which ${TOKEN_EXPECTED}`;
  throw new ConfigError(`${origin}: what was read ${what}`);
}

/** The URL without a slash at its end; a path before /tunnel/ is a proxy's. */
function parseServer(text: string): string | undefined {
  const url = URL.parse(text);
  if (!url || !["http:", "https:"].includes(url.protocol)) return undefined;
  const hasMore = url.username !== "" || url.password !== "" || /[?#]/.test(text);
  if (hasMore || /(?:^|\/)tunnel(?:\/|$)/.test(url.pathname)) return undefined;
  return url.href.replace(/\/+$/, "");
}
