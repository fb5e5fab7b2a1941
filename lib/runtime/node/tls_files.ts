/** The PEM files of a program's TLS: checked at start, and taken again when they change. */
import type { Log } from "../../log.ts";
import { type CertificateFacts, factsOf } from "./certificates.ts";
import { type ConfigMetrics, followConfig } from "./followed_config.ts";
import { type KeyPairUse, loadCaBundle, loadKeyPair, type PemSource } from "./key_material.ts";
import type { WatchedFiles } from "./watched_files.ts";

/** What a file holds: certificates to trust, a chain to show, or that chain's key. */
export type PemKind = "ca" | "chain" | "key";

/** A file that an option names. */
export interface TlsFile {
  readonly kind: PemKind;
  /** Without its dashes. */
  readonly option: string;
  readonly path: string;
  /** The file's text as it is. */
  readonly pem: string;
}

/** Files that belong together: all of them are taken again, or none. */
export interface TlsFileGroup<Source extends string> {
  /** Names it in the log and the metrics. */
  readonly source: Source;
  readonly files: readonly TlsFile[];
  /** Whom the chain is shown to; clients unless given. */
  readonly use?: KeyPairUse;
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
  /** PEM by option: certificates alone, or a key alone. */
  #pems: ReadonlyMap<string, string> = new Map();
  #warnings: readonly string[] = [];

  private constructor(groups: readonly TlsFileGroup<Source>[]) {
    this.#groups = groups.filter(({ files }) => files.length > 0);
  }

  /** @throws {ConfigError} for a certificate or key that no handshake could use. */
  static async load<Source extends string>(
    groups: readonly TlsFileGroup<Source>[],
  ): Promise<TlsFiles<Source>> {
    const files = new TlsFiles(groups);
    for (const group of files.#groups) await files.#take(group);
    return files;
  }

  /** One line each, to be logged at start, about what may not work for everybody. */
  get warnings(): readonly string[] {
    return this.#warnings;
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
    return this.#groups.map((group) =>
      followConfig({
        source: group.source,
        paths: group.files.map(({ path }) => path),
        text: { invalid: "replace" },
        known: group.files.map(({ path, pem }) => ({ path, text: pem })),
        apply: async (texts) => {
          const files = group.files.map((file, index) => ({ ...file, pem: texts[index]!.text }));
          const before = this.#pems;
          const warnings = await this.#take({ ...group, files });
          try {
            replaced?.();
          } catch (error) {
            this.#pems = before;
            throw error;
          }
          for (const warning of warnings) log.warn(warning);
          return { files: files.map(({ option }) => option).join(",") };
        },
        metrics,
        log,
      })
    );
  }

  /** Puts a group's files in use, all of them or none. @returns warnings about them. */
  async #take({ files, use = "client" }: TlsFileGroup<Source>): Promise<readonly string[]> {
    const taken = new Map(this.#pems);
    const warnings: string[] = [];
    const chain = files.find(({ kind }) => kind === "chain");
    const key = files.find(({ kind }) => kind === "key");
    if (chain && key) {
      const pair = await loadKeyPair(sourceOf(chain), sourceOf(key), use);
      taken.set(chain.option, pair.certPem).set(key.option, pair.keyPem);
      warnings.push(...pair.warnings);
    }
    for (const file of files) {
      if (file.kind !== "ca") continue;
      const bundle = loadCaBundle(sourceOf(file));
      taken.set(file.option, bundle.caPem);
      warnings.push(...bundle.warnings);
    }
    this.#pems = taken;
    this.#warnings = [...this.#warnings, ...warnings];
    return warnings;
  }
}

function sourceOf({ option, path, pem }: TlsFile): PemSource {
  return { origin: `Option --${option}`, path, text: pem };
}
