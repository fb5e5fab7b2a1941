/** The options of `access`: command lines, the token, and the file of services. */
import { z } from "zod";
import { type PersonOptions, personOptions } from "./access_person.ts";
import { checkedToken } from "./commands/access_options.ts";
import { ConfigError } from "./config_error.ts";
import { entryOf } from "./entries/json_entries.ts";
import { parseYaml } from "./entries/yaml_entries.ts";
import { readCertificateFile, readPrivateKeyFile, readTextFile } from "./files.ts";
import {
  addressOfUrl,
  isLoopback,
  type ListenAddress,
  parseListenAddress,
  parseTargetAddress,
  type TargetAddress,
} from "./options/address.ts";
import { cleanVariable, type Environment, variableOf } from "./options/environment.ts";
import { TARGET_EXPECTED } from "./options/kinds.ts";
import { type OptionValues, usagesOf } from "./options/option_table.ts";
import { type Parsed, parseOptions, type ReadOptions } from "./options/options.ts";
import { type Proxy, proxyFromEnvironment } from "./proxy.ts";
import {
  accessHttpProgram,
  accessProgram,
  accessServicesProgram,
  accessTcpProgram,
  type accessTcpTable,
  type dialTable,
  parseServiceUrl,
  SERVICE_EXPECTED,
} from "./tables/access.ts";
import { rereader } from "./text_file.ts";

/** One service, how the relay in front of it is reached, and what it is shown. */
export interface AccessService {
  /** The service's name for people: its hostname, or its name on the internal listener. */
  readonly name: string;
  /** `https://HOST[:PORT]`, or `http://` on this machine. */
  readonly origin: string;
  /** The path that takes WebSockets. */
  readonly tcpPath: string;
  /** Whether the address is that of a relay's internal listener, which has no `/.culvert/`. */
  readonly isInternal: boolean;
  /** Where to connect; the URL's own address unless another one was given. */
  readonly address: TargetAddress;
  readonly proxy?: Proxy | undefined;
  /** Whether a person may sign in, as no token was given. */
  readonly takesPerson?: boolean | undefined;
  /** Reads the token anew; undefined where there is none. @throws {ConfigError} */
  readonly readToken: () => string | undefined | Promise<string | undefined>;
  readonly tls: AccessTlsFiles;
}

/** PEM texts, as they were at start. */
export interface AccessTlsFiles {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** A service and the local port that leads to it. */
export interface AccessPort {
  readonly service: AccessService;
  readonly listen: ListenAddress;
  /** What to call the address in messages. */
  readonly origin: string;
}

/** What `access tcp` is to do. */
export interface AccessTcpOptions {
  /** How a person signs in where no token was given; undefined where none can. */
  readonly person: PersonOptions | undefined;
  /** One connection on standard input and output; else the ports. */
  readonly stdio?: AccessService | undefined;
  readonly ports: readonly AccessPort[];
  readonly isJson: boolean;
  readonly warnings: readonly string[];
}

/** What `access http` is to do. */
export interface AccessHttpOptions {
  /** How a person signs in where no token was given; undefined where none can. */
  readonly person: PersonOptions | undefined;
  readonly port: AccessPort;
  readonly isJson: boolean;
  readonly warnings: readonly string[];
}

/** What `access services` is to do. */
export interface AccessServicesOptions {
  /** How a person signs in where no token was given; undefined where none can. */
  readonly person: PersonOptions | undefined;
  readonly service: AccessService;
  readonly isJson: boolean;
  readonly warnings: readonly string[];
}

const TOKEN_VARIABLE = "CULVERT_TOKEN";

/** The program has nothing to do without a command. @throws {ConfigError} */
export function parseAccessOptions(argv: readonly string[], env: Environment): Parsed<never> {
  const parsed = parseOptions(accessProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const words = accessProgram.commands!.map(({ word }) => word).join(", ");
  throw new ConfigError(`Give a command: ${words}. Run access --help`);
}

/** @throws {ConfigError} for options that are wrong or don't go together */
export function parseAccessTcpOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AccessTcpOptions> {
  const parsed = parseOptions(accessTcpProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  return { kind: "run", options: buildTcp(parsed.options, env) };
}

/** @throws {ConfigError} as above */
export function parseAccessHttpOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AccessHttpOptions> {
  const parsed = parseOptions(accessHttpProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const { values, origins } = parsed.options;
  if (!isLoopback(values.listen.hostname)) {
    throw new ConfigError(
      `${origins.listen} must be a loopback address such as 127.0.0.1:8080: whoever reaches the ` +
        "port has what the token opens",
    );
  }
  const warnings: string[] = [];
  const service = serviceOf(values.service, contextOf(parsed.options, env, warnings));
  const port = { service, listen: values.listen, origin: origins.listen };
  return {
    kind: "run",
    options: { port, person: personOptions(env), isJson: values.json, warnings },
  };
}

/** @throws {ConfigError} as above */
export function parseAccessServicesOptions(
  argv: readonly string[],
  env: Environment,
): Parsed<AccessServicesOptions> {
  const parsed = parseOptions(accessServicesProgram, argv, env);
  if (parsed.kind !== "run") return parsed;
  const warnings: string[] = [];
  const context = contextOf(parsed.options, env, warnings);
  const service = serviceOf(parsed.options.values.service, context);
  return {
    kind: "run",
    options: {
      service,
      person: personOptions(env),
      isJson: parsed.options.values.json,
      warnings,
    },
  };
}

function buildTcp(read: ReadOptions<typeof accessTcpTable>, env: Environment): AccessTcpOptions {
  const { values, origins } = read;
  const warnings: string[] = [];
  const context = contextOf(read, env, warnings);
  const rest = { person: personOptions(env), isJson: values.json, warnings };
  if (values.file !== undefined) {
    for (const field of ["service", "listen", "connect"] as const) {
      if (values[field] === undefined) continue;
      throw new ConfigError(`${origins[field]} can't go with --file, which says it per service`);
    }
    if (values.stdio) throw new ConfigError(`${origins.stdio} can't go with --file`);
    return { ports: readPorts(values.file, origins.file, context), ...rest };
  }
  if (values.service === undefined) {
    throw new ConfigError(
      `Argument HOSTNAME is required: ${usagesOf(accessTcpProgram).join(", or ")}`,
    );
  }
  if (values.stdio === (values.listen !== undefined)) {
    throw new ConfigError("Give either --listen ADDRESS or --stdio");
  }
  const service = serviceOf(values.service, context);
  if (values.listen === undefined) return { stdio: service, ports: [], ...rest };
  return { ports: [{ service, listen: values.listen, origin: origins.listen }], ...rest };
}

/** What all services of one command line have in common. */
export interface Context {
  readonly connect: TargetAddress | undefined;
  readonly tls: AccessTlsFiles;
  readonly readToken: () => string | undefined;
  readonly tokenOrigin: string;
  readonly env: Environment;
  readonly warnings: string[];
}

/** The options of those commands as far as they are about the relay. */
interface ConnectionRead {
  readonly values: OptionValues<typeof dialTable> & { readonly tokenFile?: string | undefined };
  readonly origins: { readonly [Field in keyof typeof dialTable]: string } & {
    readonly tokenFile?: string;
  };
  readonly warnings: readonly string[];
}

/** @param env where `CULVERT_TOKEN` may be @throws {ConfigError} */
export function contextOf(
  { values, origins, warnings: found }: ConnectionRead,
  env: Environment,
  warnings: string[],
): Context {
  warnings.push(...found);
  const { ca, clientCert, clientKey, tokenFile } = values;
  if ((clientCert === undefined) !== (clientKey === undefined)) {
    const [given, missing] = clientCert === undefined
      ? [origins.clientKey, "--client-cert"]
      : [origins.clientCert, "--client-key"];
    throw new ConfigError(`${given} needs ${missing} as well`);
  }
  const tls = {
    ...(ca !== undefined && { ca: readCertificateFile({ origin: origins.ca, path: ca }) }),
    ...(clientCert !== undefined && clientKey !== undefined && {
      cert: readCertificateFile({ origin: origins.clientCert, path: clientCert }),
      key: readPrivateKeyFile({ origin: origins.clientKey, path: clientKey }),
    }),
  };
  const { tokenFile: fileOrigin = "" } = origins;
  const fromFile = tokenFile !== undefined;
  return {
    connect: values.connect,
    tls,
    readToken: fromFile ? tokenReader(tokenFile, fileOrigin) : tokenOfEnvironment(env),
    tokenOrigin: fromFile ? fileOrigin : `Environment variable ${TOKEN_VARIABLE}`,
    env,
    warnings,
  };
}

function tokenReader(path: string, origin: string): () => string {
  const read = rereader(path, () => checkedToken(readTextFile({ origin, path }), origin));
  // What is wrong with it is to be known at start.
  read();
  return read;
}

function tokenOfEnvironment(env: Environment): () => string | undefined {
  const given = variableOf(env, TOKEN_VARIABLE);
  const { text } = cleanVariable(given ?? "");
  const token = text === ""
    ? undefined
    : checkedToken(text, `Environment variable ${TOKEN_VARIABLE}`);
  return () => token;
}

/** Joins a URL and the context. @throws {ConfigError} for a token that others could read on its way */
export function serviceOf(url: URL, context: Context): AccessService {
  const { connect, tls, env, readToken, tokenOrigin, warnings } = context;
  const own = addressOfUrl(url);
  const address = connect ?? (isLocalName(own.hostname) ? { ...own, hostname: "localhost" } : own);
  const isInternal = url.pathname !== "/";
  const isPlain = url.protocol === "http:";
  const isHere = isLoopback(address.hostname);
  if (isPlain && !isHere) {
    if (readToken() !== undefined) {
      throw new ConfigError(
        `${tokenOrigin}: http://${url.host} would show the token to everybody on the way; ` +
          "use https://, or http:// for this machine alone",
      );
    }
    warnings.push(`http://${url.host}: what is sent can be read on the way`);
  }
  if (isPlain) refuseTlsFiles(tls, url);
  const webSocketUrl = new URL(url);
  webSocketUrl.protocol = isPlain ? "ws:" : "wss:";
  const proxied = isHere || connect !== undefined
    ? { warnings: [] }
    : proxyFromEnvironment(env, webSocketUrl);
  warnings.push(...proxied.warnings);
  return {
    name: isInternal ? decodeURIComponent(url.pathname.slice("/tunnel-tcp/".length)) : url.host,
    origin: url.origin,
    tcpPath: isInternal ? url.pathname : "/.culvert/tcp",
    isInternal,
    address,
    ...(proxied.proxy && { proxy: proxied.proxy }),
    takesPerson: !isInternal && readToken() === undefined,
    readToken,
    tls,
  };
}

/** Names below localhost are this machine's (RFC 6761 section 6.3), whatever DNS says. */
function isLocalName(hostname: string): boolean {
  return hostname.endsWith(".localhost");
}

function refuseTlsFiles(tls: AccessTlsFiles, url: URL): void {
  const option = tls.ca !== undefined ? "ca" : tls.cert !== undefined ? "client-cert" : undefined;
  if (option === undefined) return;
  throw new ConfigError(
    `Option --${option} does not apply to ${url.origin}, which is not https://`,
  );
}

const portSchema = entryOf({
  service: z.string(SERVICE_EXPECTED),
  listen: z.string("must be an address to listen on such as 127.0.0.1:5432"),
  connect: z.string(TARGET_EXPECTED).optional(),
  tokenFile: z.string("must be the path of a file").optional(),
}, "must be an object with service and listen");

const FILE_EXPECTED = 'an object with the key "services"';

const fileSchema = entryOf({
  services: z.array(portSchema, "must be a list").min(1, "must name a service"),
}, `must be ${FILE_EXPECTED}`);

/** Reads the file of services. @throws {ConfigError} that names file, entry and key */
function readPorts(path: string, origin: string, context: Context): readonly AccessPort[] {
  const source = `${origin}: ${JSON.stringify(path)}`;
  const value = parseYaml(readTextFile({ origin, path }), source, FILE_EXPECTED);
  const result = fileSchema.safeParse(value);
  if (!result.success) throw new ConfigError(`${source}${placeOf(result.error.issues)}`);
  const taken = new Map<string, number>();
  return result.data.services.map((entry, index) => {
    const place = `${source}, entry ${index + 1}`;
    const fault = (key: string, what: string) => new ConfigError(`${place}: ${key} ${what}`);
    const url = parseServiceUrl(entry.service);
    if (!url) throw fault("service", SERVICE_EXPECTED);
    const listen = parseListenAddress(entry.listen);
    if (!listen) throw fault("listen", "must be an address to listen on such as 127.0.0.1:5432");
    const twin = listen.port === 0 ? undefined : taken.get(entry.listen);
    if (twin !== undefined) throw fault("listen", `is that of entry ${twin}; each needs its own`);
    taken.set(entry.listen, index + 1);
    const connect = entry.connect === undefined ? undefined : parseTargetAddress(entry.connect);
    if (entry.connect !== undefined && !connect) throw fault("connect", TARGET_EXPECTED);
    const tokenOrigin = `${place}: tokenFile`;
    const own = entry.tokenFile === undefined
      ? {}
      : { readToken: tokenReader(entry.tokenFile, tokenOrigin), tokenOrigin };
    const service = serviceOf(url, { ...context, connect, ...own });
    return { service, listen, origin: `${place}: listen` };
  });
}

function placeOf(issues: readonly z.core.$ZodIssue[]): string {
  const issue = issues.find(({ code }) => code === "unrecognized_keys") ?? issues[0]!;
  const [, index, key] = issue.path;
  const entry = typeof index === "number" ? `, entry ${index + 1}` : "";
  return `${entry}: ${key === undefined ? "" : `${String(key)} `}${issue.message}`;
}
