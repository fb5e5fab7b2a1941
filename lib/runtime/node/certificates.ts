/**
 * Certificates and keys, looked at when a program starts: with a wrong one every handshake would
 * fail later, and only the log would say so.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { ConfigError } from "../../config/config_error.ts";

/** A PEM file and the option that names it, without its dashes. */
export interface PemFile {
  readonly option: string;
  readonly path: string;
  readonly pem: string;
}

/**
 * Checks that a certificate and a key can be read and belong together.
 *
 * @throws {ConfigError} that says which of them is wrong
 */
export function checkKeyPair(chain: PemFile, key: PemFile): void {
  const [block = ""] = certificatesOf(chain);
  const certificate = attempt(() => new X509Certificate(block));
  if (!certificate) throw fault(chain, "whose first certificate is damaged");
  const privateKey = attempt(() => createPrivateKey(key.pem));
  if (!privateKey) throw fault(key, "whose private key is damaged");
  if (certificate.checkPrivateKey(privateKey)) return;
  throw fault(key, `which is not the key of the certificate in --${chain.option}`);
}

/**
 * Checks that at least one certificate of a CA's file can be read. Others may be of kinds that this
 * runtime doesn't know, as in a system's bundle; nobody is trusted because of them.
 *
 * @throws {ConfigError} when there is none
 */
export function checkCa(file: PemFile): void {
  const isReadable = (block: string) => attempt(() => new X509Certificate(block)) !== undefined;
  if (!certificatesOf(file).some(isReadable)) throw fault(file, "whose certificates are damaged");
}

function certificatesOf({ pem }: PemFile): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
}

/** What was made, or nothing: the runtime's own words for what is wrong help no user. */
function attempt<T>(make: () => T): T | undefined {
  try {
    return make();
  } catch {
    return undefined;
  }
}

function fault({ option, path }: PemFile, what: string): ConfigError {
  return new ConfigError(`Option --${option} names ${JSON.stringify(path)}, ${what}`);
}
