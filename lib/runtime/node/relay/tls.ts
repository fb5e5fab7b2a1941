/** The relay's certificates and CAs: the files that its options name, and what listeners get of them. */
import type { RelayOptions } from "../../../config/relay_options.ts";
import type { ServerTls } from "../listener/tls_acceptor.ts";
import { type TlsFile, TlsFiles } from "../tls_files.ts";

/**
 * The files of the relay's TLS: all of them change together.
 *
 * @throws {ConfigError} for one that can't be used.
 */
export function relayTlsFiles({ tls, directory }: RelayOptions): Promise<TlsFiles<"tls">> {
  const files: TlsFile[] = [];
  if (tls) {
    files.push(
      { kind: "chain", option: "tls-cert", path: tls.certPath, pem: tls.certPem },
      { kind: "key", option: "tls-key", path: tls.keyPath, pem: tls.keyPem },
    );
  }
  const cas = [
    { option: "tls-client-ca", path: tls?.clientCaPath, pem: tls?.clientCaPem },
    { option: "caller-ca", path: tls?.callerCaPath, pem: tls?.callerCaPem },
    { option: "relay-ca", path: directory?.caPath, pem: directory?.caPem },
  ];
  for (const { option, path, pem } of cas) {
    if (path !== undefined && pem !== undefined) files.push({ kind: "ca", option, path, pem });
  }
  return TlsFiles.load([{ source: "tls", files, use: "server" }]);
}

/** What agents' and callers' listeners get. */
export interface RelayServerTls {
  readonly agents: ServerTls;
  readonly callers: ServerTls;
}

/** What both listeners get; nothing without a certificate. */
export function serverTlsOf(files: TlsFiles<"tls">): RelayServerTls | undefined {
  const [cert, key] = [files.pem("tls-cert"), files.pem("tls-key")];
  if (cert === undefined || key === undefined) return undefined;
  const own = { cert, key };
  return {
    agents: { ...own, clientCa: files.pem("tls-client-ca") },
    callers: { ...own, clientCa: callersCa(files) },
  };
}

/** Who must have signed the certificates of callers, and of other relays; undefined asks for none. */
export function callersCa(files: TlsFiles<"tls">): string | undefined {
  return files.pem("caller-ca") ?? files.pem("tls-client-ca");
}
