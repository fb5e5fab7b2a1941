/** The relay's options for working with other relays. */
import { tokenFault } from "../domain/token.ts";
import { ConfigError } from "./config_error.ts";
import { type FileText, readCertificateFile, readTextFile } from "./files.ts";
import type { ReadOptions } from "./options/options.ts";
import {
  type directoryTable,
  relayTokenExpected,
  relayTokenPattern,
} from "./tables/several_relays.ts";

/** How a relay works with others. */
export interface DirectoryOptions {
  /** One that `parseStoreAddress` takes; may hold a password. A secret. */
  readonly url: string;
  /** Origin of this relay's internal listener as the others reach it; port 0 is the bound one. */
  readonly advertise: string;
  /** What relays show to each other: the first is sent, all are accepted. Secrets. */
  readonly tokens: readonly string[];
  /** Where `tokens` came from, if it was a file. */
  readonly tokensFile?: FileText | undefined;
  /** CA of the other relays' certificates, besides the public ones. */
  readonly caPath?: string | undefined;
  readonly caPem?: string | undefined;
}

/** While one token takes another's place there are two. */
const maxTokens = 8;

/**
 * Reads the options; undefined for a relay on its own.
 *
 * @param hasTls Whether the internal listener speaks TLS.
 * @throws {ConfigError} for options that don't go together
 */
export function readDirectoryOptions(
  read: ReadOptions<typeof directoryTable>,
  hasTls: boolean,
): DirectoryOptions | undefined {
  const { values, origins } = read;
  const { directory: url, advertise, relayCa: caPath } = values;
  if (url === undefined) {
    for (const field of ["advertise", "relayToken", "relayTokenFile", "relayCa"] as const) {
      if (values[field] !== undefined) {
        throw new ConfigError(`${origins[field]} needs --directory as well`);
      }
    }
    return undefined;
  }
  const tokens = readTokens(read);
  if (advertise === undefined || tokens === undefined) {
    const missing = [...(advertise ? [] : ["--advertise"]), ...(tokens ? [] : ["--relay-token"])];
    throw new ConfigError(`${origins.directory} needs ${missing.join(" and ")} as well`);
  }
  if (advertise.startsWith("https:") !== hasTls) {
    const [scheme, state] = hasTls ? ["https://", "with"] : ["http://", "without"];
    throw new ConfigError(
      `${origins.advertise} must begin with ${scheme}, as this relay listens ${state} TLS`,
    );
  }
  const ca = caPath !== undefined &&
    { caPath, caPem: readCertificateFile({ origin: origins.relayCa, path: caPath }) };
  return { url, advertise, ...tokens, ...ca };
}

function readTokens(
  { values, origins }: ReadOptions<typeof directoryTable>,
): Pick<DirectoryOptions, "tokens" | "tokensFile"> | undefined {
  const { relayToken: token, relayTokenFile: path } = values;
  if (path === undefined) return token === undefined ? undefined : { tokens: [token] };
  const origin = origins.relayTokenFile;
  if (token !== undefined) {
    throw new ConfigError(`${origin} can't go with --relay-token; give one of them`);
  }
  const text = readTextFile({ origin, path });
  return { tokens: readRelayTokens(text, origin), tokensFile: { path, text } };
}

/**
 * Reads the relays' tokens, one a line; empty lines don't count.
 *
 * @param origin What the text was read from.
 * @throws {ConfigError} that holds none of them
 */
export function readRelayTokens(text: string, origin: string): readonly string[] {
  const lines = text.split(/\r\n|\r|\n/).map((line) => line.trim());
  const tokens = lines.filter((line) => line !== "");
  for (const [index, line] of lines.entries()) {
    const fault = tokenFault(line);
    if (fault !== undefined) throw new ConfigError(`${origin}: line ${index + 1} ${fault}`);
    if (line !== "" && !relayTokenPattern.test(line)) {
      throw new ConfigError(`${origin}: line ${index + 1} must be ${relayTokenExpected}`);
    }
  }
  if (tokens.length >= 1 && tokens.length <= maxTokens) return tokens;
  throw new ConfigError(
    `${origin} must hold 1 to ${maxTokens} tokens, one a line, but holds ${tokens.length}`,
  );
}
