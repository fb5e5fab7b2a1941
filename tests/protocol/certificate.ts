/** A self-signed certificate for 127.0.0.1, made by openssl for one run of the tests. */

/** PEM texts; the certificate is its own authority. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

let made: Promise<Certificate> | undefined;

/** The certificate of this process; made once. */
export function certificate(): Promise<Certificate> {
  return made ??= makeCertificate();
}

async function makeCertificate(): Promise<Certificate> {
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"];
  const { code, stdout, stderr } = await new Deno.Command("openssl", {
    args: ["req", "-x509", ...kind, ...names, "-days", "2", "-keyout", "-", "-out", "-"],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (code !== 0) throw new Error(`openssl failed: ${new TextDecoder().decode(stderr)}`);
  return { cert: pemBlock(text, "CERTIFICATE"), key: pemBlock(text, "PRIVATE KEY") };
}

function pemBlock(text: string, label: string): string {
  const block = new RegExp(`-----BEGIN ${label}-----[^-]+-----END ${label}-----\n`).exec(text)?.[0];
  if (!block) throw new Error(`openssl wrote no ${label}`);
  return block;
}
