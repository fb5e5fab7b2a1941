/** The relay's options for working with other relays. */
import { z } from "zod";
import { ConfigError } from "./config_error.ts";
import { type FileText, readCertificateFile, readTextFile } from "./files.ts";
import { type Kind, parsedBy, path } from "./options/kinds.ts";
import type { OptionTable } from "./options/option_table.ts";
import type { ReadOptions } from "./options/options.ts";

/** How a relay works with others. */
export interface DirectoryOptions {
  /** `redis://` or `rediss://`; may hold a password. A secret. */
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

const minTokenCharacters = 16;
/** It goes with each forwarded request. */
const maxTokenCharacters = 1024;

const directoryUrl: Kind<string> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => {
      const url = URL.parse(text);
      const isRedis = url !== null && ["redis:", "rediss:"].includes(url.protocol);
      const isWhole = isRedis && url.hostname !== "" && /^(?:\/\d*)?$/.test(url.pathname);
      return isWhole && url.search === "" && url.hash === "" ? text : undefined;
    },
    "must be redis://[USER:PASSWORD@]HOST:PORT[/NUMBER], or rediss:// for TLS",
  ),
};

/** An IPv6 address without brackets, as Kubernetes tells a pod's, and a port. */
const bareIpv6 = /^(https?:\/\/)([\da-f]*:[\da-f:]*)(:\d+)$/i;

const advertisedUrl: Kind<string> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => {
      const url = URL.parse(text.replace(bareIpv6, "$1[$2]$3"));
      if (!url || !["http:", "https:"].includes(url.protocol)) return undefined;
      return url.href === `${url.origin}/` ? url.origin : undefined;
    },
    "must be http://HOST:PORT or https://HOST:PORT and nothing behind it",
  ),
};

/** While one token takes another's place there are two. */
const maxTokens = 8;

const tokenPattern = new RegExp(`^[\\x21-\\x7e]{${minTokenCharacters},${maxTokenCharacters}}$`);
const tokenExpected = `${minTokenCharacters} to ${maxTokenCharacters} characters of printable ` +
  "ASCII without spaces";

const relayToken: Kind<string> = {
  placeholder: "TOKEN",
  schema: z.string().regex(tokenPattern, `must be ${tokenExpected}`),
};

/** The part of the relay's table of options. */
export const directoryTable = {
  directory: {
    name: "directory",
    env: "DIRECTORY",
    group: "Several relays",
    kind: directoryUrl,
    isSecret: true,
    description: "Redis that several relays share, so that each finds the sessions of all: " +
      "redis://[USER:PASSWORD@]HOST:PORT[/NUMBER], or rediss:// for TLS; needs --advertise and " +
      "--relay-token, or --relay-token-file",
  },
  advertise: {
    name: "advertise",
    env: "ADVERTISE",
    group: "Several relays",
    kind: advertisedUrl,
    description: "URL of this relay's internal listener as the other relays reach it; port 0 " +
      "stands for the port of --internal-addr",
  },
  relayToken: {
    name: "relay-token",
    env: "RELAY_TOKEN",
    group: "Several relays",
    kind: relayToken,
    isSecret: true,
    description: "What relays show to each other, the same for all of them, 16 characters at " +
      "least; better in the environment",
  },
  relayTokenFile: {
    name: "relay-token-file",
    env: "RELAY_TOKEN_FILE",
    group: "Several relays",
    kind: path,
    description: "Instead of --relay-token, a file with such tokens, one a line: the first is " +
      "shown to the others, all are accepted from them; it is read again when it changes",
  },
  relayCa: {
    name: "relay-ca",
    env: "RELAY_CA",
    group: "Several relays",
    kind: path,
    description: "CA certificates in PEM, for the other relays' certificates; without it, those " +
      "of --caller-ca, or else of --tls-client-ca, or else public CAs",
  },
} as const satisfies OptionTable;

/**
 * Reads the options; undefined for a relay on its own.
 *
 * @param hasTls Whether the internal listener speaks TLS.
 * @throws {ConfigError} for options that don't go together
 */
export function readDirectoryOptions(
  { values, origins }: ReadOptions<typeof directoryTable>,
  hasTls: boolean,
): DirectoryOptions | undefined {
  const { directory: url, advertise, relayCa: caPath } = values;
  if (url === undefined) {
    for (const field of ["advertise", "relayToken", "relayTokenFile", "relayCa"] as const) {
      if (values[field] !== undefined) {
        throw new ConfigError(`${origins[field]} needs --directory as well`);
      }
    }
    return undefined;
  }
  const tokens = readTokens({ values, origins });
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
  const lines = text.split("\n").map((line) => line.trim());
  const tokens = lines.filter((line) => line !== "");
  for (const [index, line] of lines.entries()) {
    if (line !== "" && !tokenPattern.test(line)) {
      throw new ConfigError(`${origin}: line ${index + 1} must be ${tokenExpected}`);
    }
  }
  if (tokens.length >= 1 && tokens.length <= maxTokens) return tokens;
  throw new ConfigError(
    `${origin} must hold 1 to ${maxTokens} tokens, one a line, but holds ${tokens.length}`,
  );
}
