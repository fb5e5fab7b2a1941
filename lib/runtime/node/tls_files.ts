/** The PEM files of a program's TLS: checked at start, and taken again when they change. */
import type { Log } from "../../log.ts";
import {
  type CertificateFacts,
  checkCa,
  checkKeyPair,
  factsOf,
  type PemFile,
} from "./certificates.ts";
import { type ConfigMetrics, followConfig } from "./followed_config.ts";
import type { WatchedFiles } from "./watched_files.ts";

/** What a file holds: certificates to trust, a chain to show, or that chain's key. */
export type PemKind = "ca" | "chain" | "key";

/** A file that an option names; one whose text is undefined is not used. */
export interface TlsFile extends PemFile {
  readonly kind: PemKind;
}

/** Files that belong together: all of them are taken again, or none. */
export interface TlsFileGroup<Source extends string> {
  /** Names it in the log and the metrics. */
  readonly source: Source;
  /** A chain, if there is one, stands before its key. */
  readonly files: readonly TlsFile[];
}

/** Where reloads are told. */
export interface TlsFilesOptions<Source extends string> {
  readonly metrics: ConfigMetrics<Source>;
  readonly log: Log;
  /** New content is in use from now on; what this throws refuses it. */
  readonly replaced?: () => void;
}

/** A file's certificates and when the first of them expires. */
export interface TlsFileFacts extends CertificateFacts {
  readonly option: string;
  readonly path: string;
}

/** What the files hold that are in use now. */
export class TlsFiles<Source extends string> {
  readonly #groups: readonly TlsFileGroup<Source>[];
  /** PEM by option. */
  readonly #pems = new Map<string, string>();

  /** @throws {ConfigError} for a certificate or key that no handshake could use. */
  constructor(groups: readonly TlsFileGroup<Source>[]) {
    this.#groups = groups.filter(({ files }) => files.length > 0);
    for (const { files } of this.#groups) this.#take(files);
  }

  /** The PEM of an option's file; undefined when the option is not given. */
  pem(option: string): string | undefined {
    return this.#pems.get(option);
  }

  /** What is known of each file's certificates; keys have none. */
  facts(nowMs: number): TlsFileFacts[] {
    return this.#groups.flatMap(({ files }) =>
      files.filter(({ kind }) => kind !== "key").flatMap(({ kind, option, path }) => {
        const facts = factsOf(this.pem(option) ?? "", kind === "chain", nowMs);
        return facts === undefined ? [] : [{ option, path, ...facts }];
      })
    );
  }

  /** Takes the files again when they change, until what is returned is closed. */
  follow({ metrics, log, replaced }: TlsFilesOptions<Source>): WatchedFiles[] {
    return this.#groups.map(({ source, files }) =>
      followConfig({
        source,
        paths: files.map(({ path }) => path),
        text: { invalid: "replace" },
        known: files.map(({ path, pem }) => ({ path, text: pem })),
        apply: (texts) => {
          const before = new Map(this.#pems);
          try {
            this.#take(files.map((file, index) => ({ ...file, pem: texts[index]!.text })));
            replaced?.();
          } catch (error) {
            for (const [option, pem] of before) this.#pems.set(option, pem);
            return Promise.reject(error);
          }
          return Promise.resolve({ files: files.map(({ option }) => option).join(",") });
        },
        metrics,
        log,
      })
    );
  }

  /** All of them, or none. */
  #take(files: readonly TlsFile[]): void {
    const chain = files.find(({ kind }) => kind === "chain");
    const key = files.find(({ kind }) => kind === "key");
    if (chain && key) checkKeyPair(chain, key);
    for (const file of files) if (file.kind === "ca") checkCa(file);
    for (const { option, pem } of files) this.#pems.set(option, pem);
  }
}
