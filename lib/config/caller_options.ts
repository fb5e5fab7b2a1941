/** The relay's options about callers: who may use its internal listener, and how they prove it. */
import type { CallersConfig } from "../domain/callers.ts";
import { addressOfUrl, formatAddress, isLoopback, type ListenAddress } from "./options/address.ts";
import { readCallerCertificates, readCallerClaims, readCallerTokens } from "./entries/callers.ts";
import { ConfigError } from "./config_error.ts";
import { type FileText, readTextFile } from "./files.ts";
import { choice, type Kind, parsedBy } from "./options/kinds.ts";
import type { OptionTable } from "./options/option_table.ts";
import type { ReadOptions } from "./options/options.ts";

/** How callers prove themselves, and the files that say so as they were at start; frozen. */
export interface CallerOptions extends CallersConfig {
  /** Undefined when the tokens were given as JSON; so are the others. */
  readonly tokensFile?: FileText | undefined;
  readonly certificatesFile?: FileText | undefined;
  readonly jwt?: CallerJwtOptions | undefined;
}

/** Whose JWTs are accepted, and the file of their rules. */
export type CallerJwtOptions = NonNullable<CallersConfig["jwt"]> & {
  readonly rulesFile?: FileText | undefined;
};

const fileOrJson: Kind<string> = {
  placeholder: "FILE|JSON",
  schema: parsedBy((text) => text, ""),
};

const NAME_EXPECTED = "must be 1 to 1024 printable ASCII characters without spaces";
const URL_EXPECTED =
  "must be an https:// URL without a user, such as https://issuer.example/keys; http:// is for " +
  "loopback only";

const issuerName: Kind<string> = {
  placeholder: "NAME",
  schema: parsedBy((text) => /^[\x21-\x7e]{1,1024}$/.test(text) ? text : undefined, NAME_EXPECTED),
};

const keysUrl: Kind<string> = { placeholder: "URL", schema: parsedBy(parseKeysUrl, URL_EXPECTED) };

const HOSTS_EXPECTED = "must be names such as relay.example.com, with commas between, or *";

/** Undefined is any. */
const hostNames: Kind<{ readonly names: readonly string[] | undefined }> = {
  placeholder: "NAMES",
  schema: parsedBy((text) => {
    if (text === "*") return { names: undefined };
    const names = text.toLowerCase().split(",");
    return names.every((name) => /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(name))
      ? { names }
      : undefined;
  }, HOSTS_EXPECTED),
};

/** The options about callers, together in the help text. */
export const callerOptions = {
  callers: {
    name: "callers",
    env: "CALLERS",
    group: "Callers",
    kind: choice("MODE", ["open", "known"]),
    description:
      "known: callers need a credential, see below; open: whoever reaches the internal " +
      "listener may call. Without it: known if tokens, JWTs or rules are given, else open if that " +
      "listener is on loopback or demands client certificates; else the relay does not start",
  },
  hosts: {
    name: "hosts",
    env: "HOSTS",
    group: "Callers",
    kind: hostNames,
    description:
      "Names by which callers ask for the relay, with commas between, besides addresses " +
      "and localhost; others get 421; * is any. Without it: none where callers are open on " +
      "loopback, which guards against pages in a browser of this machine (DNS rebinding); else any",
  },
  callerTokens: {
    name: "caller-tokens",
    env: "CALLER_TOKENS",
    group: "Callers",
    kind: fileOrJson,
    isSecret: true,
    description: "Callers' bearer tokens, as the path of a JSON file or as JSON: an array of " +
      '{"name", "token" or "tokenSha256", "clusters": ["ID", "PREFIX*"], "expires"}',
  },
  callerCertificates: {
    name: "caller-certificates",
    env: "CALLER_CERTIFICATES",
    group: "Callers",
    kind: fileOrJson,
    description: "Which client certificates may call, as the path of a JSON file or as JSON: an " +
      'array of {"name", "clusters"}; needs --tls-client-ca or --caller-ca',
  },
  callerJwtIssuer: {
    name: "caller-jwt-issuer",
    env: "CALLER_JWT_ISSUER",
    group: "Callers",
    kind: issuerName,
    description: "Accept JWTs of this issuer (claim iss); needs the three options that follow",
  },
  callerJwtAudience: {
    name: "caller-jwt-audience",
    env: "CALLER_JWT_AUDIENCE",
    group: "Callers",
    kind: issuerName,
    description: "What a JWT must name as its audience (claim aud)",
  },
  callerJwksUrl: {
    name: "caller-jwks-url",
    env: "CALLER_JWKS_URL",
    group: "Callers",
    kind: keysUrl,
    description: "Where the issuer's public keys are: https://, or http:// on loopback",
  },
  callerJwtRules: {
    name: "caller-jwt-rules",
    env: "CALLER_JWT_RULES",
    group: "Callers",
    kind: fileOrJson,
    description: "Which clusters a JWT opens, as the path of a JSON file or as JSON: an array of " +
      '{"claim", "value", "clusters"}',
  },
} as const satisfies OptionTable;

/** The listener that callers reach, as far as it matters here. */
export interface CallersListener {
  readonly address: ListenAddress;
  /** "Option --internal-addr" and the like. */
  readonly origin: string;
  readonly demandsCertificate: boolean;
}

type CallerRead = ReadOptions<typeof callerOptions>;

/**
 * Reads the options about callers and the files that they name.
 *
 * @throws {ConfigError} above all when nobody has said who may call a listener that others reach
 */
export function readCallers(
  read: CallerRead,
  listener: CallersListener,
): { readonly callers: CallerOptions; readonly warnings: readonly string[] } {
  const { warnings: tokenWarnings = [], ...tokens } = readTokens(read) ?? {};
  const certificates = readCertificates(read, listener);
  const jwt = readJwt(read);
  const mode = modeOf(read, listener);
  const hosts = hostsOf(read, mode, listener);
  const isWide = mode === "open" && !isLoopback(listener.address.hostname) &&
    !listener.demandsCertificate;
  const warnings = isWide
    ? [
      `${read.origins.callers} is open: whoever reaches the internal listener may do what the ` +
      "agents' credentials may",
    ]
    : [];
  return {
    callers: {
      mode,
      ...tokens,
      ...certificates,
      ...(jwt && { jwt }),
      ...(hosts && { hosts }),
    },
    warnings: [...warnings, ...tokenWarnings],
  };
}

function readTokens({ values, origins }: CallerRead) {
  if (values.callerTokens === undefined) return undefined;
  const { text, source, file } = readFileOrJson(
    values.callerTokens,
    origins.callerTokens,
    "Caller tokens file",
  );
  return { ...readCallerTokens(text, source), ...(file && { tokensFile: file }) };
}

function readCertificates({ values, origins }: CallerRead, listener: CallersListener) {
  if (values.callerCertificates === undefined) return undefined;
  if (!listener.demandsCertificate) {
    throw new ConfigError(
      `${origins.callerCertificates} needs --tls-client-ca or --caller-ca as well`,
    );
  }
  const { text, source, file } = readFileOrJson(
    values.callerCertificates,
    origins.callerCertificates,
    "Caller certificates file",
  );
  const certificates = readCallerCertificates(text, source);
  return { certificates, ...(file && { certificatesFile: file }) };
}

function readJwt({ values, origins }: CallerRead): CallerJwtOptions | undefined {
  const fields = [
    "callerJwtIssuer",
    "callerJwtAudience",
    "callerJwksUrl",
    "callerJwtRules",
  ] as const;
  const given = fields.find((field) => values[field] !== undefined);
  if (given === undefined) return undefined;
  const missing = fields.filter((field) => values[field] === undefined)
    .map((field) => `--${callerOptions[field].name}`);
  const {
    callerJwtIssuer: issuer,
    callerJwtAudience: audience,
    callerJwksUrl: jwksUrl,
    callerJwtRules: rules,
  } = values;
  if (issuer === undefined || audience === undefined || jwksUrl === undefined || !rules) {
    throw new ConfigError(`${origins[given]} needs ${missing.join(" and ")} as well`);
  }
  const { text, source, file } = readFileOrJson(
    rules,
    origins.callerJwtRules,
    "Caller JWT rules file",
  );
  const read = readCallerClaims(text, source);
  return { issuer, audience, jwksUrl, rules: read, ...(file && { rulesFile: file }) };
}

/** The mode that is given, or the one that goes without saying. */
function modeOf(
  { values, origins }: CallerRead,
  { address, origin, demandsCertificate }: CallersListener,
): "open" | "known" {
  const given = [
    ...(values.callerTokens === undefined ? [] : ["--caller-tokens"]),
    ...(values.callerJwtIssuer === undefined ? [] : ["--caller-jwt-issuer"]),
    ...(values.callerCertificates === undefined ? [] : ["--caller-certificates"]),
  ];
  if (values.callers === "open" && given.length > 0) {
    throw new ConfigError(
      `${origins.callers} is open, which asks no caller for anything, and ${given.join(" and ")} ` +
        "would never be looked at; drop one or the other",
    );
  }
  if (values.callers === "known" && given.length === 0 && !demandsCertificate) {
    throw new ConfigError(
      `${origins.callers} is known, and callers have nothing to show; ` +
        "add --caller-tokens, --caller-jwt-issuer or --tls-client-ca",
    );
  }
  if (values.callers !== undefined) return values.callers;
  if (given.length > 0) return "known";
  if (demandsCertificate || isLoopback(address.hostname)) return "open";
  throw new ConfigError(
    `${origin} is ${JSON.stringify(formatAddress(address))}, which others can ` +
      "reach, and nothing says who may call; add --caller-tokens, " +
      "--caller-jwt-issuer or --tls-client-ca, listen on 127.0.0.1, or say --callers open to let " +
      "everybody in who reaches it",
  );
}

/** The names that are given, or none at all where any page in a browser could reach open clusters. */
function hostsOf(
  { values }: CallerRead,
  mode: "open" | "known",
  { address: { hostname }, demandsCertificate }: CallersListener,
): readonly string[] | undefined {
  if (values.hosts) return values.hosts.names;
  return mode === "open" && isLoopback(hostname) && !demandsCertificate ? [] : undefined;
}

function parseKeysUrl(text: string): string | undefined {
  const url = URL.parse(text);
  if (!url || url.username !== "" || url.password !== "" || url.hash !== "") return undefined;
  const isHere = url.protocol === "http:" && isLoopback(addressOfUrl(url).hostname);
  return url.protocol === "https:" || isHere ? url.href : undefined;
}

/** Text of a list, what to call it in messages, and the file that it came from, if it is one. */
function readFileOrJson(
  given: string,
  origin: string,
  fileName: string,
): { text: string; source: string; file?: FileText } {
  if (/^\s*[[{]/.test(given)) return { text: given, source: origin };
  if (/["\n\r\0]/.test(given)) {
    throw new ConfigError(
      `${origin} must be the path of a JSON file, or JSON that begins with "["`,
    );
  }
  const text = readTextFile({ origin, path: given });
  return { text, source: `${fileName} ${JSON.stringify(given)}`, file: { path: given, text } };
}
