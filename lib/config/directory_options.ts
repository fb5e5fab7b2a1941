/** The relay's options for working with other relays. */
import { z } from "zod";
import { ConfigError } from "./config_error.ts";
import { readCertificateFile } from "./files.ts";
import { type Kind, parsedBy, path } from "./kinds.ts";
import type { OptionTable, ReadOptions } from "./options.ts";

/** How a relay works with others. */
export interface DirectoryOptions {
  /** `redis://` or `rediss://`; may hold a password. A secret. */
  readonly url: string;
  /** Origin of this relay's internal listener as the others reach it; port 0 is the bound one. */
  readonly advertise: string;
  /** What relays show to each other. A secret. */
  readonly token: string;
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

const advertisedUrl: Kind<string> = {
  placeholder: "URL",
  schema: parsedBy(
    (text) => {
      const url = URL.parse(text);
      if (!url || !["http:", "https:"].includes(url.protocol)) return undefined;
      return url.href === `${url.origin}/` ? url.origin : undefined;
    },
    "must be http://HOST:PORT or https://HOST:PORT and nothing behind it",
  ),
};

const relayToken: Kind<string> = {
  placeholder: "TOKEN",
  schema: z.string().regex(
    new RegExp(`^[\\x21-\\x7e]{${minTokenCharacters},${maxTokenCharacters}}$`),
    `must be ${minTokenCharacters} to ${maxTokenCharacters} characters of printable ASCII ` +
      "without spaces",
  ),
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
      "--relay-token",
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
  relayCa: {
    name: "relay-ca",
    env: "RELAY_CA",
    group: "Several relays",
    kind: path,
    description: "CA certificates in PEM, for the other relays' certificates; without it, those " +
      "of --tls-client-ca, or else public CAs",
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
  const { directory: url, advertise, relayToken: token, relayCa: caPath } = values;
  if (url === undefined) {
    for (const field of ["advertise", "relayToken", "relayCa"] as const) {
      if (values[field] !== undefined) {
        throw new ConfigError(`${origins[field]} needs --directory as well`);
      }
    }
    return undefined;
  }
  if (advertise === undefined || token === undefined) {
    const missing = [...(advertise ? [] : ["--advertise"]), ...(token ? [] : ["--relay-token"])];
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
  return { url, advertise, token, ...ca };
}
