/** TLS of the targets in a targets file: its PEM files, checked, and how a target is dialled. */
import { targetPlace } from "../../../config/entries/targets.ts";
import { type FileText, readCertificateFile, readPrivateKeyFile } from "../../../config/files.ts";
import type { DialledTarget, TargetEntry } from "../../../domain/target.ts";
import type { ByteSocket } from "../../../net/byte_socket.ts";
import { dialTlsTarget } from "../../deno/dial_tls_target.ts";
import { namedTargetTlsAdvice } from "../../tls_advice.ts";
import { dialNamedTarget } from "../dial_named_target.ts";
import { dialTarget } from "../dial_target.ts";
import { loadCaBundle, loadKeyPair } from "../key_material.ts";

/** What a target's TLS files hold, in a form that handshakes can use. */
export interface TargetPems {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/** A target's files as they were read. */
export interface LoadedTls {
  readonly pems: TargetPems;
  readonly files: readonly FileText[];
  readonly warnings: readonly string[];
}

/**
 * Reads and checks the PEM files of a target.
 *
 * @param source The targets file, for messages. @param index The entry's, from 0.
 * @throws {ConfigError} that names file, entry and key
 */
export async function loadTargetTls(
  { name, tls }: TargetEntry,
  source: string,
  index: number,
): Promise<LoadedTls> {
  const files: FileText[] = [];
  const read = (key: string, path: string, reader: typeof readCertificateFile) => {
    const origin = `${targetPlace(source, index, name)}: tls: ${key}`;
    const text = reader({ origin, path });
    files.push({ path, text });
    return { origin, path, text };
  };
  const { ca, cert, key } = tls ?? {};
  const bundle = ca === undefined ? undefined : loadCaBundle(read("ca", ca, readCertificateFile));
  const pair = cert === undefined || key === undefined ? undefined : await loadKeyPair(
    read("cert", cert, readCertificateFile),
    read("key", key, readPrivateKeyFile),
    "client",
  );
  return {
    pems: { ca: bundle?.caPem, cert: pair?.certPem, key: pair?.keyPem },
    files,
    warnings: [...bundle?.warnings ?? [], ...pair?.warnings ?? []],
  };
}

/** How the agent connects to a target. */
export function targetDialer(
  { address, kind, tls }: DialledTarget,
  pems: TargetPems,
  timeoutMs: number,
): (signal: AbortSignal) => Promise<ByteSocket> {
  const where = { ...address, timeoutMs };
  if (!tls) return (signal) => dialTarget({ ...where, isTls: false }, signal);
  // Only HTTP's protocol is known here.
  const alpn = kind === "http" ? ["http/1.1"] : [];
  const { serverName, insecure } = tls;
  if (insecure) {
    return (signal) => dialTarget({ ...where, ...pems, serverName, alpn, isTls: true }, signal);
  }
  if (pems.cert !== undefined && serverName !== undefined && serverName !== address.hostname) {
    return (signal) => dialNamedTarget({ ...where, ...pems, serverName, alpn }, signal);
  }
  const advice = namedTargetTlsAdvice;
  return (signal) => dialTlsTarget({ ...where, ...pems, serverName, alpn, advice }, signal);
}
