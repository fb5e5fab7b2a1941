/** A certificate for 127.0.0.1 and the authority that signed it, made by openssl for one run. */
import { outputOf } from "./subprocess.ts";

/** Paths of PEM files. */
export interface CertificateFiles {
  /** The authority's certificate: what a client trusts. */
  readonly caPath: string;
  readonly certPath: string;
  readonly keyPath: string;
}

/** How long the certificates are valid: longer than any run. */
const VALID_DAYS = "7";

const KEY_KIND = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"] as const;

/** Writes an authority and a certificate of it for 127.0.0.1 into `folder`. */
export async function makeCertificate(folder: string): Promise<CertificateFiles> {
  const caPath = `${folder}/ca.crt`;
  const caKeyPath = `${folder}/ca.key`;
  const certPath = `${folder}/target.crt`;
  const keyPath = `${folder}/target.key`;
  const requestPath = `${folder}/target.csr`;
  const namesPath = `${folder}/names.ext`;
  await Deno.writeTextFile(namesPath, "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  const authority = [...KEY_KIND, "-subj", "/CN=culvert bench CA", "-days", VALID_DAYS];
  await openssl("req", "-x509", ...authority, "-keyout", caKeyPath, "-out", caPath);
  const request = [...KEY_KIND, "-subj", "/CN=127.0.0.1"];
  await openssl("req", ...request, "-keyout", keyPath, "-out", requestPath);
  const signing = ["-CA", caPath, "-CAkey", caKeyPath, "-CAcreateserial", "-days", VALID_DAYS];
  const files = ["-in", requestPath, "-extfile", namesPath, "-out", certPath];
  await openssl("x509", "-req", ...signing, ...files);
  return { caPath, certPath, keyPath };
}

async function openssl(...args: string[]): Promise<void> {
  await outputOf(["openssl", ...args]);
}
