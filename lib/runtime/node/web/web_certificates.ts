/** The certificates of the web listener: a folder of pairs, of which each is taken on its own. */
import { createHash } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { ConfigError } from "../../../config/config_error.ts";
import { reportFault } from "../../../faults.ts";
import type { Log } from "../../../log.ts";
import { type CertificateFacts, factsOf } from "../certificates.ts";
import type { ConfigMetrics } from "../followed_config.ts";
import { type KeyPair, loadKeyPair } from "../key_material.ts";
import type { TlsFileFacts } from "../tls_files.ts";
import { CertificateChoice } from "./certificate_choice.ts";
import {
  FolderError,
  isSamePair,
  listPairs,
  type PairPaths,
  readPem,
  type SeenPair,
  statPair,
} from "./certificate_folder.ts";

/** A certificate that clients can be shown. */
export interface WebCertificate {
  /** The name of its files, for the log. */
  readonly name: string;
  readonly dnsNames: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly context: SecureContext;
  readonly certPem: string;
}

/** Where reloads are told. */
export interface FollowOptions {
  readonly metrics: ConfigMetrics<"web_certs">;
  readonly log: Log;
  /** Other certificates are in use from now on. */
  readonly replaced: () => void;
  readonly intervalMs?: number;
}

/** A pair, and what came of it when it was read. */
interface Known {
  readonly seen: SeenPair;
  /** The digest of the files as last read, by which touched files are recognized; undefined if unreadable. */
  readonly digest: string | undefined;
  /** Why what was read last is not in use. */
  readonly fault: string | undefined;
  readonly certificate: WebCertificate | undefined;
}

/** A change is taken after one to two of these; a file that is being written is left alone so long. */
const defaultIntervalMs = 500;
/** Looks after which a pair that is gone is no longer in use: its files may be being replaced. */
const missedLooks = 4;
/** Names in one log line. */
const maxLoggedNames = 20;

/** The certificates in use. */
export class WebCertificates {
  readonly #folder: string;
  readonly #known = new Map<string, Known>();
  /** As a pair looked at the last look, when that was not as it is known. */
  readonly #unsettled = new Map<string, SeenPair>();
  readonly #missed = new Map<string, number>();
  readonly #nowMs: () => number;
  #choice = new CertificateChoice<WebCertificate>([], 0);
  #warnings: readonly string[] = [];
  #folderFault: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** The last look, which may not be over. */
  #looking: Promise<void> = Promise.resolve();
  #isClosed = false;

  private constructor(folder: string, nowMs: () => number) {
    this.#folder = folder;
    this.#nowMs = nowMs;
  }

  /**
   * Reads a folder and completes a handshake with each pair in it. A pair that can't be used is left
   * out, which {@link warnings} tell.
   *
   * @throws {ConfigError} for a folder that can't be read, or without any pair that can be used.
   */
  static async load(folder: string, nowMs: () => number = Date.now): Promise<WebCertificates> {
    const certificates = new WebCertificates(folder, nowMs);
    await certificates.#readAll();
    return certificates;
  }

  /** One line each, to be logged at start. */
  get warnings(): readonly string[] {
    return this.#warnings;
  }

  /** Those that are in use, by their files' names. */
  get all(): readonly WebCertificate[] {
    return [...this.#known.values()].flatMap(({ certificate }) => certificate ?? [])
      .sort((one, other) => one.name < other.name ? -1 : 1);
  }

  /** The certificate for a client that asks for no name. */
  get first(): WebCertificate | undefined {
    return this.#choice.first;
  }

  /** The certificate for a host; undefined if none fits. */
  for(host: string): WebCertificate | undefined {
    return this.#choice.for(host);
  }

  /** When they expire. */
  facts(nowMs: number): TlsFileFacts[] {
    return this.all.flatMap(({ name, certPem }) => {
      const facts: CertificateFacts | undefined = factsOf(certPem, true, nowMs);
      const { chainPath: path } = this.#known.get(name)!.seen;
      return facts ? [{ option: `web-certs/${name}`, path, ...facts }] : [];
    });
  }

  /** Takes what changes in the folder, until {@link close}. */
  follow(options: FollowOptions): void {
    options.metrics.configLoaded("web_certs");
    this.#logContests(options.log);
    const look = async (): Promise<void> => {
      try {
        await this.#look(options);
      } catch (error) {
        reportFault("process", error);
      }
      if (!this.#isClosed) next();
    };
    const next = (): void => {
      this.#timer = setTimeout(
        () => this.#looking = look(),
        options.intervalMs ?? defaultIntervalMs,
      );
    };
    next();
  }

  /** Ends when no file is looked at any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  /**
   * Warns of hostnames without a certificate, and of certificates without a hostname: often one of
   * each is the same mistyped name.
   *
   * @param hostnames Those of all services; `*.` stands for one label.
   */
  warnOfMisfits(hostnames: readonly string[], log: Pick<Log, "warn">): void {
    const bare = hostnames.filter((host) => !this.for(host));
    const used = new Set(hostnames.map((host) => this.for(host)));
    const unused = this.all.filter((one) => !used.has(one) && !isForAny(one, hostnames));
    if (bare.length > 0) {
      log.warn("Hostnames without a certificate: TLS handshakes for them fail", {
        hostnames: listed(bare),
        certificates: listed(this.all.flatMap(({ dnsNames }) => dnsNames)),
      });
    }
    if (unused.length > 0) {
      log.warn("Certificates that fit no hostname of a service", {
        certificates: listed(
          unused.map(({ name, dnsNames }) => `${name} (${dnsNames.join(", ")})`),
        ),
        hostnames: listed(hostnames),
      });
    }
  }

  async #readAll(): Promise<void> {
    let pairs: SeenPair[];
    try {
      pairs = await listPairs(this.#folder);
    } catch (error) {
      throw asConfigError(error);
    }
    for (const seen of pairs) this.#known.set(seen.name, await this.#read(seen));
    const faults = [...this.#known.values()].flatMap(({ fault }) => fault ?? []);
    if (this.all.length === 0) throw new ConfigError(faults[0] ?? noPair(this.#folder));
    this.#warnings = [...faults, ...this.#warnings];
    this.#choose();
  }

  #choose(): void {
    this.#choice = new CertificateChoice(this.all, this.#nowMs());
  }

  async #look(options: FollowOptions): Promise<void> {
    let pairs: SeenPair[];
    try {
      pairs = await listPairs(this.#folder);
      this.#folderFault = undefined;
    } catch (error) {
      this.#refuseFolder(error, options);
      return;
    }
    let isChanged = false;
    for (const seen of pairs) {
      this.#missed.delete(seen.name);
      if (this.#isClosed) return;
      if (this.#isSettledChange(seen)) isChanged = await this.#take(seen, options) || isChanged;
    }
    const names = new Set(pairs.map(({ name }) => name));
    for (const name of [...this.#known.keys()]) {
      if (!names.has(name)) isChanged = this.#miss(name, options) || isChanged;
    }
    if (!isChanged || this.#isClosed) return;
    this.#choose();
    this.#logContests(options.log);
    options.replaced();
  }

  /** Whether a pair has changed, and has looked the same for two looks. */
  #isSettledChange(seen: SeenPair): boolean {
    const { name } = seen;
    if (isSamePair(seen, this.#known.get(name)?.seen)) {
      this.#unsettled.delete(name);
      return false;
    }
    const isSettled = isSamePair(seen, this.#unsettled.get(name));
    if (isSettled) this.#unsettled.delete(name);
    else this.#unsettled.set(name, seen);
    return isSettled;
  }

  /** @returns whether another certificate is in use now. */
  async #take(seen: SeenPair, { metrics, log }: FollowOptions): Promise<boolean> {
    const before = this.#known.get(seen.name);
    const now = await this.#read(seen);
    // Replaced between the two files: what was read may be one of each.
    if (!isSamePair(seen, await statPair(seen))) return false;
    if (now.digest !== undefined && before?.digest === now.digest) {
      this.#known.set(seen.name, { ...before, seen });
      return false;
    }
    if (!now.certificate) {
      this.#known.set(seen.name, { ...now, certificate: before?.certificate });
      if (before?.fault === now.fault) return false;
      metrics.configReloaded("web_certs", "refused", now.fault);
      const isOldInUse = before?.certificate !== undefined;
      log.error("Refused a web certificate; the previous one stays in use", {
        ...{ pair: seen.name, reason: now.fault, in_use: isOldInUse },
      });
      return false;
    }
    this.#known.set(seen.name, now);
    metrics.configReloaded("web_certs", "applied");
    const { dnsNames, notAfter } = now.certificate;
    log.info("Loaded a web certificate", {
      ...{ pair: seen.name, names: listed(dnsNames), expires: notAfter.toISOString() },
    });
    return true;
  }

  #miss(name: string, { metrics, log }: FollowOptions): boolean {
    const count = (this.#missed.get(name) ?? 0) + 1;
    this.#missed.set(name, count);
    if (count < missedLooks) return false;
    this.#missed.delete(name);
    const wasInUse = this.#known.get(name)?.certificate !== undefined;
    this.#known.delete(name);
    if (!wasInUse) return false;
    metrics.configReloaded("web_certs", "applied");
    log.info("Removed a web certificate whose files are gone", { pair: name });
    return true;
  }

  #refuseFolder(error: unknown, { metrics, log }: FollowOptions): void {
    const { message } = asConfigError(error);
    if (message === this.#folderFault) return;
    this.#folderFault = message;
    metrics.configReloaded("web_certs", "refused", message);
    log.error("Can't read the web certificates; the previous ones stay in use", { error: message });
  }

  #logContests(log: Log): void {
    for (const { host, chosen, others } of this.#choice.contests.slice(0, maxLoggedNames)) {
      log.info("Several web certificates fit a name", {
        host,
        shown: chosen.name,
        others: listed(others.map(({ name }) => name)),
      });
    }
  }

  async #read(seen: SeenPair): Promise<Known> {
    let digest: string | undefined;
    try {
      const chain = await readPem(seen.chainPath, seen.chain);
      const key = await readPem(seen.keyPath, seen.key);
      digest = createHash("sha256").update(`${chain}\0${key}`).digest("hex");
      const pair = await loadKeyPair(
        sourceOf(seen.chainPath, chain),
        sourceOf(seen.keyPath, key),
        "server",
      );
      if (pair.warnings.length > 0) this.#warnings = [...this.#warnings, ...pair.warnings];
      return { seen, digest, fault: undefined, certificate: certificateOf(seen, pair) };
    } catch (error) {
      return { seen, digest, fault: asConfigError(error).message, certificate: undefined };
    }
  }
}

function certificateOf({ name }: PairPaths, { certPem, keyPem, leaf }: KeyPair): WebCertificate {
  const { dnsNames, notBefore, notAfter } = leaf;
  const context = createSecureContext({ cert: certPem, key: keyPem });
  return { name, dnsNames, notBefore, notAfter, context, certPem };
}

function isForAny({ dnsNames }: WebCertificate, hostnames: readonly string[]): boolean {
  const names = new Set(dnsNames.map((name) => name.toLowerCase()));
  return hostnames.some((host) => names.has(host) || names.has(host.replace(/^[^.]+/, "*")));
}

function sourceOf(path: string, text: string) {
  return { origin: "Option --web-certs", path, text };
}

function noPair(folder: string): string {
  return `Option --web-certs names ${
    JSON.stringify(folder)
  }, which holds no certificate: it needs ` +
    "NAME.crt and NAME.key, or folders with tls.crt and tls.key";
}

function asConfigError(error: unknown): ConfigError {
  if (error instanceof ConfigError) return error;
  if (error instanceof FolderError) {
    return new ConfigError(`Option --web-certs: ${error.message}`);
  }
  throw error;
}

function listed(names: readonly string[]): string {
  const more = names.length - maxLoggedNames;
  const shown = names.slice(0, maxLoggedNames).join(", ");
  return more > 0 ? `${shown} and ${more} more` : shown;
}
