/** The relay's options for its admin API, and the file of its tokens. */
import type { AdminToken } from "../domain/admin.ts";
import { ConfigError } from "./config_error.ts";
import { type AdminTokensRead, readAdminTokens } from "./entries/admin_tokens.ts";
import { type FileText, readTextFile } from "./files.ts";
import { formatAddress, isLoopback, type ListenAddress } from "./options/address.ts";
import type { ReadOptions } from "./options/options.ts";
import type { adminTable } from "./tables/admin.ts";

/** The admin API's listener and tokens. */
export interface AdminOptions {
  readonly addr: ListenAddress;
  /** Names of the listener besides addresses; undefined for any. */
  readonly hosts: readonly string[] | undefined;
  readonly tokens: readonly AdminToken[];
  /** Undefined when the tokens were given as JSON. */
  readonly tokensFile?: FileText | undefined;
}

/** What surrounds the listener. */
export interface AdminSurroundings {
  readonly hasTls: boolean;
  readonly hasProxies: boolean;
  readonly hasDirectory: boolean;
}

interface TokensOption extends AdminTokensRead {
  readonly tokensFile?: FileText;
}

type AdminRead = Pick<ReadOptions<typeof adminTable>, "values" | "origins">;

/** Reads them. @throws {ConfigError} */
export function readAdminOptions(
  read: AdminRead,
  surroundings: AdminSurroundings,
): { readonly admin?: AdminOptions; readonly warnings: readonly string[] } {
  const { values, origins } = read;
  if (values.state !== undefined && surroundings.hasDirectory) {
    throw new ConfigError(
      `${origins.state} is not used with --directory, where Redis keeps what the admin API adds; ` +
        "drop one of them",
    );
  }
  if (values.adminAddr === undefined) {
    const without = (["adminTokens", "adminHosts"] as const)
      .find((field) => values[field] !== undefined);
    if (without) throw new ConfigError(`${origins[without]} needs --admin-addr as well`);
    return { warnings: [] };
  }
  refuseOpenListener(read, values.adminAddr, surroundings);
  if (values.adminTokens === undefined) {
    throw new ConfigError(`${origins.adminAddr} needs --admin-tokens as well`);
  }
  const { tokens, tokensFile, warnings } = readTokens(values.adminTokens, origins.adminTokens);
  const hosts = values.adminHosts ? values.adminHosts.names : [];
  const admin = { addr: values.adminAddr, hosts, tokens };
  return { admin: { ...admin, ...tokensFile && { tokensFile } }, warnings };
}

/** Tokens must not pass where others can read them. */
function refuseOpenListener(
  { origins }: AdminRead,
  addr: ListenAddress,
  { hasTls, hasProxies }: AdminSurroundings,
): void {
  if (hasTls || hasProxies || isLoopback(addr.hostname)) return;
  throw new ConfigError(
    `${origins.adminAddr} is ${JSON.stringify(formatAddress(addr))}, which other machines can ` +
      "reach; without TLS (--tls-cert), listen on loopback, such as 127.0.0.1:9443, or name the " +
      "proxies in front in --trusted-proxies",
  );
}

function readTokens(given: string, origin: string): TokensOption {
  if (/^\s*[[{]/.test(given)) return readAdminTokens(given, origin);
  if (/["\n\r\0]/.test(given)) {
    throw new ConfigError(
      `${origin} must be the path of a JSON file, or JSON that begins with "["`,
    );
  }
  const text = readTextFile({ origin, path: given });
  const read = readAdminTokens(text, adminTokensSource(given));
  return { ...read, tokensFile: { path: given, text } };
}

/** What the file of tokens is called in messages. */
export function adminTokensSource(path: string): string {
  return `Admin tokens file ${JSON.stringify(path)}`;
}
