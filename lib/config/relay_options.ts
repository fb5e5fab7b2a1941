/** The relay's options: the command line, the environment and the files they name. */
import type { ClusterEntry } from "../domain/cluster.ts";
import { parseAssertionKeys } from "./assertion_keys.ts";
import { type AdminOptions, readAdminOptions } from "./admin_options.ts";
import { type CallerOptions, readCallers } from "./caller_options.ts";
import { ConfigError } from "./config_error.ts";
import { type DirectoryOptions, readDirectoryOptions } from "./directory_options.ts";
import { type Clusters, type ClustersContext, readClusters } from "./entries/clusters.ts";
import { isClustersFile, readClustersFiles } from "./entries/clusters_files.ts";
import type { ServicesContext } from "./entries/service_checks.ts";
import { isServicesFile, readServicesFiles } from "./entries/services_files.ts";
import {
  type FileText,
  readCertificateFile,
  readPrivateKeyFile,
  readTextFile,
  readTextFiles,
} from "./files.ts";
import { deepFreeze } from "./freeze.ts";
import { type ScopeLimits, scopeLimitsOf } from "./limit_options.ts";
import { formatAddress, isLoopback } from "./options/address.ts";
import {
  fieldsOf,
  type OptionValues,
  plainValues,
  type SetValues,
} from "./options/option_table.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
  type ReadOptions,
} from "./options/options.ts";
import { listenersOf } from "./relay_listeners.ts";
import { relayProgram } from "./relay_program.ts";
import { readSessionKeys, sessionKeysSource } from "./session_keys.ts";
import {
  checkTogether,
  isServicesText,
  readServicesText,
  type ServicesOption,
} from "./services_option.ts";
import { callerTable } from "./tables/callers.ts";
import { scopeLimitTable } from "./tables/limits.ts";
import type { relayTable } from "./tables/relay.ts";
import { directoryTable } from "./tables/several_relays.ts";

/** Options that become a part of something else: of {@link CallerOptions}, say. */
const composed = [
  "clusters",
  "services",
  "sessionKeys",
  "assertionKeys",
  ...fieldsOf(callerTable),
  ...["tlsCert", "tlsKey", "tlsClientCa", "callerCa"] as const,
  ...fieldsOf(directoryTable),
  ...["adminAddr", "adminHosts", "adminTokens"] as const,
  ...fieldsOf(scopeLimitTable),
] as const;

/** The options that are taken as the table has them. */
type PlainOptions = SetValues<Omit<OptionValues<typeof relayTable>, typeof composed[number]>>;

/** What the relay runs with; frozen. Its table of options describes those that are not here. */
export interface RelayOptions extends PlainOptions, ScopeLimits {
  readonly clusters: readonly ClusterEntry[];
  /** Where `clusters` came from; undefined when they were given as JSON. */
  readonly clustersSource?: ClustersSource | undefined;
  /** What is published at hostnames. */
  readonly services?: ServicesOption | undefined;
  /** Private keys that sign who callers are, the first one first. */
  readonly assertionKeys?: readonly JsonWebKey[] | undefined;
  /** The file that they came from. */
  readonly assertionKeysFile?: FileText | undefined;
  /** The file of keys that seal people's cookies. */
  readonly sessionKeys?: FileText | undefined;
  readonly callers: CallerOptions;
  /** TLS on both listeners; undefined is plain HTTP. */
  readonly tls?: RelayTls | undefined;
  /** How this relay works with others; undefined is alone. */
  readonly directory?: DirectoryOptions | undefined;
  /** The admin API; undefined where it is off. */
  readonly admin?: AdminOptions | undefined;
  /** What services that are added later are checked against; only where they can be. */
  readonly servicesContext?: ServicesContext | undefined;
  /** One line each, to be logged at start. */
  readonly warnings: readonly string[];
}

/** A file of clusters or a directory with such files, and what was read there at start. */
export interface ClustersSource {
  readonly path: string;
  readonly files: readonly FileText[];
}

/** Files of the relay's TLS, with their PEM text as it was at start. */
export interface RelayTls {
  readonly certPath: string;
  readonly certPem: string;
  readonly keyPath: string;
  readonly keyPem: string;
  /** CAs of client certificates, which agents must show, and callers too unless they have their own CA. */
  readonly clientCaPath?: string | undefined;
  readonly clientCaPem?: string | undefined;
  /** The CA of callers' certificates. */
  readonly callerCaPath?: string | undefined;
  readonly callerCaPem?: string | undefined;
}

/**
 * Reads the relay's options, its clusters and its TLS files.
 *
 * @param argv the arguments after the program's name
 * @throws {ConfigError} for whatever the relay cannot run with; the message is one line
 */
export function parseRelayOptions(argv: readonly string[], env: Environment): Parsed<RelayOptions> {
  const parsed = parseOptions(relayProgram, argv, env);
  return parsed.kind === "run"
    ? { kind: "run", options: deepFreeze(build(parsed.options)) }
    : parsed;
}

type Read = ReadOptions<typeof relayTable>;

function build(read: Read): RelayOptions {
  const { values } = read;
  refuseSharedAddresses(values);
  const tls = readTls(read);
  const { clusters, clustersSource, warnings } = readClustersOption(read);
  const { callers, warnings: callerWarnings } = readCallers(read, {
    address: values.internalAddr,
    origin: read.origins.internalAddr,
    demandsCertificate: (values.callerCa ?? values.tlsClientCa) !== undefined,
  });
  if (values.proxyProtocol && !values.trustedProxies) {
    throw new ConfigError(`${read.origins.proxyProtocol} needs --trusted-proxies as well`);
  }
  const services = readServicesOption(read);
  const unserved = checkTogether(clusters, services, services.context);
  refuseOpenWebListener(read);
  const directory = readDirectoryOptions(read, tls !== undefined);
  const sessionKeys = readSessionKeysOption(read, services);
  const assertionKeysFile = readAssertionKeysFile(read);
  const { admin, warnings: adminWarnings } = readAdminOptions(read, {
    hasTls: tls !== undefined,
    hasProxies: values.trustedProxies !== undefined,
    hasDirectory: directory !== undefined,
  });
  const keepsEntries = admin !== undefined || values.state !== undefined || directory !== undefined;
  return {
    ...plainValues(values, composed),
    ...scopeLimitsOf(values),
    clusters,
    ...(values.services !== undefined && { services }),
    ...(clustersSource && { clustersSource }),
    callers,
    ...(tls && { tls }),
    ...(directory && { directory }),
    ...(admin && { admin }),
    ...(keepsEntries && { servicesContext: services.context }),
    ...(sessionKeys && { sessionKeys }),
    ...(assertionKeysFile && {
      assertionKeysFile,
      assertionKeys: parseAssertionKeys(assertionKeysFile.text, assertionKeysFile.path),
    }),
    warnings: [
      ...read.warnings,
      ...warnings,
      ...services.warnings,
      ...unserved,
      ...callerWarnings,
      ...adminWarnings,
    ],
  };
}

/** Two listeners on one port would fail later, as an address in use by somebody. */
function refuseSharedAddresses(values: Read["values"]): void {
  const optionOf = new Map<string, string>();
  for (const [option, listener] of listenersOf(values)) {
    if (listener.port === 0) continue;
    const address = formatAddress(listener);
    const other = optionOf.get(address);
    if (other !== undefined) {
      throw new ConfigError(
        `Options ${other} and ${option} are both ${JSON.stringify(address)}; ` +
          "each needs its own port",
      );
    }
    optionOf.set(address, option);
  }
}

function readAssertionKeysFile({ values, origins }: Read): FileText | undefined {
  const { assertionKeys: path } = values;
  if (path === undefined) return undefined;
  return { path, text: readTextFile({ origin: origins.assertionKeys, path }) };
}

function readServicesOption({ values, origins }: Read): ServicesOption {
  const { services: text, webRelayHost, callerJwtIssuer } = values;
  const context = {
    ownNames: webRelayHost === undefined
      ? []
      : [{ option: "--web-relay-host", name: webRelayHost }],
    hasJwtIssuer: callerJwtIssuer !== undefined,
    ...callerJwtIssuer !== undefined && { jwtIssuer: callerJwtIssuer },
    lacksSharedKeys: values.directory !== undefined && values.assertionKeys === undefined,
    taken: listenersOf(values).map(([option, address]) => ({ place: `Option ${option}`, address })),
    serverTls: serverTlsOf(values),
  };
  if (text === undefined || isServicesText(text)) {
    return readServicesText(text, origins.services, context);
  }
  const files = readTextFiles({ origin: origins.services, path: text }, isServicesFile);
  return { ...readServicesFiles(text, files, context), context, source: { path: text, files } };
}

/** What a port with TLS can do: it is the relay's certificate that it shows. */
function serverTlsOf(
  { tlsCert, callerCa, tlsClientCa }: Read["values"],
): "on" | "mutual" | undefined {
  if (tlsCert === undefined) return undefined;
  return (callerCa ?? tlsClientCa) === undefined ? "on" : "mutual";
}

/** Relays that share sessions must open each other's cookies. */
function readSessionKeysOption(
  { values, origins }: Read,
  { login }: ServicesOption,
): FileText | undefined {
  const path = values.sessionKeys;
  if (path === undefined) {
    if (!login || values.directory === undefined) return undefined;
    throw new ConfigError(
      `${origins.directory} and login in --services need --session-keys as well: all relays must ` +
        "have the same keys",
    );
  }
  const text = readTextFile({ origin: origins.sessionKeys, path });
  readSessionKeys(text, sessionKeysSource(path));
  return { path, text };
}

/** Without TLS, only this machine and a proxy in front may send what browsers send. */
function refuseOpenWebListener({ values, origins }: Read): void {
  const { webAddr, webCerts, webRelayHost, trustedProxies } = values;
  if (webAddr === undefined) {
    if (webCerts !== undefined) {
      throw new ConfigError(`${origins.webCerts} needs --web-addr as well`);
    }
    if (webRelayHost === undefined) return;
    throw new ConfigError(`${origins.webRelayHost} needs --web-addr as well`);
  }
  if (webCerts !== undefined || trustedProxies || isLoopback(webAddr.hostname)) return;
  throw new ConfigError(
    `${origins.webAddr} is ${JSON.stringify(formatAddress(webAddr))}, which other machines can ` +
      "reach; without certificates (--web-certs), listen on loopback, such as 127.0.0.1:8081, or " +
      "name the proxies in front in --trusted-proxies",
  );
}

function readClustersOption(
  { values, origins }: Read,
): Clusters & { clustersSource?: ClustersSource } {
  const text = values.clusters;
  const origin = origins.clusters;
  const context: ClustersContext = { demandsCertificate: values.tlsClientCa !== undefined };
  if (/^\s*[[{]/.test(text)) return readClusters(text, origin, context);
  if (/["\n\r\0]/.test(text)) {
    throw new ConfigError(
      `${origin} must be the path of a JSON file, or JSON that begins with "["`,
    );
  }
  const files = readTextFiles({ origin, path: text }, isClustersFile);
  return { ...readClustersFiles(text, files, context), clustersSource: { path: text, files } };
}

function readTls({ values, origins }: Read): RelayTls | undefined {
  const { tlsCert: certPath, tlsKey: keyPath, tlsClientCa: clientCaPath, callerCa } = values;
  const fields = ["tlsCert", "tlsKey", "tlsClientCa", "callerCa"] as const;
  const given = fields.find((field) => values[field] !== undefined);
  if (given === undefined) return undefined;
  if (certPath === undefined || keyPath === undefined) {
    const missing = [...(certPath ? [] : ["--tls-cert"]), ...(keyPath ? [] : ["--tls-key"])];
    throw new ConfigError(`${origins[given]} needs ${missing.join(" and ")} as well`);
  }
  const clientCa = clientCaPath !== undefined && {
    clientCaPath,
    clientCaPem: readCertificateFile({ origin: origins.tlsClientCa, path: clientCaPath }),
  };
  return {
    certPath,
    certPem: readCertificateFile({ origin: origins.tlsCert, path: certPath }),
    keyPath,
    keyPem: readPrivateKeyFile({ origin: origins.tlsKey, path: keyPath }),
    ...clientCa,
    ...callerCa !== undefined && {
      callerCaPath: callerCa,
      callerCaPem: readCertificateFile({ origin: origins.callerCa, path: callerCa }),
    },
  };
}
