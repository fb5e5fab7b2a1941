/** The relay's options about callers: who may use its internal listener, and how they prove it. */
import type { CallersConfig } from "../domain/callers.ts";
import { formatAddress, isLoopback, type ListenAddress } from "./options/address.ts";
import { readCallerCertificates, readCallerClaims, readCallerTokens } from "./entries/callers.ts";
import { ConfigError } from "./config_error.ts";
import { type FileText, readTextFile } from "./files.ts";
import type { ReadOptions } from "./options/options.ts";
import { callerTable } from "./tables/callers.ts";

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

/** The listener that callers reach, as far as it matters here. */
export interface CallersListener {
  readonly address: ListenAddress;
  /** "Option --internal-addr" and the like. */
  readonly origin: string;
  readonly demandsCertificate: boolean;
}

type CallerRead = ReadOptions<typeof callerTable>;

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
    .map((field) => `--${callerTable[field].name}`);
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
    `${origin} is ${JSON.stringify(formatAddress(address))}, which other machines can ` +
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
