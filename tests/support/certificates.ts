/** Authorities and certificates for one test run, made by openssl. */

/** Paths of PEM files. */
export interface KeyPairFiles {
  readonly certPath: string;
  readonly keyPath: string;
}

/** A key pair, and the authority that clients have to trust. */
export interface CertificateFiles extends KeyPairFiles {
  readonly caPath: string;
}

/** PEM texts of {@link CertificateFiles}. */
export interface Certificate {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Longer than any run. */
const validDays = "2";
const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"] as const;

/** A certificate authority whose files lie in a folder. */
export class Authority {
  /** The authority's own certificate: what others trust. */
  readonly caPath: string;
  readonly #folder: string;
  readonly #name: string;

  readonly #keyPath: string;

  private constructor(folder: string, name: string, own?: KeyPairFiles) {
    this.#folder = folder;
    this.#name = name;
    this.caPath = own?.certPath ?? `${folder}/${name}-ca.crt`;
    this.#keyPath = own?.keyPath ?? `${folder}/${name}-ca.key`;
  }

  /** One whose own certificate another one issued. */
  static of(folder: string, name: string, own: KeyPairFiles): Authority {
    return new Authority(folder, name, own);
  }

  /** Makes a new authority. */
  static async create(folder: string, name: string): Promise<Authority> {
    const authority = new Authority(folder, name);
    const subject = ["-subj", `/CN=${name} authority`, "-days", validDays];
    const files = ["-keyout", authority.#keyPath, "-out", authority.caPath];
    await openssl("req", "-x509", ...newKey, ...subject, ...files);
    return authority;
  }

  /**
   * Issues a certificate.
   *
   * @param names Of the holder, as in `IP:127.0.0.1` or `DNS:agent`.
   * @param subject "/" for none.
   */
  async issue(holder: string, names: string, subject = `/CN=${holder}`): Promise<KeyPairFiles> {
    const base = `${this.#folder}/${this.#name}-${holder}`;
    const [certPath, keyPath] = [`${base}.crt`, `${base}.key`];
    await Deno.writeTextFile(`${base}.ext`, `subjectAltName=${names}\n`);
    const request = ["-subj", subject, "-keyout", keyPath, "-out", `${base}.csr`];
    await openssl("req", ...newKey, ...request);
    const signing = ["-CA", this.caPath, "-CAkey", this.#keyPath, "-CAcreateserial"];
    const files = ["-in", `${base}.csr`, "-extfile", `${base}.ext`, "-out", certPath];
    await openssl("x509", "-req", ...signing, "-days", validDays, ...files);
    return { certPath, keyPath };
  }

  /**
   * Issues a certificate of X.509 version 1, as `openssl x509 -req` does without `-extfile`.
   */
  async issueVersion1(holder: string): Promise<KeyPairFiles> {
    return await this.#sign(holder, newKey, []);
  }

  /** Issues a certificate. @param key As openssl has it, `-newkey rsa:1024`. @param extensions Lines. */
  async issueWith(
    holder: string,
    { key = newKey, extensions }: {
      readonly key?: readonly string[];
      readonly extensions: readonly string[];
    },
  ): Promise<KeyPairFiles> {
    const path = `${this.#folder}/${this.#name}-${holder}.ext`;
    await Deno.writeTextFile(path, [...extensions, ""].join("\n"));
    return await this.#sign(holder, key, ["-extfile", path]);
  }

  async #sign(
    holder: string,
    key: readonly string[],
    more: readonly string[],
  ): Promise<KeyPairFiles> {
    const base = `${this.#folder}/${this.#name}-${holder}`;
    const [certPath, keyPath] = [`${base}.crt`, `${base}.key`];
    const request = ["-subj", `/CN=${holder}`, "-keyout", keyPath, "-out", `${base}.csr`];
    await openssl("req", ...key, "-nodes", ...request);
    const signing = ["-CA", this.caPath, "-CAkey", this.#keyPath, "-CAcreateserial"];
    const files = ["-in", `${base}.csr`, ...more, "-out", certPath];
    await openssl("x509", "-req", ...signing, "-days", validDays, ...files);
    return { certPath, keyPath };
  }

  /**
   * Issues a certificate that ends at a time of the test's own, to the second: `openssl x509` of
   * version 3.0 knows whole days only.
   */
  async issueUntil(holder: string, end: Date, names = `DNS:${holder}`): Promise<KeyPairFiles> {
    return await this.issueBetween(holder, undefined, end, names);
  }

  /** As {@link issueUntil}, with a begin of the test's own too. */
  async issueBetween(
    holder: string,
    begin: Date | undefined,
    end: Date,
    names: string,
  ): Promise<KeyPairFiles> {
    const base = `${this.#folder}/${this.#name}-${holder}`;
    const [certPath, keyPath, config] = [`${base}.crt`, `${base}.key`, `${base}.cnf`];
    const request = ["-subj", `/CN=${holder}`, "-keyout", keyPath, "-out", `${base}.csr`];
    await openssl("req", ...newKey, ...request);
    await Deno.writeTextFile(`${base}.db`, "");
    await Deno.writeTextFile(`${base}.ext`, `subjectAltName=${names}\n`);
    const lines = [
      "[ca]",
      "default_ca = own",
      "[own]",
      `database = ${base}.db`,
      `new_certs_dir = ${this.#folder}`,
      "rand_serial = yes",
      "default_md = sha256",
      "policy = names",
      "[names]",
      "commonName = supplied",
    ];
    await Deno.writeTextFile(config, lines.join("\n"));
    const utc = (date: Date) => date.toISOString().replace(/\.\d+/, "").replaceAll(/[-:T]/g, "");
    const dates = [...begin ? ["-startdate", utc(begin)] : [], "-enddate", utc(end)];
    const signing = ["-cert", this.caPath, "-keyfile", this.#keyPath, ...dates, "-notext"];
    const files = ["-in", `${base}.csr`, "-extfile", `${base}.ext`, "-out", certPath];
    await openssl("ca", "-batch", "-config", config, ...signing, ...files);
    return { certPath, keyPath };
  }

  /** The authority's own key. */
  get keyPath(): string {
    return this.#keyPath;
  }
}

/** Writes an authority and a certificate of it for the loopback interface into a folder. */
export async function loopbackFiles(folder: string): Promise<CertificateFiles> {
  const authority = await Authority.create(folder, "own");
  const pair = await authority.issue("loopback", "IP:127.0.0.1,DNS:localhost");
  return { caPath: authority.caPath, ...pair };
}

let loopback: Promise<Certificate> | undefined;

/** One certificate for the loopback interface, the same for the whole process. */
export function loopbackCertificate(): Promise<Certificate> {
  return loopback ??= makeLoopback();
}

async function makeLoopback(): Promise<Certificate> {
  let made: Certificate | undefined;
  await withFolder(async (folder) => {
    const paths = await loopbackFiles(folder);
    const [ca, cert, key] = await Promise.all(
      [paths.caPath, paths.certPath, paths.keyPath].map((path) => Deno.readTextFile(path)),
    );
    made = { ca: ca!, cert: cert!, key: key! };
  });
  return made!;
}

/** Runs `test` with an empty folder, and removes that. */
export async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "culvert-tls-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs openssl, which must succeed. */
export async function openssl(...args: readonly string[]): Promise<void> {
  const { success, stderr } = await runOpenssl(args);
  if (!success) throw new Error(`openssl ${args.join(" ")} failed: ${stderr}`);
}

/** Runs openssl with nothing on its standard input. */
export async function runOpenssl(
  args: readonly string[],
): Promise<{ success: boolean; stdout: string; stderr: string }> {
  const { success, stdout, stderr } = await new Deno.Command("openssl", {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
