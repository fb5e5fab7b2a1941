/** The agent's options: the command line, the environment and the files they name. */
import { ConfigError } from "./config_error.ts";
import { resolveClaims } from "./claims.ts";
import { namesBehindPaths, type TargetEntry } from "../domain/target.ts";
import { readTargets, targetPlace } from "./entries/targets.ts";
import { checkedToken } from "./commands/access_options.ts";
import {
  type FileText,
  readCertificateFile,
  readPrivateKeyFile,
  readTextFile,
  whyUnusable,
} from "./files.ts";
import { deepFreeze } from "./freeze.ts";
import { formatAddress, type TargetAddress } from "./options/address.ts";
import { type OptionValues, plainValues, type SetValues } from "./options/option_table.ts";
import {
  type Environment,
  type Parsed,
  parseOptions,
  type ReadOptions,
} from "./options/options.ts";
import { checkedProxy, type Proxy, proxyFromEnvironment } from "./proxy.ts";
import { agentCheckProgram, agentProgram, type agentTable } from "./tables/agent.ts";

/** Options that become a part of something else: of {@link ServerTls}, say. */
const composed = [
  "server",
  ...["token", "tokenFile"] as const,
  ...["serverCaCert", "serverName", "clientCert", "clientKey"] as const,
  "allowInsecureServer",
  ...["proxy", "proxyFile", "proxyCaCert"] as const,
  ...["target", "targets", "saTokenPath", "caCert"] as const,
  ...["tlsServerName", "insecure", "plainTarget"] as const,
] as const;

/** The options that are taken as the table has them. */
type PlainOptions = SetValues<Omit<OptionValues<typeof agentTable>, typeof composed[number]>>;

/** What the agent runs with; frozen. Its table of options describes those that are not here. */
export interface AgentOptions extends PlainOptions {
  /** `wss://` or, when that was allowed, `ws://`; without credentials and fragment. */
  readonly serverUrl: string;
  /** The token that the relay knows the agent by; a secret. */
  readonly token: string;
  /** Where it was read, if it was in a file. */
  readonly tokenFile?: FileText | undefined;
  /** TLS with the relay; has no use when `serverUrl` is `ws://`. */
  readonly serverTls: ServerTls;
  /** The HTTP proxy on the way to the relay; undefined is none. */
  readonly proxy?: Proxy | undefined;
  /** Where it was read, if it was in a file. */
  readonly proxyFile?: FileText | undefined;
  /** CA of an `https://` proxy's certificate; without it, the public ones that Deno brings count. */
  readonly proxyCa?: CertificateFile | undefined;
  /** The target that the options describe; undefined if there are those of the file alone. */
  readonly target?: TargetAddress | undefined;
  /** TLS with that target; undefined is plain TCP. */
  readonly targetTls?: TargetTls | undefined;
  /** The file of the token that each request to that target gets. */
  readonly saTokenPath?: string | undefined;
  /** The file of named targets. */
  readonly targets?: TargetsSource | undefined;
  /** One line each, to be logged at start. */
  readonly warnings: readonly string[];
}

/** A file of targets, and what was read there at start. */
export interface TargetsSource {
  readonly path: string;
  readonly text: string;
  readonly entries: readonly TargetEntry[];
}

/** How the agent verifies the relay and shows who it is; PEM text as it was at start. */
export interface ServerTls {
  /** What the relay's certificate must hold, and the name asked for; undefined is the URL's host. */
  readonly serverName?: string | undefined;
  /** CA of the relay's certificate; without it, the public ones that Deno brings count. */
  readonly caPath?: string | undefined;
  readonly caPem?: string | undefined;
  /** The agent's own certificate and key: all four or none. */
  readonly certPath?: string | undefined;
  readonly certPem?: string | undefined;
  readonly keyPath?: string | undefined;
  readonly keyPem?: string | undefined;
}

/** A file of certificates; PEM text as it was at start. */
export interface CertificateFile {
  readonly path: string;
  readonly pem: string;
}

/** How the agent verifies the target; PEM text as it was at start. */
export interface TargetTls {
  /** True when the target's certificate is not verified; there is no CA then. */
  readonly isInsecure: boolean;
  /** What the target's certificate must hold, and the name asked for; undefined is the target's. */
  readonly serverName?: string | undefined;
  /** CA of the target's certificate, besides the public ones that Deno brings. */
  readonly caPath?: string | undefined;
  readonly caPem?: string | undefined;
}

/**
 * Reads the agent's options and its certificates; the file of the target's credential is not read,
 * since it may appear and change later.
 *
 * @param argv the arguments after the program's name
 * @throws {ConfigError} for whatever the agent cannot run with; the message is one line
 */
export function parseAgentOptions(argv: readonly string[], env: Environment): Parsed<AgentOptions> {
  return parseAs(agentProgram, argv, env);
}

/** Reads the options of `agent check`, which are the agent's. @throws {ConfigError} as those. */
export function parseAgentCheckOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AgentOptions> {
  return parseAs(agentCheckProgram, argv, env);
}

function parseAs(
  program: typeof agentProgram,
  argv: readonly string[],
  env: Environment,
): Parsed<AgentOptions> {
  const parsed = parseOptions(program, argv, env);
  return parsed.kind === "run"
    ? { kind: "run", options: deepFreeze(build(parsed.options, env)) }
    : parsed;
}

type Read = ReadOptions<typeof agentTable>;

function build(read: Read, env: Environment): AgentOptions {
  const { values } = read;
  const token = readToken(read);
  refusePlainServer(read);
  const { warnings, ...proxy } = readProxy(read, env);
  const targets = readTargetsOption(read);
  const single = targets ? readTargetBesideFile(read) : readTarget(read);
  refuseUnclearClaims(read, { single, targets });
  return {
    ...plainValues(values, composed),
    serverUrl: withPath(values.server),
    ...token,
    serverTls: readServerTls(read),
    ...proxy,
    ...single.options,
    ...(targets && { targets }),
    warnings: [
      ...read.warnings,
      ...warnings,
      ...warningsAbout(read),
      ...single.warnings,
      ...(targets ? warningsAboutTargets(targets) : []),
    ],
  };
}

function readToken({ values, origins }: Read): Pick<AgentOptions, "token" | "tokenFile"> {
  const { token, tokenFile: path } = values;
  if (path === undefined) {
    if (token !== undefined) return { token };
    throw new ConfigError(
      "Option --token is required: give --token TOKEN or --token-file FILE, or the environment variable TOKEN",
    );
  }
  if (token !== undefined) {
    throw new ConfigError(`${origins.tokenFile} can't go with --token; give one of them`);
  }
  const text = readTextFile({ origin: origins.tokenFile, path });
  return { token: checkedToken(text, origins.tokenFile), tokenFile: { path, text } };
}

/** How messages name the file. */
export function targetsFileName(path: string): string {
  return `Targets file ${JSON.stringify(path)}`;
}

function readTargetsOption({ values, origins }: Read): TargetsSource | undefined {
  const path = values.targets;
  if (path === undefined) return undefined;
  const text = readTextFile({ origin: origins.targets, path });
  return { path, text, entries: readTargets(text, targetsFileName(path)) };
}

/** A hostname is announced for a target, which has to be known. */
function refuseUnclearClaims(
  { values, origins }: Read,
  { single, targets }: { single: SingleTarget; targets: TargetsSource | undefined },
): void {
  const own = single.options.target;
  const entries = targets?.entries ?? [];
  const hidden = namesBehindPaths(entries);
  const all = [
    ...entries.filter(({ name }) => !hidden.has(name)),
    ...(own ? [{ name: formatAddress(own), kind: "http" }] : []),
  ];
  resolveClaims(values.hostname ?? [], all, origins.hostname);
}

/** The target of `--target`, if there is one. */
interface SingleTarget {
  readonly options: Pick<AgentOptions, "target" | "targetTls" | "saTokenPath">;
  readonly warnings: readonly string[];
}

function readTarget(read: Read): SingleTarget {
  const { values, origins } = read;
  const { saTokenPath } = values;
  const targetTls = readTargetTls(read);
  const warnings = values.insecure && !values.plainTarget
    ? [`${origins.insecure}: the target's certificate is not verified`]
    : [];
  const reason = saTokenPath === undefined ? undefined : whyUnusable(saTokenPath);
  if (reason !== undefined) {
    warnings.push(`${origins.saTokenPath} names ${JSON.stringify(saTokenPath)}, which ${reason}`);
  }
  return {
    options: {
      target: values.target,
      ...(targetTls && { targetTls }),
      ...(saTokenPath !== undefined && { saTokenPath }),
    },
    warnings,
  };
}

/** Beside a file of targets, what describes another one has no defaults. */
function readTargetBesideFile(read: Read): SingleTarget {
  const { values, origins } = read;
  const isGiven = (field: keyof Read["origins"]) => !origins[field].startsWith("Default of ");
  const own = (field: "saTokenPath" | "caCert") => isGiven(field) ? values[field] : undefined;
  const given = { ...values, saTokenPath: own("saTokenPath"), caCert: own("caCert") };
  if (isGiven("target")) return readTarget({ ...read, values: given });
  const fields = ["saTokenPath", "caCert", "tlsServerName", "insecure", "plainTarget"] as const;
  const lost = fields.find((field) => given[field] !== undefined && given[field] !== false);
  if (lost === undefined) return { options: {}, warnings: [] };
  throw new ConfigError(
    `${origins[lost]} needs --target: each target in the file of --targets has settings of its own`,
  );
}

const ANY_USER =
  'prefix is empty, so any user of the cluster can be named; give one, such as "corp:"';

/** One line each, about targets that work but should not stay so, or do not work yet. */
export function warningsAboutTargets(
  { path, entries }: Pick<TargetsSource, "path" | "entries">,
): string[] {
  const source = targetsFileName(path);
  if (entries.length === 0) return [`${source} has no targets: every request is refused`];
  return entries.flatMap(({ name, tls, credential, impersonate }, index) => {
    const place = targetPlace(source, index, name);
    const reason = credential && whyUnusable(credential.file);
    return [
      ...(impersonate?.prefix === "" ? [`${place}: impersonate: ${ANY_USER}`] : []),
      ...(tls?.insecure ? [`${place}: the target's certificate is not verified`] : []),
      ...(reason === undefined
        ? []
        : [`${place}: credential: file: ${JSON.stringify(credential?.file)} ${reason}`]),
    ];
  });
}

/** Where agents connect at a relay; what stands before it may have a path of its own. */
const CONNECT_PATH = "/connect";

/** A URL without a path means the relay's own. */
function withPath(server: URL): string {
  const url = new URL(server);
  if (url.pathname === "/") url.pathname = CONNECT_PATH;
  return url.href;
}

function isPlain(server: URL): boolean {
  return server.protocol === "ws:";
}

function refusePlainServer({ values, origins }: Read): void {
  if (!isPlain(values.server) || values.allowInsecureServer) return;
  throw new ConfigError(
    `${origins.server} begins with ws://, which shows the token to everybody on the way; ` +
      "use wss://, or for tests add --allow-insecure-server",
  );
}

function readServerTls({ values, origins }: Read): ServerTls {
  const { serverCaCert: caPath, clientCert: certPath, clientKey: keyPath } = values;
  if (certPath !== undefined && keyPath === undefined) {
    throw new ConfigError(`${origins.clientCert} needs --client-key as well`);
  }
  if (keyPath !== undefined && certPath === undefined) {
    throw new ConfigError(`${origins.clientKey} needs --client-cert as well`);
  }
  const ca = caPath !== undefined && {
    caPath,
    caPem: readCertificateFile({ origin: origins.serverCaCert, path: caPath }),
  };
  const own = certPath !== undefined && keyPath !== undefined && {
    certPath,
    certPem: readCertificateFile({ origin: origins.clientCert, path: certPath }),
    keyPath,
    keyPem: readPrivateKeyFile({ origin: origins.clientKey, path: keyPath }),
  };
  const { serverName } = values;
  return { ...(serverName !== undefined && { serverName }), ...ca, ...own };
}

type ProxyOptions = Pick<AgentOptions, "proxy" | "proxyFile" | "proxyCa" | "warnings">;

/** The proxy of the options, or the environment's; and its CA, where it may have to be verified. */
function readProxy(read: Read, env: Environment): ProxyOptions {
  const { values: { proxyCaCert: path }, origins } = read;
  const found = readProxyAlone(read, env);
  // A file may name an https:// proxy later.
  if (path === undefined || !(found.proxy?.isTls || found.proxyFile)) return found;
  const pem = readCertificateFile({ origin: origins.proxyCaCert, path });
  return { ...found, proxyCa: { path, pem } };
}

function readProxyAlone({ values, origins }: Read, env: Environment): ProxyOptions {
  const { proxy, proxyFile: path } = values;
  if (path !== undefined) {
    const { proxyFile: origin } = origins;
    if (proxy !== undefined) {
      throw new ConfigError(`${origin} can't go with --proxy; give one of them`);
    }
    const text = readTextFile({ origin, path });
    const found = checkedProxy(text, `${origin}: what was read`);
    return { ...found && { proxy: found }, proxyFile: { path, text }, warnings: [] };
  }
  if (proxy === undefined) return proxyFromEnvironment(env, values.server);
  return { ...proxy !== "none" && { proxy }, warnings: [] };
}

function readTargetTls({ values, origins }: Read): TargetTls | undefined {
  if (values.plainTarget) return undefined;
  const { tlsServerName: serverName, caCert: caPath } = values;
  const name = serverName !== undefined && { serverName };
  if (values.insecure) return { isInsecure: true, ...name };
  if (caPath === undefined) return { isInsecure: false, ...name };
  const caPem = readCertificateFile({
    origin: origins.caCert,
    path: caPath,
    remedy: "give the target's CA with --ca-cert, or --plain-target for a target without TLS",
  });
  return { isInsecure: false, ...name, caPath, caPem };
}

function warningsAbout({ values, origins }: Read): string[] {
  const warnings: string[] = [];
  if (isPlain(values.server)) {
    warnings.push(`${origins.server} begins with ws://: the token can be read on the way`);
    if (values.clientCert !== undefined) {
      warnings.push(`${origins.clientCert} has no effect with ws://`);
    }
    if (values.serverName !== undefined) {
      warnings.push(`${origins.serverName} has no effect with ws://`);
    }
  }
  return warnings;
}
