/** PEM files (RFC 7468): which blocks they hold, and which of them an option can use. */

/** One block of a PEM file. */
export interface PemBlock {
  /** The label of the block: `CERTIFICATE` in `-----BEGIN CERTIFICATE-----`. */
  readonly label: string;
  /** The line of the file that the block begins in, from 1. */
  readonly line: number;
  readonly der: Uint8Array<ArrayBuffer>;
  /** The block alone, encoded anew. */
  readonly pem: string;
}

/** What is wrong with a file. The message continues "Option --x names "file", …". */
export class PemError extends Error {
  override readonly name = "PemError";
}

const certificateLabels: readonly string[] = ["CERTIFICATE", "X509 CERTIFICATE"];
const keyLabels: readonly string[] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
/** `openssl ecparam -genkey` and others write these beside a key. */
const parameterLabels: readonly string[] = ["EC PARAMETERS", "DH PARAMETERS"];

/** Blocks that stand for a mistake, and what mends it. */
const mistakes: Readonly<Record<string, string>> = {
  "TRUSTED CERTIFICATE": "is OpenSSL's own format: convert it with openssl x509 -in OLD -out NEW",
  "CERTIFICATE REQUEST": "is a request: it must be the certificate that the CA issued for it",
  "NEW CERTIFICATE REQUEST": "is a request: it must be the certificate that the CA issued for it",
  "PKCS7": "is PKCS #7: convert it with openssl pkcs7 -print_certs -in OLD -out NEW",
  "X509 CRL": "is a revocation list, which is not supported",
  "PUBLIC KEY": "is a public key, not a private key or certificate",
  "OPENSSH PRIVATE KEY": "is OpenSSH's own format: convert it with ssh-keygen -p -m PEM -f FILE",
  "DSA PRIVATE KEY": "is a DSA key: TLS needs an ECDSA, Ed25519 or RSA key",
};

/**
 * The certificates of a PEM file, in its order. Private keys beside them are left out.
 *
 * @throws {PemError} for a file without certificates, and for one with a block that can't be used
 */
export function certificateBlocks(text: string): PemBlock[] {
  const blocks = readPem(text);
  for (const block of blocks) refuseMistake(block);
  const certificates = blocks.filter(({ label }) => certificateLabels.includes(label));
  if (certificates.length > 0) return certificates;
  throw new PemError(
    "which holds no certificate: it must have a line -----BEGIN CERTIFICATE-----",
  );
}

/**
 * The private key of a PEM file. Certificates beside it are left out.
 *
 * @throws {PemError} for a file without a private key, with several or with an encrypted one
 */
export function privateKeyBlock(text: string): PemBlock {
  const blocks = readPem(text);
  const keys = blocks.filter(({ label }) => keyLabels.includes(label));
  if (keys.length > 1) {
    throw new PemError(`which holds ${keys.length} private keys: it must hold one`);
  }
  if (keys[0]) return keys[0];
  if (blocks.some(({ label }) => label === "ENCRYPTED PRIVATE KEY")) throw encrypted();
  const certificate = blocks.find(({ label }) => certificateLabels.includes(label));
  for (const block of blocks) if (block !== certificate) refuseMistake(block);
  throw new PemError(
    "which holds no private key: it must have a line -----BEGIN PRIVATE KEY-----",
  );
}

/** Whether a PEM file holds a private key, encrypted or not. */
export function holdsPrivateKey(text: string): boolean {
  return /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----/.test(text);
}

/** The certificates of a PEM file and nothing else, encoded anew. @throws {PemError} */
export function certificatesOnly(text: string): string {
  return certificateBlocks(text).map(({ pem }) => pem).join("");
}

/** The private key of a PEM file and nothing else, encoded anew. @throws {PemError} */
export function privateKeyOnly(text: string): string {
  return privateKeyBlock(text).pem;
}

function encrypted(): PemError {
  return new PemError("which is encrypted: it must be a key without a passphrase");
}

function refuseMistake({ label, line }: PemBlock): void {
  const known = [...certificateLabels, ...keyLabels, ...parameterLabels, "ENCRYPTED PRIVATE KEY"];
  if (known.includes(label)) return;
  const what = mistakes[label] ?? "is of no use here: it must be a CERTIFICATE";
  throw new PemError(`whose block in line ${line} (${label}) ${what}`);
}

const beginPattern = /^-----BEGIN ([A-Z0-9][A-Z0-9 ]*)-----$/;

/**
 * Reads every block. What stands between blocks is a comment (RFC 7468 section 2).
 *
 * @throws {PemError} for a text that is no PEM, and for a block that breaks off or is not base64
 */
export function readPem(text: string): PemBlock[] {
  const lines = decoded(text).split(/\r\n|\n|\r/).map((line) => line.trim());
  const blocks: PemBlock[] = [];
  for (let index = 0; index < lines.length; index++) {
    const label = beginPattern.exec(lines[index]!)?.[1];
    if (label === undefined) continue;
    const end = nextBoundary(lines, index + 1);
    const endLine = `-----END ${label}-----`;
    if (end === undefined || isCut(lines[end]!, endLine)) throw brokenOff(label, index + 1);
    if (lines[end] !== endLine) {
      throw new PemError(
        `whose ${nounOf(label)} in line ${index + 1} has no line ${endLine}`,
      );
    }
    blocks.push(blockOf(label, index + 1, lines.slice(index + 1, end)));
    index = end;
  }
  if (blocks.length > 0) return blocks;
  throw new PemError("which is not PEM: it must have a line that begins with -----BEGIN");
}

/** The next line that begins or ends a block. Each line is looked at once, however many blocks there are. */
function nextBoundary(lines: readonly string[], from: number): number | undefined {
  for (let index = from; index < lines.length; index++) {
    if (lines[index]!.startsWith("-----")) return index;
  }
  return undefined;
}

function isCut(line: string, whole: string): boolean {
  return line.length < whole.length && whole.startsWith(line);
}

function brokenOff(label: string, line: number): PemError {
  return new PemError(
    certificateLabels.includes(label)
      ? `which, from line ${line} on, ends within a certificate`
      : `whose ${nounOf(label)} in line ${line} breaks off: it is damaged`,
  );
}

/** A file's text without a byte order mark. @throws {PemError} for what is not UTF-8 text. */
function decoded(text: string): string {
  const plain = text.replace(/^\uFEFF/, "");
  if (plain.trim() === "") throw new PemError("which is empty");
  if (/[\0\uFFFD]/.test(plain) && !plain.includes("-----BEGIN ")) {
    throw new PemError("which is binary (DER or PKCS #12): convert it to PEM with openssl");
  }
  return plain;
}

function blockOf(label: string, line: number, body: readonly string[]): PemBlock {
  // Headers of RFC 1421, as in "Proc-Type: 4,ENCRYPTED", end with an empty line.
  if (body.some((text) => text.startsWith("Proc-Type: 4,ENCRYPTED"))) throw encrypted();
  const base64 = body.filter((text) => !text.includes(":")).join("").replaceAll(/[ \t]/g, "");
  const der = base64 === "" ? undefined : decodeBase64(base64);
  if (der === undefined) {
    const what = base64 === "" ? "is empty" : "is not base64: it is damaged";
    throw new PemError(`whose ${nounOf(label)} in line ${line} ${what}`);
  }
  const name = certificateLabels.includes(label) ? "CERTIFICATE" : label;
  return { label, line, der, pem: encodePem(name, der) };
}

function nounOf(label: string): string {
  if (certificateLabels.includes(label)) return "certificate";
  return keyLabels.includes(label) ? "private key" : `block "${label}"`;
}

function decodeBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.fromBase64(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}

/** A block of PEM (RFC 7468). @param label As in `-----BEGIN CERTIFICATE-----`. */
export function encodePem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}
